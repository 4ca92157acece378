/* The messages of a run: numbered, tagged, checked byte by byte on their return.
 *
 * Payload, plain text whatever the opcode:
 *
 *   8 hex digits sequence | 8 hex digits tag (the sending connection) | filler
 *
 * The masked frame is made once; sending another only rewrites its first 16 payload
 * bytes. The masking key is random per run, the same for all frames of it. */
#ifndef FASTWS_LOAD_MESSAGE_H
#define FASTWS_LOAD_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "frame.h"

#define MESSAGE_MAX_FRAME(size) ((size_t)(size) + FRAME_MAX_HEADER)

typedef struct {
    uint8_t *frame; /* header, mask and masked payload */
    uint8_t *plain; /* the payload as it comes back */
    size_t size;
    size_t head_size;
    size_t frame_size;
    uint64_t mask; /* the key, twice */
} message;

/* Returns 0, or -1 when memory is short. */
int message_create(message *self, size_t size, uint8_t opcode);
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

/* Writes one whole masked frame, frame_size bytes. */
static inline void message_write(const message *self, uint8_t *out, uint64_t sequence,
                                 uint64_t tag) {
    uint64_t start[2] = {sequence ^ self->mask, tag ^ self->mask};
    memcpy(out, self->frame, self->frame_size);
    memcpy(out + self->head_size, start, sizeof start);
}

static inline uint64_t message_sequence(const uint8_t *payload) {
    uint64_t digits;
    memcpy(&digits, payload, sizeof digits);
    return digits;
}

static inline uint64_t message_tag(const uint8_t *payload) {
    return message_sequence(payload + 8);
}

static inline int message_has_filler(const message *self, const uint8_t *payload,
                                     size_t size) {
    return size == self->size && memcmp(payload + 16, self->plain + 16, size - 16) == 0;
}

#endif
