/* The messages of a run: numbered, tagged, checked byte by byte on their return.
 *
 *   8 hex digits sequence | 8 hex digits tag (the sending connection) | filler
 *
 * The filler is plain text without quotes, so that the message fits into a JSON string,
 * and compresses about as well as JSON does. The masked frame is made once; sending
 * another only rewrites its 16 digits. The masking key is random per run. */
#ifndef FASTWS_LOAD_MESSAGE_H
#define FASTWS_LOAD_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "frame.h"
#include "load.h"

enum { MESSAGE_DIGITS = 16 };

typedef struct {
    uint8_t *frame;    /* header, mask and masked payload, envelope included */
    uint8_t *plain;    /* the payload, envelope included */
    size_t offset;     /* of the message in its envelope */
    size_t size;       /* of the message */
    size_t plain_size; /* of the payload */
    size_t head_size;
    size_t frame_size;
    uint64_t mask; /* the key twice, as it falls on the digits */
    uint8_t key[4];
} message;

/* Returns 0, or -1 when memory is short. */
int message_create(message *self, const channel_texts *texts, size_t size,
                   uint8_t opcode);
void message_destroy(message *self);

/* Eight hex digits, the first digit in the lowest byte (little-endian memory order). */
static inline uint64_t message_digits(uint32_t value) {
    uint64_t spread = __builtin_bswap32(value);
    spread = (spread | spread << 16) & 0x0000FFFF0000FFFFU;
    spread = (spread | spread << 8) & 0x00FF00FF00FF00FFU;
    /* Each 16-bit lane holds one byte: high digit down, low digit up. */
    spread = (spread >> 4 & 0x000F000F000F000FU) | (spread & 0x000F000F000F000FU) << 8;
    uint64_t is_letter = (spread + 0x0606060606060606U) >> 4 & 0x0101010101010101U;
    return spread + 0x3030303030303030U + is_letter * ('a' - '0' - 10);
}

/* The number behind eight digits; of something else, some number. */
static inline uint32_t message_value(uint64_t digits) {
    uint64_t is_letter = digits >> 6 & 0x0101010101010101U;
    uint64_t nibbles = (digits & 0x0F0F0F0F0F0F0F0FU) + is_letter * 9;
    nibbles = (nibbles << 4 | nibbles >> 8) & 0x00FF00FF00FF00FFU;
    nibbles = (nibbles | nibbles >> 8) & 0x0000FFFF0000FFFFU;
    return __builtin_bswap32((uint32_t)(nibbles | nibbles >> 16));
}

/* Writes one whole masked frame, frame_size bytes. */
static inline void message_write(const message *self, uint8_t *out, uint64_t sequence,
                                 uint64_t tag) {
    uint64_t start[2] = {sequence ^ self->mask, tag ^ self->mask};
    memcpy(out, self->frame, self->frame_size);
    memcpy(out + self->head_size + self->offset, start, sizeof start);
}

/* Writes the digits into the plain payload. */
static inline void message_number(message *self, uint64_t sequence, uint64_t tag) {
    uint64_t start[2] = {sequence, tag};
    memcpy(self->plain + self->offset, start, sizeof start);
}

static inline uint64_t message_sequence(const uint8_t *text) {
    uint64_t digits;
    memcpy(&digits, text, sizeof digits);
    return digits;
}

static inline uint64_t message_tag(const uint8_t *text) {
    return message_sequence(text + 8);
}

static inline const uint8_t *message_filler(const message *self) {
    return self->plain + self->offset + MESSAGE_DIGITS;
}

static inline int message_has_filler(const message *self, const uint8_t *text,
                                     size_t size) {
    return size == self->size && memcmp(text + MESSAGE_DIGITS, message_filler(self),
                                        size - MESSAGE_DIGITS) == 0;
}

/* The next message in an envelope; NULL: none. */
const uint8_t *message_find(const message *self, const uint8_t *data, size_t size);

#endif
