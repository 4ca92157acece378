/* What the micro-benchmarks are measured against: the plainest C that does the work.
 *
 * No instruction set is asked for and nothing is unrolled by hand, so that the same
 * source counts the same instructions on every machine of one kind.
 */
#include "control.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "zlib_library.h"

/* A compiler that sees through a loop leaves it out. */
#define KEEP(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

enum { SHORT_LENGTH = 125, LENGTH_16 = 126, KEY_SIZE = 4, MASKED_SHORT = 0x80 };

typedef void (*transfer)(uint8_t *to, const uint8_t *from, size_t length);

/* Inlined, so that a control is its loop and no call through a pointer. */
static inline int repeat(transfer run, size_t length, size_t rounds)
{
    uint8_t *from = calloc(1, length + 1);
    uint8_t *to = malloc(length + 1);
    int is_short = from == NULL || to == NULL;
    for (size_t round = 0; !is_short && round < rounds; round++) {
        KEEP(from);
        run(to, from, length);
        KEEP(to);
    }
    free(from);
    free(to);
    return is_short ? -1 : 0;
}

static void copy(uint8_t *to, const uint8_t *from, size_t length)
{
    memcpy(to, from, length);
}

int control_copy(size_t length, size_t rounds)
{
    return repeat(copy, length, rounds);
}

static void unmask(uint8_t *to, const uint8_t *from, size_t length, const uint8_t *key)
{
    for (size_t place = 0; place < length; place++)
        to[place] = (uint8_t)(from[place] ^ key[place % KEY_SIZE]);
}

static void unmask_fixed(uint8_t *to, const uint8_t *from, size_t length)
{
    static const uint8_t key[KEY_SIZE] = {0x37, 0xfa, 0x21, 0x3d};
    unmask(to, from, length, key);
}

int control_unmask(size_t length, size_t rounds)
{
    return repeat(unmask_fixed, length, rounds);
}

long control_parse(const uint8_t *data, size_t size, uint8_t *to)
{
    long frames = 0;
    for (size_t place = 0; place < size; frames++) {
        size_t length = data[place + 1] & (MASKED_SHORT - 1);
        size_t header = 2;
        if (length == LENGTH_16) {
            length = (size_t)data[place + 2] << 8 | data[place + 3];
            header = 4;
        } else if (length > SHORT_LENGTH) {
            return -1;
        }
        if (size - place < header + KEY_SIZE + length)
            return -1;
        const uint8_t *key = data + place + header;
        unmask(to, key + KEY_SIZE, length, key);
        KEEP(to);
        place += header + KEY_SIZE + length;
    }
    return frames;
}

long control_encode(const uint8_t *payload, size_t length, size_t rounds, uint8_t *to)
{
    size_t written = 0;
    for (size_t round = 0; round < rounds; round++) {
        uint8_t *frame = to + written;
        size_t header = 2;
        frame[0] = 0x81;
        frame[1] = (uint8_t)length;
        if (length > SHORT_LENGTH) {
            frame[1] = LENGTH_16;
            frame[2] = (uint8_t)(length >> 8);
            frame[3] = (uint8_t)length;
            header = 4;
        }
        memcpy(frame + header, payload, length);
        KEEP(frame);
        written += header + length;
    }
    return (long)written;
}

size_t control_send(const int *descriptors, size_t count, const uint8_t *data,
                    size_t length)
{
    size_t whole = 0;
    for (size_t number = 0; number < count; number++) {
        ssize_t sent = send(descriptors[number], data, length,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        whole += sent >= 0 && (size_t)sent == length;
    }
    return whole;
}

size_t control_drain(const int *descriptors, size_t count)
{
    static uint8_t into[1 << 18];
    size_t total = 0;
    for (size_t number = 0; number < count; number++) {
        ssize_t got;
        while ((got = recv(descriptors[number], into, sizeof into, MSG_DONTWAIT)) > 0)
            total += (size_t)got;
    }
    return total;
}

/* --- zlib -------------------------------------------------------------------- */

struct control_deflater {
    fastws_z_stream stream;
    const fastws_zlib *zlib;
};

control_deflater *control_deflater_new(int level, int window_bits, int memory_level)
{
    const fastws_zlib *zlib = fastws_zlib_load();
    control_deflater *self = calloc(1, sizeof *self);
    if (zlib != NULL && self != NULL &&
        zlib->deflate_init(&self->stream, level, FASTWS_Z_DEFLATED, -window_bits,
                           memory_level, FASTWS_Z_DEFAULT_STRATEGY, zlib->version(),
                           (int)sizeof self->stream) == FASTWS_Z_OK) {
        self->zlib = zlib;
        return self;
    }
    free(self);
    return NULL;
}

void control_deflater_free(control_deflater *self)
{
    self->zlib->deflate_end(&self->stream);
    free(self);
}

long control_deflate(control_deflater *self, const uint8_t *data, size_t size,
                     size_t count, int keeps_window, uint8_t *to, size_t room)
{
    fastws_z_stream *stream = &self->stream;
    size_t written = 0;
    for (size_t number = 0; number < count; number++) {
        stream->next_in = data + number * size;
        stream->avail_in = (unsigned)size;
        stream->next_out = to;
        stream->avail_out = (unsigned)room;
        if (self->zlib->deflate(stream, FASTWS_Z_SYNC_FLUSH) != FASTWS_Z_OK ||
            stream->avail_out == 0)
            return -1;
        written += room - stream->avail_out;
        if (!keeps_window)
            self->zlib->deflate_reset(stream);
    }
    return (long)written;
}
