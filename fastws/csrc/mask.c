/* The naive and the scalar kernel, and the table that chooses. */
#include "mask_kernels.h"

#include <stdatomic.h>

#include "cpu.h"

/* The oracle: the RFC's formula, a byte at a time. */
static int mask_naive(uint8_t *to, const uint8_t *from, size_t length, uint32_t word)
{
    uint8_t key[4];
    uint8_t all = 0;

    memcpy(key, &word, sizeof key);
    for (size_t index = 0; index < length; index++) {
        to[index] = from[index] ^ key[index & 3];
        all |= to[index];
    }
    return all < 0x80;
}

static int is_ascii_naive(const uint8_t *data, size_t length)
{
    for (size_t index = 0; index < length; index++) {
        if (data[index] >= 0x80) {
            return 0;
        }
    }
    return 1;
}

/* The last eight bytes are read before the loop: in place it overwrites them. */
static int mask_scalar(uint8_t *to, const uint8_t *from, size_t length, uint32_t word)
{
    uint64_t pair = (uint64_t)word << 32 | word;
    uint64_t all;
    uint64_t last;
    uint32_t back;

    if (length < 16) {
        return fastws_mask_below_16(to, from, length, word);
    }
    back = fastws_mask_rotate(word, length);
    memcpy(&last, from + length - 8, 8);
    last ^= (uint64_t)back << 32 | back;
    all = last;
    for (size_t index = 0; index + 8 <= length; index += 8) {
        uint64_t value;
        memcpy(&value, from + index, 8);
        value ^= pair;
        all |= value;
        memcpy(to + index, &value, 8);
    }
    memcpy(to + length - 8, &last, 8);
    return (all & FASTWS_HIGH_BITS) == 0;
}

static int is_ascii_scalar(const uint8_t *data, size_t length)
{
    uint64_t all = 0;
    uint64_t value;

    if (length < 8) {
        return is_ascii_naive(data, length);
    }
    for (size_t index = 0; index + 8 <= length; index += 8) {
        memcpy(&value, data + index, 8);
        all |= value;
    }
    memcpy(&value, data + length - 8, 8);
    return ((all | value) & FASTWS_HIGH_BITS) == 0;
}

static const fastws_mask_kernel kernels_baseline[] = {
    {"naive", mask_naive, is_ascii_naive},
    {"scalar", mask_scalar, is_ascii_scalar},
#if defined(FASTWS_HAVE_X86)
    {"sse2", fastws_mask_sse2, fastws_is_ascii_sse2},
#elif defined(FASTWS_HAVE_NEON)
    {"neon", fastws_mask_neon, fastws_is_ascii_neon},
#endif
    {NULL, NULL, NULL},
};

#if defined(FASTWS_HAVE_X86)
static const fastws_mask_kernel kernels_avx2[] = {
    {"naive", mask_naive, is_ascii_naive},
    {"scalar", mask_scalar, is_ascii_scalar},
    {"sse2", fastws_mask_sse2, fastws_is_ascii_sse2},
    {"avx2", fastws_mask_avx2, fastws_is_ascii_avx2},
    {NULL, NULL, NULL},
};
#endif

const fastws_mask_kernel *fastws_mask_kernels(void)
{
#if defined(FASTWS_HAVE_X86)
    if (fastws_cpu_has_avx2()) {
        return kernels_avx2;
    }
#endif
    return kernels_baseline;
}

/* Threads that meet here first all find the same answer, and what it points to is
 * constant: relaxed order is enough. */
static _Atomic(const fastws_mask_kernel *) chosen;

__attribute__((noinline, cold)) static const fastws_mask_kernel *choose(void)
{
    const fastws_mask_kernel *best = fastws_mask_kernels();
    while (best[1].name) {
        best++;
    }
    atomic_store_explicit(&chosen, best, memory_order_relaxed);
    return best;
}

static inline const fastws_mask_kernel *kernel(void)
{
    const fastws_mask_kernel *best =
        atomic_load_explicit(&chosen, memory_order_relaxed);
    return __builtin_expect(best != NULL, 1) ? best : choose();
}

int fastws_mask_long(uint8_t *to, const uint8_t *from, size_t length, uint32_t word)
{
    return kernel()->mask(to, from, length, word);
}

int fastws_is_ascii_long(const uint8_t *data, size_t length)
{
    return kernel()->is_ascii(data, length);
}
