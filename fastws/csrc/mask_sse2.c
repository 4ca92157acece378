#include "mask_kernels.h"

#if defined(FASTWS_HAVE_X86)

static inline __m128i load(const uint8_t *from)
{
    return _mm_loadu_si128((const __m128i *)from);
}

static inline void store(uint8_t *to, __m128i value)
{
    _mm_storeu_si128((__m128i *)to, value);
}

/* The last block is read before the loop, because in place the loop overwrites it. */
int fastws_mask_sse2(uint8_t *to, const uint8_t *from, size_t length, uint32_t word)
{
    __m128i key;
    __m128i last;
    __m128i all;
    size_t index = 0;

    if (length < 16) {
        return fastws_mask_below_16(to, from, length, word);
    }
    key = _mm_set1_epi32((int)word);
    last = _mm_set1_epi32((int)fastws_mask_rotate(word, length));
    last = _mm_xor_si128(load(from + length - 16), last);
    all = last;
    for (; index + 64 <= length; index += 64) {
        __m128i first = _mm_xor_si128(load(from + index), key);
        __m128i second = _mm_xor_si128(load(from + index + 16), key);
        __m128i third = _mm_xor_si128(load(from + index + 32), key);
        __m128i fourth = _mm_xor_si128(load(from + index + 48), key);
        store(to + index, first);
        store(to + index + 16, second);
        store(to + index + 32, third);
        store(to + index + 48, fourth);
        all = _mm_or_si128(all, _mm_or_si128(_mm_or_si128(first, second),
                                             _mm_or_si128(third, fourth)));
    }
    for (; index + 16 <= length; index += 16) {
        __m128i value = _mm_xor_si128(load(from + index), key);
        store(to + index, value);
        all = _mm_or_si128(all, value);
    }
    store(to + length - 16, last);
    return _mm_movemask_epi8(all) == 0;
}

/* Stops within 64 bytes of the first byte that is not ASCII. */
int fastws_is_ascii_sse2(const uint8_t *data, size_t length)
{
    size_t index = 0;

    for (; index + 64 <= length; index += 64) {
        __m128i all = _mm_or_si128(
            _mm_or_si128(load(data + index), load(data + index + 16)),
            _mm_or_si128(load(data + index + 32), load(data + index + 48)));
        if (_mm_movemask_epi8(all)) {
            return 0;
        }
    }
    return fastws_is_ascii(data + index, length - index);
}

#else
typedef int fastws_mask_sse2_is_for_x86;
#endif
