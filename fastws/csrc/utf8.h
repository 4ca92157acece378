/* Incremental UTF-8 validation (RFC 3629): overlong forms, surrogates and what lies
 * above U+10FFFF are refused at the first byte that shows them, however the text is
 * cut.
 */
#ifndef FASTWS_UTF8_H
#define FASTWS_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* 0 between characters. Inside one: how many bytes are missing (bits 0-7), and the
 * lowest (8-15) and highest (16-23) value that the next one may have. Start with 0; a
 * text is complete when it is 0 again. */
typedef uint32_t fastws_utf8_state;

typedef int (*fastws_utf8_function)(fastws_utf8_state *state, const uint8_t *data,
                                    size_t length);

typedef struct {
    const char *name;
    fastws_utf8_function validate;
} fastws_utf8_kernel;

/* The kernels usable on this machine, slowest first, ended by a NULL name; the first is
 * "naive", the oracle of the tests, and the last is the one used. */
const fastws_utf8_kernel *fastws_utf8_kernels(void);

/* 1: fine so far, `state` goes with the next chunk. 0: some byte of this chunk can't
 * belong to any valid text; `state` has no meaning any more. Safe from any thread,
 * needs no initialisation. */
int fastws_utf8_validate(fastws_utf8_state *state, const uint8_t *data, size_t length);

#endif
