/* Masking and unmasking (RFC 6455 section 5.3), in place or fused with the copy, and
 * the ASCII test that comes for nothing with it: ASCII text needs no UTF-8 pass.
 *
 * Messages of 16 to 256 bytes are the common case, so short payloads are done inline
 * with at most four loads and four stores that overlap instead of a loop and a tail.
 * All loads of a block come before its stores; that makes overlapping right in place.
 */
#ifndef FASTWS_MASK_H
#define FASTWS_MASK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Up to here the inline path; above it the kernel chosen for this processor. */
#define FASTWS_MASK_SHORT 64

#define FASTWS_HIGH_BITS UINT64_C(0x8080808080808080)

/* One implementation for one instruction set. `word` is the key as it lies in memory,
 * rotated so that its first byte meets from[0]. `to` and `from` are equal or disjoint.
 * Returns 1 when every byte written is below 0x80. */
typedef int (*fastws_mask_function)(uint8_t *to, const uint8_t *from, size_t length,
                                    uint32_t word);
typedef int (*fastws_ascii_function)(const uint8_t *data, size_t length);

typedef struct {
    const char *name;
    fastws_mask_function mask;
    fastws_ascii_function is_ascii;
} fastws_mask_kernel;

/* The kernels usable on this machine, slowest first, ended by a NULL name. The first is
 * "naive", the oracle of the tests; the last is the one that long payloads get. */
const fastws_mask_kernel *fastws_mask_kernels(void);

/* The chosen kernel, for any length. Safe from any thread, needs no initialisation. */
int fastws_mask_long(uint8_t *to, const uint8_t *from, size_t length, uint32_t word);
int fastws_is_ascii_long(const uint8_t *data, size_t length);

typedef uint64_t fastws_block __attribute__((vector_size(16)));

static inline fastws_block fastws_block_load(const uint8_t *from)
{
    fastws_block block;
    memcpy(&block, from, sizeof block);
    return block;
}

static inline void fastws_block_store(uint8_t *to, fastws_block block)
{
    memcpy(to, &block, sizeof block);
}

static inline fastws_block fastws_block_fill(uint32_t word)
{
    uint64_t pair = (uint64_t)word << 32 | word;
    return (fastws_block){pair, pair};
}

static inline int fastws_block_is_ascii(fastws_block block)
{
#if defined(__SSE2__)
    return _mm_movemask_epi8((__m128i)block) == 0;
#else
    return ((block[0] | block[1]) & FASTWS_HIGH_BITS) == 0;
#endif
}

/* The word for a position `offset` bytes further. */
static inline uint32_t fastws_mask_rotate(uint32_t word, size_t offset)
{
    unsigned shift = 8u * (unsigned)(offset & 3);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return shift ? word << shift | word >> (32 - shift) : word;
#else
    return shift ? word >> shift | word << (32 - shift) : word;
#endif
}

static inline uint32_t fastws_mask_word(const uint8_t key[4], size_t offset)
{
    uint32_t word;
    memcpy(&word, key, sizeof word);
    return fastws_mask_rotate(word, offset);
}

static inline int fastws_mask_16_to_64(uint8_t *to, const uint8_t *from, size_t length,
                                       uint32_t word)
{
    fastws_block front = fastws_block_fill(word);
    fastws_block back = fastws_block_fill(fastws_mask_rotate(word, length));
    fastws_block first = fastws_block_load(from) ^ front;
    fastws_block last = fastws_block_load(from + length - 16) ^ back;
    fastws_block all = first | last;

    if (length > 32) {
        fastws_block second = fastws_block_load(from + 16) ^ front;
        fastws_block third = fastws_block_load(from + length - 32) ^ back;
        all |= second | third;
        fastws_block_store(to + 16, second);
        fastws_block_store(to + length - 32, third);
    }
    fastws_block_store(to, first);
    fastws_block_store(to + length - 16, last);
    return fastws_block_is_ascii(all);
}

static inline int fastws_mask_below_16(uint8_t *to, const uint8_t *from, size_t length,
                                       uint32_t word)
{
    uint32_t back = fastws_mask_rotate(word, length);

    if (length >= 8) {
        uint64_t first;
        uint64_t last;
        memcpy(&first, from, 8);
        memcpy(&last, from + length - 8, 8);
        first ^= (uint64_t)word << 32 | word;
        last ^= (uint64_t)back << 32 | back;
        memcpy(to, &first, 8);
        memcpy(to + length - 8, &last, 8);
        return ((first | last) & FASTWS_HIGH_BITS) == 0;
    }
    if (length >= 4) {
        uint32_t first;
        uint32_t last;
        memcpy(&first, from, 4);
        memcpy(&last, from + length - 4, 4);
        first ^= word;
        last ^= back;
        memcpy(to, &first, 4);
        memcpy(to + length - 4, &last, 4);
        return ((first | last) & (uint32_t)FASTWS_HIGH_BITS) == 0;
    }
    uint8_t key[4];
    uint8_t all = 0;
    memcpy(key, &word, 4);
    for (size_t index = 0; index < length; index++) {
        to[index] = from[index] ^ key[index];
        all |= to[index];
    }
    return all < 0x80;
}

static inline int fastws_mask_word_copy(uint8_t *to, const uint8_t *from, size_t length,
                                        uint32_t word)
{
    if (length > FASTWS_MASK_SHORT) {
        return fastws_mask_long(to, from, length, word);
    }
    if (length >= 16) {
        return fastws_mask_16_to_64(to, from, length, word);
    }
    return fastws_mask_below_16(to, from, length, word);
}

/* data[i] ^= key[(offset + i) & 3]. */
static inline void fastws_mask(uint8_t *data, size_t length, const uint8_t key[4],
                               size_t offset)
{
    (void)fastws_mask_word_copy(data, data, length, fastws_mask_word(key, offset));
}

/* to[i] = from[i] ^ key[(offset + i) & 3]; the two are equal or disjoint. Returns 1
 * when every byte written is ASCII, else 0. */
static inline int fastws_mask_copy(uint8_t *to, const uint8_t *from, size_t length,
                                   const uint8_t key[4], size_t offset)
{
    return fastws_mask_word_copy(to, from, length, fastws_mask_word(key, offset));
}

/* 1 when every byte is below 0x80, else 0. */
static inline int fastws_is_ascii(const uint8_t *data, size_t length)
{
    if (length > FASTWS_MASK_SHORT) {
        return fastws_is_ascii_long(data, length);
    }
    if (length >= 16) {
        fastws_block all = fastws_block_load(data);
        all |= fastws_block_load(data + length - 16);
        if (length > 32) {
            all |= fastws_block_load(data + 16);
            all |= fastws_block_load(data + length - 32);
        }
        return fastws_block_is_ascii(all);
    }
    if (length >= 8) {
        uint64_t first;
        uint64_t last;
        memcpy(&first, data, 8);
        memcpy(&last, data + length - 8, 8);
        return ((first | last) & FASTWS_HIGH_BITS) == 0;
    }
    uint8_t all = 0;
    for (size_t index = 0; index < length; index++) {
        all |= data[index];
    }
    return all < 0x80;
}

#endif
