#define _GNU_SOURCE
#include "handshake.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

/* Chrome's order and set: a server's parsing cost is then what browsers cause. */
static const char REQUEST[] =
    "GET %s HTTP/1.1\r\n"
    "Host: %s:%u\r\n"
    "Connection: Upgrade\r\n"
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like "
    "Gecko) Chrome/142.0.0.0 Safari/537.36\r\n"
    "Upgrade: websocket\r\n"
    "Origin: http://%s:%u\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n"
    "Sec-WebSocket-Key: %s\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    "\r\n";

enum { NONCE_SIZE = 16, KEY_SIZE = 24 };

int handshake_build(handshake *self, const char *host, unsigned port,
                    const char *path) {
    uint8_t nonce[NONCE_SIZE];
    char key[KEY_SIZE + 1] = {0};
    if (getrandom(nonce, sizeof nonce, 0) != NONCE_SIZE) {
        return -1;
    }
    base64_encode(nonce, sizeof nonce, key);
    accept_key(key, KEY_SIZE, self->accept);
    int size = snprintf(self->request, sizeof self->request, REQUEST, path, host, port,
                        host, port, key);
    if (size < 0 || (size_t)size >= sizeof self->request) {
        return -1;
    }
    self->request_size = (size_t)size;
    return 0;
}

/* The value of a header of a head that ends with an empty line; NULL: absent. */
static const char *header_value(const char *head, const char *end, const char *name) {
    size_t name_size = strlen(name);
    const char *line = memchr(head, '\n', (size_t)(end - head));
    while (line != NULL && (size_t)(end - line) > name_size + 2) {
        line++;
        if (strncasecmp(line, name, name_size) == 0 && line[name_size] == ':') {
            const char *value = line + name_size + 1;
            return value + strspn(value, " \t");
        }
        line = memchr(line, '\n', (size_t)(end - line));
    }
    return NULL;
}

long handshake_check(const handshake *self, const char *data, size_t size,
                     const char **reason) {
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL) {
        *reason = "head too long";
        return size > HANDSHAKE_MAX_RESPONSE ? -1 : 0;
    }
    end += 4;
    if (end - data < 14 || memcmp(data, "HTTP/1.1 101", 12) != 0) {
        *reason = "status is not 101";
        return -1;
    }
    const char *accept = header_value(data, end, "Sec-WebSocket-Accept");
    if (accept == NULL || end - accept < ACCEPT_KEY_SIZE + 4 ||
        memcmp(accept, self->accept, ACCEPT_KEY_SIZE) != 0) {
        *reason = "wrong Sec-WebSocket-Accept";
        return -1;
    }
    if (header_value(data, end, "Sec-WebSocket-Extensions") != NULL) {
        *reason = "an extension was accepted; run the server without compression";
        return -1;
    }
    return end - data;
}
