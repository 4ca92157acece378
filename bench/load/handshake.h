/* The opening handshake as a browser sends it, and the check of its answer. */
#ifndef FASTWS_LOAD_HANDSHAKE_H
#define FASTWS_LOAD_HANDSHAKE_H

#include <stddef.h>

#include "accept_key.h"

enum { HANDSHAKE_MAX_REQUEST = 4096, HANDSHAKE_MAX_RESPONSE = 16384 };

typedef struct {
    char request[HANDSHAKE_MAX_REQUEST];
    size_t request_size;
    char accept[ACCEPT_KEY_SIZE];
} handshake;

/* Returns 0, or -1 when host and path do not fit. */
int handshake_build(handshake *self, const char *host, unsigned port,
                    const char *path);

/* Bytes of the answer's head; 0: incomplete; -1: refused, *reason says why. */
long handshake_check(const handshake *self, const char *data, size_t size,
                     const char **reason);

#endif
