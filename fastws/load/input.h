/* The receive buffer that all clients of a crowd share. */
#ifndef FASTWS_LOAD_INPUT_H
#define FASTWS_LOAD_INPUT_H

enum {
    INPUT_SIZE = 1 << 18, /* of one recv */
    INPUT_SHORT = 1 << 16 /* a remainder that is copied before the next one's bytes */
};

#endif
