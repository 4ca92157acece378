/* Fuzzes fastws/csrc/deflate.c. The first bytes of an input are settings, the rest is
 * taken twice: as compressed bytes from a hostile peer, and as a message to compress.
 *
 * Every piece is an allocation of its own. zlib itself is not instrumented, so that a
 * room has a fence behind it, which has to be whole afterwards. The oracles:
 *
 * - pointers and lengths move together, and never beyond what was given;
 * - what inflates does not depend on how the input is cut and how small the rooms are
 *   (at the largest window; a smaller one may be overstepped by a sixteenth, which
 *   depends on the rooms);
 * - a stream that was reset knows nothing of what it inflated before;
 * - a compressed message inflates to itself, and a room that is too small gives 0.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deflate.h"

#define CHECK(condition)                                                               \
    do {                                                                               \
        if (!(condition)) {                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
            abort();                                                                   \
        }                                                                              \
    } while (0)

enum {
    MOST = 1 << 16, /* a few kilobytes of input could become megabytes */
    FENCE = 64,
    FENCE_BYTE = 0xA5,
};

struct settings {
    int window_bits;
    int level;
    int memory_level;
    uint32_t seed;
};

struct output {
    uint8_t *data;
    size_t size;
    int result;
};

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static uint8_t *new_room(size_t size)
{
    uint8_t *room = malloc(size + FENCE);
    memset(room + size, FENCE_BYTE, FENCE);
    return room;
}

static void free_room(uint8_t *room, size_t size)
{
    for (size_t index = 0; index < FENCE; index++) {
        CHECK(room[size + index] == FENCE_BYTE);
    }
    free(room);
}

static uint8_t *copy_of(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (size) {
        memcpy(copy, data, size);
    }
    return copy;
}

/* One call; the result, and what was written goes behind the output. */
static int inflate_into(fastws_inflater *stream, const uint8_t **data, size_t *length,
                        size_t room, struct output *output)
{
    uint8_t *start = new_room(room);
    uint8_t *out = start;
    size_t left = room;
    const uint8_t *data_before = *data;
    size_t length_before = *length;
    int result = fastws_inflate(stream, data, length, &out, &left);

    CHECK((size_t)(*data - data_before) + *length == length_before);
    CHECK((size_t)(out - start) + left == room);
    CHECK(result != FASTWS_INFLATE_FULL || left == 0);
    CHECK(result < 0 || result == FASTWS_INFLATE_FULL || *length == 0);
    memcpy(output->data + output->size, start, room - left);
    output->size += room - left;
    free_room(start, room);
    return result;
}

/* A whole input, in pieces of at most `largest` bytes (0: one) into rooms that small. */
static void inflate_all(fastws_inflater *stream, const uint8_t *data, size_t size,
                        uint32_t largest, uint32_t seed, struct output *output)
{
    size_t taken = 0;

    output->data = malloc(MOST);
    output->size = 0;
    output->result = FASTWS_INFLATE_DONE;
    while (taken < size && output->result >= 0 && output->size < MOST) {
        size_t piece = largest ? 1 + next_random(&seed) % largest : size;
        if (piece > size - taken) {
            piece = size - taken;
        }
        uint8_t *copy = copy_of(data + taken, piece);
        const uint8_t *position = copy;
        size_t length = piece;
        do {
            size_t room = largest ? 1 + next_random(&seed) % largest : MOST;
            if (room > MOST - output->size) {
                room = MOST - output->size;
            }
            output->result = inflate_into(stream, &position, &length, room, output);
        } while (output->result == FASTWS_INFLATE_FULL && output->size < MOST);
        taken += piece;
        free(copy);
    }
}

static void check_inflating(const struct settings *settings, const uint8_t *data,
                            size_t size)
{
    static const uint32_t largest[] = {1, 7, 300};
    fastws_inflater *stream = fastws_inflater_new(settings->window_bits);
    struct output whole;

    inflate_all(stream, data, size, 0, settings->seed, &whole);
    for (size_t index = 0; index < sizeof largest / sizeof *largest; index++) {
        struct output cut;
        CHECK(fastws_inflater_reset(stream, settings->window_bits) == 0);
        inflate_all(stream, data, size, largest[index], settings->seed, &cut);
        if (settings->window_bits == FASTWS_WINDOW_BITS_MAX && whole.size < MOST) {
            CHECK(cut.size == whole.size);
            CHECK(memcmp(cut.data, whole.data, cut.size) == 0);
            CHECK((cut.result < 0) == (whole.result < 0));
        }
        free(cut.data);
    }
    free(whole.data);
    fastws_inflater_free(stream);
}

/* Into a room of exactly that size; what comes out must inflate to the message. */
static size_t check_message(fastws_deflater *deflater, fastws_inflater *inflater,
                            const uint8_t *data, size_t size, size_t room, int keeps)
{
    uint8_t *out = new_room(room);
    size_t written = fastws_deflate_message(deflater, data, size, out, room, keeps);

    CHECK(written <= room);
    if (written > 0) {
        const uint8_t *position = out;
        size_t length = written;
        /* A byte more than the message: all of it comes out, and nothing else. */
        struct output output = {malloc(size + 1), 0, 0};
        output.result =
            inflate_into(inflater, &position, &length, size + 1, &output);
        CHECK(output.result == FASTWS_INFLATE_DONE);
        position = fastws_deflate_tail;
        length = sizeof fastws_deflate_tail;
        output.result = inflate_into(inflater, &position, &length, 1, &output);
        CHECK(output.result == FASTWS_INFLATE_DONE);
        CHECK(fastws_inflater_is_complete(inflater));
        CHECK(output.size == size);
        CHECK(memcmp(output.data, data, size) == 0);
        free(output.data);
    }
    free_room(out, room);
    return written;
}

static void check_deflating(const struct settings *settings, const uint8_t *data,
                            size_t size)
{
    int bits = settings->window_bits < FASTWS_WINDOW_BITS_MIN ? FASTWS_WINDOW_BITS_MIN
                                                              : settings->window_bits;
    uint32_t seed = settings->seed;
    fastws_deflater *deflater =
        fastws_deflater_new(settings->level, bits, settings->memory_level);
    fastws_inflater *keeps = fastws_inflater_new(bits);
    fastws_inflater *fresh = fastws_inflater_new(bits);
    size_t bound = fastws_deflate_bound(size);
    size_t written = check_message(deflater, fresh, data, size, bound, 0);

    CHECK(written > 0);
    /* The next two refer to one another, and to nothing before them. */
    fastws_deflater_reset(deflater);
    CHECK(check_message(deflater, keeps, data, size, bound, 1) > 0);
    CHECK(check_message(deflater, keeps, data, size, bound, 1) > 0);
    CHECK(fastws_inflater_reset(fresh, bits) == 0);
    check_message(deflater, fresh, data, size, next_random(&seed) % (written + 8), 0);
    CHECK(fastws_inflater_reset(fresh, bits) == 0);
    CHECK(check_message(deflater, fresh, data, size, bound, 0) == written);
    fastws_deflater_free(deflater);
    fastws_inflater_free(keeps);
    fastws_inflater_free(fresh);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings settings;

    CHECK(fastws_deflate_available());
    if (size < 3) {
        return 0;
    }
    settings.window_bits = 8 + data[0] % 8;
    settings.level = 1 + (data[0] >> 3) % 9;
    settings.memory_level = 1 + data[1] % 9;
    settings.seed = data[2] + 1u;
    check_inflating(&settings, data + 3, size - 3);
    check_deflating(&settings, data + 3, size - 3);
    return 0;
}
