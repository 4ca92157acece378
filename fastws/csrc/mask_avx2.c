#include "mask_kernels.h"

#if defined(FASTWS_HAVE_X86)
#include <immintrin.h>

/* Named on each function, so that the file is right with any compiler flags; nothing
 * outside may be compiled for AVX2, the wheel's baseline being SSE2. */
#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i load(const uint8_t *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

AVX2 static inline void store(uint8_t *to, __m256i value)
{
    _mm256_storeu_si256((__m256i *)to, value);
}

/* The last block is read before the loop, because in place the loop overwrites it. */
AVX2 int fastws_mask_avx2(uint8_t *to, const uint8_t *from, size_t length,
                          uint32_t word)
{
    __m256i key;
    __m256i last;
    __m256i all;
    size_t index = 0;

    if (length < 32) {
        return fastws_mask_word_copy(to, from, length, word);
    }
    key = _mm256_set1_epi32((int)word);
    last = _mm256_set1_epi32((int)fastws_mask_rotate(word, length));
    last = _mm256_xor_si256(load(from + length - 32), last);
    all = last;
    for (; index + 128 <= length; index += 128) {
        __m256i first = _mm256_xor_si256(load(from + index), key);
        __m256i second = _mm256_xor_si256(load(from + index + 32), key);
        __m256i third = _mm256_xor_si256(load(from + index + 64), key);
        __m256i fourth = _mm256_xor_si256(load(from + index + 96), key);
        store(to + index, first);
        store(to + index + 32, second);
        store(to + index + 64, third);
        store(to + index + 96, fourth);
        all = _mm256_or_si256(all, _mm256_or_si256(_mm256_or_si256(first, second),
                                                   _mm256_or_si256(third, fourth)));
    }
    for (; index + 32 <= length; index += 32) {
        __m256i value = _mm256_xor_si256(load(from + index), key);
        store(to + index, value);
        all = _mm256_or_si256(all, value);
    }
    store(to + length - 32, last);
    return _mm256_movemask_epi8(all) == 0;
}

/* Stops within 128 bytes of the first byte that is not ASCII. */
AVX2 int fastws_is_ascii_avx2(const uint8_t *data, size_t length)
{
    size_t index = 0;

    for (; index + 128 <= length; index += 128) {
        __m256i all = _mm256_or_si256(
            _mm256_or_si256(load(data + index), load(data + index + 32)),
            _mm256_or_si256(load(data + index + 64), load(data + index + 96)));
        if (_mm256_movemask_epi8(all)) {
            return 0;
        }
    }
    for (; index + 32 <= length; index += 32) {
        if (_mm256_movemask_epi8(load(data + index))) {
            return 0;
        }
    }
    return fastws_is_ascii(data + index, length - index);
}

#else
typedef int fastws_mask_avx2_is_for_x86;
#endif
