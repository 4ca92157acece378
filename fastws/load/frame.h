/* WebSocket frames (RFC 6455 section 5.2): header encode and decode, nothing else.
 *
 * Shared by the load generator (client role) and the C control (server role). */
#ifndef FASTWS_LOAD_FRAME_H
#define FASTWS_LOAD_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_CONTINUATION = 0x0,
    FRAME_TEXT = 0x1,
    FRAME_BINARY = 0x2,
    FRAME_CLOSE = 0x8,
    FRAME_PING = 0x9,
    FRAME_PONG = 0xA,
    FRAME_FINAL = 0x80,
    FRAME_COMPRESSED = 0x40, /* RSV1: RFC 7692 */
    FRAME_MAX_HEADER = 14,
};

typedef struct {
    uint64_t length;      /* of the payload */
    uint32_t header_size; /* 2 to 14, mask included */
    uint8_t first;        /* FIN, RSV1-3 and opcode as they stood on the wire */
    uint8_t is_masked;
} frame_header;

/* Returns 1 when the whole header is in data, 0 when more bytes are needed. */
static inline int frame_header_decode(const uint8_t *data, size_t size,
                                      frame_header *header) {
    if (size < 2) {
        return 0;
    }
    uint32_t code = data[1] & 0x7F;
    header->first = data[0];
    header->is_masked = data[1] >> 7;
    uint32_t mask_size = header->is_masked ? 4 : 0;
    if (code < 126) {
        header->length = code;
        header->header_size = 2 + mask_size;
    } else {
        uint32_t width = code == 126 ? 2 : 8;
        header->header_size = 2 + width + mask_size;
        if (size < header->header_size) {
            return 0;
        }
        header->length = 0;
        for (uint32_t i = 0; i < width; i++) {
            header->length = header->length << 8 | data[2 + i];
        }
    }
    return size >= header->header_size;
}

/* Writes a final frame's header without mask; returns its size (2, 4 or 10). */
static inline size_t frame_header_encode(uint8_t *out, uint8_t first, uint64_t length,
                                         uint8_t mask_bit) {
    out[0] = first;
    if (length < 126) {
        out[1] = (uint8_t)(mask_bit | length);
        return 2;
    }
    if (length < 65536) {
        out[1] = mask_bit | 126;
        out[2] = (uint8_t)(length >> 8);
        out[3] = (uint8_t)length;
        return 4;
    }
    out[1] = mask_bit | 127;
    for (int i = 0; i < 8; i++) {
        out[2 + i] = (uint8_t)(length >> (56 - 8 * i));
    }
    return 10;
}

#endif
