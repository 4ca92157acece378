#include "message.h"

#include <stdlib.h>
#include <sys/random.h>

int message_create(message *self, size_t size, uint8_t opcode) {
    uint8_t key[4];
    *self = (message){.size = size};
    self->frame = malloc(MESSAGE_MAX_FRAME(size));
    self->plain = malloc(size);
    if (self->frame == NULL || self->plain == NULL ||
        getrandom(key, sizeof key, 0) != sizeof key) {
        message_destroy(self);
        return -1;
    }
    for (size_t i = 0; i < size; i++) {
        self->plain[i] = (uint8_t)('a' + i % 26);
    }
    self->head_size = frame_header_encode(self->frame, 0x80 | opcode, size, 0x80) + 4;
    memcpy(self->frame + self->head_size - 4, key, 4);
    memcpy(&self->mask, key, 4);
    self->mask |= self->mask << 32;
    for (size_t i = 0; i < size; i++) {
        self->frame[self->head_size + i] = self->plain[i] ^ key[i % 4];
    }
    self->frame_size = self->head_size + size;
    return 0;
}

void message_destroy(message *self) {
    free(self->frame);
    free(self->plain);
    *self = (message){0};
}
