/* The messages of a run: numbered, tagged, checked byte by byte on their return.
 *
 *   8 hex digits sequence | 8 hex digits tag (the sending connection) | filler
 *
 * The filler is plain text without quotes, so that the message fits into a JSON string,
 * and compresses about as well as JSON does. The masked frame is made once; sending
 * another only rewrites its 16 digits. The masking key is random per run.
 *
 * A filler of records is JSON, and another one in each message: a compressor that keeps
 * its window would else find nearly all of a message in the one before. The sequence
 * says which; they come again when any window has long forgotten them. */
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
    uint8_t *fillers; /* records: one after another; NULL: the same in each message */
    uint32_t filler_count;
    uint64_t mask; /* the key twice, as it falls on the digits */
    uint8_t key[4];
} message;

/* Returns 0, or -1 when memory is short. */
int message_create(message *self, const channel_texts *texts, size_t size,
                   uint8_t opcode, int has_records);
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

static inline size_t message_filler_size(const message *self) {
    return self->size - MESSAGE_DIGITS;
}

/* What follows the digits in the message of this sequence. */
static inline const uint8_t *message_filler(const message *self, uint64_t sequence) {
    if (self->fillers == NULL) {
        return self->plain + self->offset + MESSAGE_DIGITS;
    }
    return self->fillers +
           message_value(sequence) % self->filler_count * message_filler_size(self);
}

/* Writes one whole masked frame, frame_size bytes. */
static inline void message_write(const message *self, uint8_t *out, uint64_t sequence,
                                 uint64_t tag) {
    uint64_t start[2] = {sequence ^ self->mask, tag ^ self->mask};
    memcpy(out, self->frame, self->frame_size);
    uint8_t *text = out + self->head_size + self->offset;
    memcpy(text, start, sizeof start);
    if (self->fillers != NULL) {
        const uint8_t *filler = message_filler(self, sequence);
        for (size_t i = 0; i < message_filler_size(self); i++) {
            /* The digits were a multiple of the key. */
            text[MESSAGE_DIGITS + i] =
                filler[i] ^ self->key[(self->offset + i) % sizeof self->key];
        }
    }
}

/* Writes the digits, and the filler of that message, into the plain payload. */
static inline void message_number(message *self, uint64_t sequence, uint64_t tag) {
    uint64_t start[2] = {sequence, tag};
    memcpy(self->plain + self->offset, start, sizeof start);
    if (self->fillers != NULL) {
        memcpy(self->plain + self->offset + sizeof start,
               message_filler(self, sequence), message_filler_size(self));
    }
}

static inline uint64_t message_sequence(const uint8_t *text) {
    uint64_t digits;
    memcpy(&digits, text, sizeof digits);
    return digits;
}

static inline uint64_t message_tag(const uint8_t *text) {
    return message_sequence(text + 8);
}

static inline int message_has_filler(const message *self, const uint8_t *text,
                                     size_t size) {
    return size == self->size &&
           memcmp(text + MESSAGE_DIGITS, message_filler(self, message_sequence(text)),
                  size - MESSAGE_DIGITS) == 0;
}

/* The next message in an envelope; NULL: none. Records are not found in envelopes. */
const uint8_t *message_find(const message *self, const uint8_t *data, size_t size);

#endif
