#define _GNU_SOURCE
#include "message.h"

#include <stdlib.h>
#include <sys/random.h>

/* Few words and many numbers, as in JSON; the same in every run. */
static void fill(uint8_t *out, size_t size) {
    static const char *const words[] = {"price:", "volume:", "symbol:", "bid:",
                                        "ask:",   "time:",   "user:",   "text:"};
    uint32_t random = 12345;
    for (size_t i = 0; i < size;) {
        random = random * 1664525U + 1013904223U;
        const char *word = words[random >> 29];
        while (*word && i < size) {
            out[i++] = (uint8_t)*word++;
        }
        for (uint32_t rest = random >> 8 & 0xFFFFF; rest && i < size; rest /= 10) {
            out[i++] = (uint8_t)('0' + rest % 10);
        }
        if (i < size) {
            out[i++] = ' ';
        }
    }
}

int message_create(message *self, const channel_texts *texts, size_t size,
                   uint8_t opcode) {
    size_t offset = texts->prefix.size;
    size_t plain_size = offset + size + texts->suffix.size;
    *self = (message){.size = size, .offset = offset, .plain_size = plain_size};
    self->frame = malloc(plain_size + FRAME_MAX_HEADER);
    self->plain = malloc(plain_size);
    if (self->frame == NULL || self->plain == NULL ||
        getrandom(self->key, sizeof self->key, 0) != sizeof self->key) {
        message_destroy(self);
        return -1;
    }
    if (offset > 0) {
        memcpy(self->plain, texts->prefix.data, offset);
    }
    memset(self->plain + offset, '0', MESSAGE_DIGITS);
    fill(self->plain + offset + MESSAGE_DIGITS, size - MESSAGE_DIGITS);
    if (texts->suffix.size > 0) {
        memcpy(self->plain + offset + size, texts->suffix.data, texts->suffix.size);
    }
    size_t head = frame_header_encode(self->frame, 0x80 | opcode, plain_size, 0x80);
    memcpy(self->frame + head, self->key, 4);
    self->head_size = head + 4;
    self->frame_size = self->head_size + plain_size;
    for (size_t i = 0; i < plain_size; i++) {
        self->frame[self->head_size + i] = self->plain[i] ^ self->key[i % 4];
    }
    uint8_t turned[8];
    for (size_t i = 0; i < sizeof turned; i++) {
        turned[i] = self->key[(offset + i) % 4];
    }
    memcpy(&self->mask, turned, sizeof turned);
    return 0;
}

void message_destroy(message *self) {
    free(self->frame);
    free(self->plain);
    *self = (message){0};
}

const uint8_t *message_find(const message *self, const uint8_t *data, size_t size) {
    if (size < self->size) {
        return NULL;
    }
    const uint8_t *found =
        memmem(data + MESSAGE_DIGITS, size - MESSAGE_DIGITS, message_filler(self),
               self->size - MESSAGE_DIGITS);
    return found == NULL ? NULL : found - MESSAGE_DIGITS;
}
