/* Messages through zlib's raw deflate, as permessage-deflate wants them (RFC 7692
 * section 7.2): a message ends with an empty stored block whose last four bytes,
 * 00 00 FF FF, are not sent.
 *
 * A stream belongs to one thread at a time. Nothing is allocated after its creation but
 * by zlib for its own window.
 */
#ifndef FASTWS_DEFLATE_H
#define FASTWS_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

enum {
    FASTWS_WINDOW_BITS_MIN = 9, /* zlib's raw deflate writes no smaller window */
    FASTWS_WINDOW_BITS_MAX = 15,
};

/* 1 when zlib was found on this machine. Call it once before any other function. */
int fastws_deflate_available(void);

/* --- compressing ------------------------------------------------------------- */

typedef struct fastws_deflater fastws_deflater;

/* NULL: no memory. window_bits 9 to 15, level 1 to 9, memory_level 1 to 9. */
fastws_deflater *fastws_deflater_new(int level, int window_bits, int memory_level);
void fastws_deflater_free(fastws_deflater *self);

/* Room that any message of `length` bytes fits into, whatever it contains. */
size_t fastws_deflate_bound(size_t length);

/* Compresses one message; returns its bytes, 0 when `room` was too small.
 *
 * keep_context: the message may refer to the ones before it, and the next one to this.
 * Otherwise it refers to nothing but itself. */
size_t fastws_deflate_message(fastws_deflater *self, const uint8_t *data, size_t length,
                              uint8_t *out, size_t room, int keep_context);

/* The next message will refer to nothing before it. */
void fastws_deflater_reset(fastws_deflater *self);

/* --- inflating --------------------------------------------------------------- */

typedef struct fastws_inflater fastws_inflater;

enum {
    FASTWS_INFLATE_DONE = 0,     /* all input is used, all its output is written */
    FASTWS_INFLATE_FULL = 1,     /* the room is used up; there may be more output */
    FASTWS_INFLATE_ENDED = 2,    /* as DONE, and the last block said that it is the last */
    FASTWS_INFLATE_CORRUPT = -1, /* not deflate, or it reaches behind the window */
    FASTWS_INFLATE_MEMORY = -2,
};

/* NULL: no memory. window_bits 8 to 15. */
fastws_inflater *fastws_inflater_new(int window_bits);
void fastws_inflater_free(fastws_inflater *self);

/* Forgets everything that was inflated; -1: no memory. */
int fastws_inflater_reset(fastws_inflater *self, int window_bits);

/* Inflates from *data to *out and moves both, and the two lengths, behind what was
 * used. After FULL go on with more room, also when no input is left. */
int fastws_inflate(fastws_inflater *self, const uint8_t **data, size_t *length,
                   uint8_t **out, size_t *room);

/* 1 between two blocks, at a byte's start: where every message ends. */
int fastws_inflater_is_complete(const fastws_inflater *self);

/* The four bytes that every message ends with and no message carries. */
extern const uint8_t fastws_deflate_tail[4];

#endif
