/* The check of the server's answer to the opening handshake. */
#ifndef FASTWS_LOAD_HANDSHAKE_H
#define FASTWS_LOAD_HANDSHAKE_H

#include <stddef.h>

#include "accept_key.h"

enum { HANDSHAKE_MAX_HEAD = 16384, HANDSHAKE_BODY_SHOWN = 160, HANDSHAKE_REASON = 512 };

/* What was asked for. */
typedef struct {
    char accept[ACCEPT_KEY_SIZE];
    const char *subprotocol; /* NULL: none */
    int has_deflate;
} handshake;

/* What the server chose. */
typedef struct {
    int keeps_context;        /* the server compresses with its window kept */
    int is_context_forbidden; /* the client may not keep its own */
    int client_window_bits;
} handshake_choice;

void handshake_expect(handshake *self, const char *key, const char *subprotocol,
                      int has_deflate);

/* Bytes of the answer's head; 0: incomplete; -1: refused, reason says why. With is_over
 * nothing more will come. */
long handshake_check(const handshake *self, const char *data, size_t size, int is_over,
                     handshake_choice *choice, char reason[HANDSHAKE_REASON]);

#endif
