/* Bytes that wait: appended behind, taken from the front. */
#ifndef FASTWS_LOAD_BUFFER_H
#define FASTWS_LOAD_BUFFER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *data;
    size_t start; /* taken already */
    size_t size;  /* behind start */
    size_t capacity;
} byte_buffer;

static inline uint8_t *buffer_bytes(const byte_buffer *self) {
    return self->data + self->start;
}

static inline void buffer_free(byte_buffer *self) {
    free(self->data);
    *self = (byte_buffer){0};
}

/* Room for so many more behind the end; not 0: memory is short. */
static inline int buffer_reserve(byte_buffer *self, size_t more) {
    if (more <= self->capacity - self->start - self->size) {
        return 0;
    }
    if (self->start > 0) {
        memmove(self->data, self->data + self->start, self->size);
        self->start = 0;
    }
    if (more > self->capacity - self->size) {
        size_t capacity = self->capacity ? self->capacity : 1024;
        while (more > capacity - self->size) {
            capacity *= 2;
        }
        uint8_t *grown = realloc(self->data, capacity);
        if (grown == NULL) {
            return -1;
        }
        self->data = grown;
        self->capacity = capacity;
    }
    return 0;
}

static inline int buffer_append(byte_buffer *self, const void *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    if (buffer_reserve(self, size) != 0) {
        return -1;
    }
    memcpy(self->data + self->start + self->size, data, size);
    self->size += size;
    return 0;
}

/* Takes bytes off the front; moves nothing until half of the room is wasted. */
static inline void buffer_drop(byte_buffer *self, size_t size) {
    self->start += size;
    self->size -= size;
    if (self->size == 0) {
        self->start = 0;
    } else if (self->start > self->capacity / 2) {
        memmove(self->data, self->data + self->start, self->size);
        self->start = 0;
    }
}

#endif
