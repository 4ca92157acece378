/* Sec-WebSocket-Accept (RFC 6455 section 4.2.2): base64(SHA-1(key + GUID)). */
#ifndef FASTWS_ACCEPT_KEY_H
#define FASTWS_ACCEPT_KEY_H

#include <stddef.h>
#include <stdint.h>

enum { ACCEPT_KEY_SIZE = 28 };

/* Base64 with padding; out gets 4 * ceil(length / 3) characters, no terminator. */
void base64_encode(const uint8_t *data, size_t length, char *out);

/* key_length <= 64; out gets ACCEPT_KEY_SIZE characters, no terminator. */
void accept_key(const char *key, size_t key_length, char out[ACCEPT_KEY_SIZE]);

#endif
