/* Loops without Python between them, for ctypes (see control.py). */
#ifndef FASTWS_BENCH_MICRO_CONTROL_H
#define FASTWS_BENCH_MICRO_CONTROL_H

#include <stddef.h>
#include <stdint.h>

/* `rounds` times memcpy of `length` bytes; -1: no memory. */
int control_copy(size_t length, size_t rounds);

/* The same with XOR, a byte at a time. */
int control_unmask(size_t length, size_t rounds);

/* Reads masked frames of up to 65 535 bytes and unmasks each to `to`, over the one
 * before. Returns how many there were, -1 when a frame is cut off or longer. */
long control_parse(const uint8_t *data, size_t size, uint8_t *to);

/* Writes `rounds` unmasked text frames behind each other; returns their bytes. */
long control_encode(const uint8_t *payload, size_t length, size_t rounds, uint8_t *to);

/* Sends the same bytes to each socket; returns to how many all of them. */
size_t control_send(const int *descriptors, size_t count, const uint8_t *data,
                    size_t length);

/* Takes what has arrived at each socket; returns how many bytes that was. */
size_t control_drain(const int *descriptors, size_t count);

/* A raw zlib stream, and nothing else; NULL: no zlib here, or no memory. */
typedef struct control_deflater control_deflater;
control_deflater *control_deflater_new(int level, int window_bits, int memory_level);
void control_deflater_free(control_deflater *self);

/* Compresses `count` messages of `size` bytes that lie behind each other, each up to a
 * flush, over the one before; returns the bytes of all, -1 when one has no room. The
 * window is kept from one message to the next, or each stands alone. */
long control_deflate(control_deflater *self, const uint8_t *data, size_t size,
                     size_t count, int keeps_window, uint8_t *to, size_t room);

#endif
