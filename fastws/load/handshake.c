#define _GNU_SOURCE
#include "handshake.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct {
    const char *data;
    size_t size;
} span;

void handshake_expect(handshake *self, const char *key, const char *subprotocol,
                      int has_deflate) {
    accept_key(key, strlen(key), self->accept);
    self->subprotocol = subprotocol;
    self->has_deflate = has_deflate;
}

static span trimmed(const char *data, size_t size) {
    while (size && isspace((unsigned char)*data)) {
        data++;
        size--;
    }
    while (size && isspace((unsigned char)data[size - 1])) {
        size--;
    }
    return (span){data, size};
}

/* The value of a header of a head that ends with an empty line; NULL data: absent. */
static span header_value(span head, const char *name) {
    size_t name_size = strlen(name);
    const char *end = head.data + head.size;
    const char *line = memchr(head.data, '\n', head.size);
    while (line != NULL && (size_t)(end - line) > name_size + 2) {
        line++;
        const char *next = memchr(line, '\n', (size_t)(end - line));
        if (next != NULL && strncasecmp(line, name, name_size) == 0 &&
            line[name_size] == ':') {
            const char *value = line + name_size + 1;
            return trimmed(value, (size_t)(next - value));
        }
        line = next;
    }
    return (span){NULL, 0};
}

static int span_is(span self, const char *text) {
    return self.size == strlen(text) && strncasecmp(self.data, text, self.size) == 0;
}

/* Takes what stands before the separator off the front. */
static span span_cut(span *rest, char separator) {
    const char *at = memchr(rest->data, separator, rest->size);
    size_t size = at ? (size_t)(at - rest->data) : rest->size;
    span part = trimmed(rest->data, size);
    size_t skipped = at ? size + 1 : size;
    rest->data += skipped;
    rest->size -= skipped;
    return part;
}

static int window_bits(span text) {
    char digits[8] = {0};
    if (text.size >= 2 && text.data[0] == '"') {
        text = (span){text.data + 1, text.size - 2};
    }
    if (text.size == 0 || text.size >= sizeof digits) {
        return -1;
    }
    memcpy(digits, text.data, text.size);
    int bits = atoi(digits);
    return bits >= 8 && bits <= 15 ? bits : -1;
}

/* Returns NULL, or what is wrong with the accepted extension. */
static const char *read_extension(span text, handshake_choice *choice) {
    *choice = (handshake_choice){.keeps_context = 1, .client_window_bits = 15};
    if (!span_is(span_cut(&text, ';'), "permessage-deflate")) {
        return "the server chose an extension that was not offered";
    }
    while (text.size > 0) {
        span value = span_cut(&text, ';');
        span name = span_cut(&value, '=');
        int bits = window_bits(value);
        if (span_is(name, "server_no_context_takeover")) {
            choice->keeps_context = 0;
        } else if (span_is(name, "client_no_context_takeover")) {
            choice->is_context_forbidden = 1;
        } else if (span_is(name, "client_max_window_bits") && bits > 8) {
            choice->client_window_bits = bits;
        } else if (!(span_is(name, "server_max_window_bits") && bits > 0)) {
            return "the server's permessage-deflate parameters are wrong";
        }
    }
    return NULL;
}

/* Status line and the start of the body, in one line. */
static long refused(span head, span body, int is_over, char *reason) {
    span length = header_value(head, "Content-Length");
    size_t announced = 0;
    if (length.data != NULL && length.size < 12) {
        for (size_t i = 0; i < length.size; i++) {
            unsigned char digit = (unsigned char)length.data[i];
            announced = announced * 10 + (size_t)(isdigit(digit) ? digit - '0' : 0);
        }
    }
    size_t most = HANDSHAKE_BODY_SHOWN;
    if (body.size < (announced < most ? announced : most) && !is_over) {
        return 0;
    }
    span status = span_cut(&head, '\n');
    body = trimmed(body.data, body.size);
    int shown = (int)(body.size < most ? body.size : most);
    int status_shown = (int)(status.size < 120 ? status.size : 120);
    snprintf(reason, HANDSHAKE_REASON, "the server answered %.*s%s%.*s", status_shown,
             status.data, shown ? ": " : "", shown, shown ? body.data : "");
    for (char *at = reason; *at; at++) {
        *at = isprint((unsigned char)*at) ? *at : ' ';
    }
    return -1;
}

static const char *fault(const handshake *self, span head, handshake_choice *choice) {
    span accept = header_value(head, "Sec-WebSocket-Accept");
    if (accept.data == NULL) {
        return "no Sec-WebSocket-Accept: this is no WebSocket server";
    }
    if (accept.size != ACCEPT_KEY_SIZE ||
        memcmp(accept.data, self->accept, ACCEPT_KEY_SIZE) != 0) {
        return "wrong Sec-WebSocket-Accept";
    }
    span protocol = header_value(head, "Sec-WebSocket-Protocol");
    if (self->subprotocol != NULL &&
        (protocol.data == NULL || protocol.size != strlen(self->subprotocol) ||
         memcmp(protocol.data, self->subprotocol, protocol.size) != 0)) {
        return "the server did not choose the subprotocol that was asked for";
    }
    if (self->subprotocol == NULL && protocol.data != NULL) {
        return "the server chose a subprotocol that nobody asked for";
    }
    span extension = header_value(head, "Sec-WebSocket-Extensions");
    if (self->has_deflate && (extension.data == NULL || extension.size == 0)) {
        return "the server did not accept permessage-deflate: switch it on there, or "
               "run without --deflate";
    }
    if (!self->has_deflate) {
        return extension.data == NULL || extension.size == 0
                   ? NULL
                   : "the server accepted an extension that was not offered";
    }
    return read_extension(extension, choice);
}

long handshake_check(const handshake *self, const char *data, size_t size, int is_over,
                     handshake_choice *choice, char reason[HANDSHAKE_REASON]) {
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    size_t shown = size < 5 ? size : 5;
    const char *words = NULL;
    if (memcmp(data, "HTTP/", shown) != 0) {
        words = "the server does not answer in HTTP";
    } else if (end == NULL && size > HANDSHAKE_MAX_HEAD) {
        words = "the head of the server's answer is too long";
    } else if (end == NULL) {
        return 0;
    } else {
        span head = {data, (size_t)(end - data) + 4};
        span body = {data + head.size, size - head.size};
        if (head.size < 14 || memcmp(data, "HTTP/1.1 101", 12) != 0) {
            return refused(head, body, is_over, reason);
        }
        words = fault(self, head, choice);
        if (words == NULL) {
            return (long)head.size;
        }
    }
    snprintf(reason, HANDSHAKE_REASON, "%s", words);
    return -1;
}
