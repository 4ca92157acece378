/* The kernels, and the table that chooses. */
#include "utf8_step.h"

#include <stdatomic.h>

#include "cpu.h"
#include "mask.h"

#if defined(__x86_64__)
#include "utf8_avx2.h"
#elif defined(__aarch64__)
#include "utf8_neon.h"
#endif
#if defined(LOOKUP)
#include "utf8_lookup.h"
#endif

/* The oracle. */
static int utf8_naive(fastws_utf8_state *state, const uint8_t *data, size_t length)
{
    for (size_t index = 0; index < length; index++) {
        if (!fastws_utf8_step(state, data[index])) {
            return 0;
        }
    }
    return 1;
}

static inline int continues(uint8_t byte)
{
    return (byte & 0xC0) == 0x80;
}

/* The size of the whole character at `data`, whose first byte is not ASCII; 0 when it
 * is invalid or ends after `available` bytes: the caller goes on by single bytes. */
static inline size_t character_size(const uint8_t *data, size_t available)
{
    uint8_t first = data[0];
    uint8_t second;

    if (available < 2 || !continues(data[1])) {
        return 0;
    }
    second = data[1];
    if (first < 0xE0) {
        return first >= 0xC2 ? 2 : 0;
    }
    if (available < 3 || !continues(data[2])) {
        return 0;
    }
    if (first < 0xF0) {
        int overlong = first == 0xE0 && second < 0xA0;
        int surrogate = first == 0xED && second > 0x9F;
        return overlong || surrogate ? 0 : 3;
    }
    if (available < 4 || !continues(data[3])) {
        return 0;
    }
    if (first == 0xF0) {
        return second >= 0x90 ? 4 : 0;
    }
    return first < 0xF4 || (first == 0xF4 && second < 0x90) ? 4 : 0;
}

/* How many of these eight bytes come before the first that is not ASCII. */
static inline size_t ascii_of_8(const uint8_t *data)
{
    uint64_t high;

    memcpy(&high, data, sizeof high);
    high &= FASTWS_HIGH_BITS;
    if (high == 0) {
        return 8;
    }
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return (size_t)__builtin_clzll(high) / 8;
#else
    return (size_t)__builtin_ctzll(high) / 8;
#endif
}

/* At least one byte of ASCII stands at `data`. */
static inline size_t ascii_run(const uint8_t *data, size_t available)
{
    size_t run = 0;

    while (run + 16 <= available &&
           fastws_block_is_ascii(fastws_block_load(data + run))) {
        run += 16;
    }
    if (run + 8 <= available) {
        return run + ascii_of_8(data + run);
    }
    return run ? run : 1;
}

/* Whole characters from a character's start; returns where it can't go on by them. */
static inline size_t whole_characters(const uint8_t *data, size_t length)
{
    size_t index = 0;

    while (index < length) {
        size_t size = data[index] < 0x80
                          ? ascii_run(data + index, length - index)
                          : character_size(data + index, length - index);
        if (size == 0) {
            break;
        }
        index += size;
    }
    return index;
}

static int utf8_scalar(fastws_utf8_state *state, const uint8_t *data, size_t length)
{
    size_t index = 0;

    while (index < length) {
        if (*state == 0) {
            index += whole_characters(data + index, length - index);
            if (index == length) {
                return 1;
            }
        }
        if (!fastws_utf8_step(state, data[index++])) {
            return 0;
        }
    }
    return 1;
}

#if defined(LOOKUP)
LOOKUP_TARGET static int utf8_lookup(fastws_utf8_state *state, const uint8_t *data,
                                     size_t length)
{
    if (length < LOOKUP_SHORTEST) {
        return utf8_scalar(state, data, length);
    }
    return utf8_long(state, data, length);
}
#endif

static const fastws_utf8_kernel kernels[] = {
    {"naive", utf8_naive},
    {"scalar", utf8_scalar},
#if defined(LOOKUP)
    {LOOKUP_NAME, utf8_lookup},
#endif
    {NULL, NULL},
};

#if defined(__x86_64__)
static const fastws_utf8_kernel kernels_baseline[] = {
    {"naive", utf8_naive},
    {"scalar", utf8_scalar},
    {NULL, NULL},
};
#endif

const fastws_utf8_kernel *fastws_utf8_kernels(void)
{
#if defined(__x86_64__)
    return fastws_cpu_has_avx2() ? kernels : kernels_baseline;
#else
    return kernels;
#endif
}

/* Relaxed for the same reason as in mask.c. */
static _Atomic(fastws_utf8_function) chosen;

__attribute__((noinline, cold)) static fastws_utf8_function choose(void)
{
    const fastws_utf8_kernel *best = fastws_utf8_kernels();
    while (best[1].name) {
        best++;
    }
    atomic_store_explicit(&chosen, best->validate, memory_order_relaxed);
    return best->validate;
}

int fastws_utf8_validate(fastws_utf8_state *state, const uint8_t *data, size_t length)
{
    fastws_utf8_function validate =
        atomic_load_explicit(&chosen, memory_order_relaxed);
    if (__builtin_expect(validate == NULL, 0)) {
        validate = choose();
    }
    return validate(state, data, length);
}
