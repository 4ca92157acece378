/* The frame header of RFC 6455 section 5.2: decode and encode.
 *
 * What depends on the role (who must mask) and on negotiated extensions (which RSV bits
 * mean something) is the caller's: it reads data[0] and data[1] itself. Everything else
 * that a header can do wrong is reported here, at the first byte that shows it, so that
 * any way of cutting the bytes into chunks gives the same answer.
 */
#ifndef FASTWS_FRAME_H
#define FASTWS_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The same numbers as codes.Opcode; a test compares them. */
enum {
    FASTWS_OP_CONTINUATION = 0x0,
    FASTWS_OP_TEXT = 0x1,
    FASTWS_OP_BINARY = 0x2,
    FASTWS_OP_CLOSE = 0x8,
    FASTWS_OP_PING = 0x9,
    FASTWS_OP_PONG = 0xA
};

/* The same numbers as codes.CloseCode; a test compares them. */
enum {
    FASTWS_CLOSE_NORMAL = 1000,
    FASTWS_CLOSE_GOING_AWAY = 1001,
    FASTWS_CLOSE_PROTOCOL_ERROR = 1002,
    FASTWS_CLOSE_UNSUPPORTED_DATA = 1003,
    FASTWS_CLOSE_NO_STATUS = 1005,
    FASTWS_CLOSE_ABNORMAL = 1006,
    FASTWS_CLOSE_INVALID_DATA = 1007,
    FASTWS_CLOSE_POLICY_VIOLATION = 1008,
    FASTWS_CLOSE_TOO_BIG = 1009,
    FASTWS_CLOSE_MANDATORY_EXTENSION = 1010,
    FASTWS_CLOSE_INTERNAL_ERROR = 1011,
    FASTWS_CLOSE_SERVICE_RESTART = 1012,
    FASTWS_CLOSE_TRY_AGAIN_LATER = 1013,
    FASTWS_CLOSE_BAD_GATEWAY = 1014
};

/* Bits of the first and the second header byte. */
enum {
    FASTWS_BIT_FIN = 0x80,
    FASTWS_BIT_RSV1 = 0x40,
    FASTWS_BIT_RSV2 = 0x20,
    FASTWS_BIT_RSV3 = 0x10,
    FASTWS_BITS_RSV = 0x70,
    FASTWS_BITS_OPCODE = 0x0F,
    FASTWS_BIT_CONTROL = 0x08,
    FASTWS_BIT_MASK = 0x80,
    FASTWS_BITS_LENGTH = 0x7F
};

enum {
    FASTWS_CONTROL_MAX = 125,     /* payload of a control frame, section 5.5 */
    FASTWS_FRAME_HEADER_MAX = 14  /* 2 + 8 length bytes + 4 key bytes */
};

/* In the order of the byte that shows them: the first two in byte 0, the next in byte
 * 1, the others in the extended length. A caller that names errors and checks RSV and
 * MASK as well keeps that order: RSV, byte-0 errors, MASK, everything else. */
enum {
    FASTWS_FRAME_ERR_OPCODE = -1,            /* 0x3-0x7, 0xB-0xF */
    FASTWS_FRAME_ERR_CONTROL_FRAGMENT = -2,  /* control frame without FIN */
    FASTWS_FRAME_ERR_CONTROL_LENGTH = -3,    /* control frame over 125 bytes */
    FASTWS_FRAME_ERR_LENGTH_16 = -4,         /* 16-bit length that fits in 7 bits */
    FASTWS_FRAME_ERR_LENGTH_64 = -5,         /* 64-bit length that fits in 16 bits */
    FASTWS_FRAME_ERR_LENGTH_SIGN = -6        /* 64-bit length with its top bit set */
};

typedef struct {
    uint64_t length; /* of the payload; below 2^63 */
    uint8_t opcode;
    uint8_t fin;    /* 0 or 1 */
    uint8_t rsv;    /* as they lie in byte 0: 0x40, 0x20, 0x10 */
    uint8_t masked; /* 0 or 1 */
    uint8_t size;   /* bytes of the header, mask key included */
    uint8_t key[4]; /* zeros when not masked */
} fastws_frame_header;

static inline uint16_t fastws_load_big16(const uint8_t *data)
{
    return (uint16_t)((unsigned)data[0] << 8 | data[1]);
}

static inline uint64_t fastws_load_big64(const uint8_t *data)
{
    uint64_t value = 0;
    for (int index = 0; index < 8; index++) {
        value = value << 8 | data[index];
    }
    return value;
}

/* Opcodes 0, 1, 2, 8, 9, 10 as a bit set. */
#define FASTWS_OPCODES_KNOWN 0x0707u

/* The 16- and 64-bit forms of the length. Returns the bytes of header before the key,
 * 0 when more are needed, or an error. */
static inline int fastws_frame_decode_long(const uint8_t *data, size_t available,
                                           uint64_t *length)
{
    if ((data[1] & FASTWS_BITS_LENGTH) == 126) {
        if (available < 4) {
            return 0;
        }
        *length = fastws_load_big16(data + 2);
        return *length > 125 ? 4 : FASTWS_FRAME_ERR_LENGTH_16;
    }
    if (available > 2 && (data[2] & 0x80)) {
        return FASTWS_FRAME_ERR_LENGTH_SIGN;
    }
    if (available < 8) {
        return 0;
    }
    /* The six upper bytes decide: all zero is below 65 536. */
    if ((data[2] | data[3] | data[4] | data[5] | data[6] | data[7]) == 0) {
        return FASTWS_FRAME_ERR_LENGTH_64;
    }
    if (available < 10) {
        return 0;
    }
    *length = fastws_load_big64(data + 2);
    return 10;
}

/* Returns the header's size and fills `out`; 0 when more bytes are needed; or a
 * negative FASTWS_FRAME_ERR_*. `out` means something only after a positive answer. */
static inline int fastws_frame_decode(const uint8_t *data, size_t available,
                                      fastws_frame_header *out)
{
    uint8_t first;
    uint8_t second;
    int size = 2;

    if (available == 0) {
        return 0;
    }
    first = data[0];
    if (!((FASTWS_OPCODES_KNOWN >> (first & FASTWS_BITS_OPCODE)) & 1u)) {
        return FASTWS_FRAME_ERR_OPCODE;
    }
    if ((first & FASTWS_BIT_CONTROL) && !(first & FASTWS_BIT_FIN)) {
        return FASTWS_FRAME_ERR_CONTROL_FRAGMENT;
    }
    if (available == 1) {
        return 0;
    }
    second = data[1];
    out->length = second & FASTWS_BITS_LENGTH;
    if (out->length > FASTWS_CONTROL_MAX) {
        if (first & FASTWS_BIT_CONTROL) {
            return FASTWS_FRAME_ERR_CONTROL_LENGTH;
        }
        size = fastws_frame_decode_long(data, available, &out->length);
        if (size <= 0) {
            return size;
        }
    }
    memset(out->key, 0, sizeof out->key);
    if (second & FASTWS_BIT_MASK) {
        if (available < (size_t)size + sizeof out->key) {
            return 0;
        }
        memcpy(out->key, data + size, sizeof out->key);
        size += (int)sizeof out->key;
    }
    out->opcode = first & FASTWS_BITS_OPCODE;
    out->fin = (first & FASTWS_BIT_FIN) != 0;
    out->rsv = first & FASTWS_BITS_RSV;
    out->masked = (second & FASTWS_BIT_MASK) != 0;
    out->size = (uint8_t)size;
    return size;
}

static inline size_t fastws_frame_header_size(uint64_t length, int masked)
{
    size_t size = length <= 125 ? 2 : length <= 0xFFFF ? 4 : 10;
    return masked ? size + 4 : size;
}

/* Writes the header of a frame with `length` (below 2^63) payload bytes. `first_byte`
 * is FIN | RSV | opcode; `key_or_null` is copied when given. `out` has room for
 * FASTWS_FRAME_HEADER_MAX bytes. Returns the bytes written. */
static inline size_t fastws_frame_encode(uint8_t *out, uint8_t first_byte,
                                         uint64_t length, const uint8_t *key_or_null)
{
    uint8_t mask_bit = key_or_null ? FASTWS_BIT_MASK : 0;
    size_t size = 2;

    out[0] = first_byte;
    if (length <= 125) {
        out[1] = (uint8_t)(mask_bit | length);
    } else if (length <= 0xFFFF) {
        out[1] = mask_bit | 126;
        out[2] = (uint8_t)(length >> 8);
        out[3] = (uint8_t)length;
        size = 4;
    } else {
        out[1] = mask_bit | 127;
        for (int index = 0; index < 8; index++) {
            out[2 + index] = (uint8_t)(length >> (56 - 8 * index));
        }
        size = 10;
    }
    if (key_or_null) {
        memcpy(out + size, key_or_null, 4);
        size += 4;
    }
    return size;
}

#endif
