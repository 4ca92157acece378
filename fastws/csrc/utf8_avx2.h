/* The vector operations of utf8_lookup.h for AVX2. */
#ifndef FASTWS_UTF8_AVX2_H
#define FASTWS_UTF8_AVX2_H

#include <immintrin.h>
#include <stdint.h>

/* The instruction set is named on each function: nothing else in the file that includes
 * this may use it. */
#define LOOKUP_NAME "avx2"
#define LOOKUP_TARGET __attribute__((target("avx2")))
#define LOOKUP LOOKUP_TARGET static inline
#define VECTOR_SIZE 32

typedef __m256i vector;

LOOKUP vector vector_load(const uint8_t *data)
{
    return _mm256_loadu_si256((const __m256i *)data);
}

LOOKUP vector vector_fill(uint8_t byte)
{
    return _mm256_set1_epi8((char)byte);
}

LOOKUP vector vector_and(vector left, vector right)
{
    return _mm256_and_si256(left, right);
}

LOOKUP vector vector_or(vector left, vector right)
{
    return _mm256_or_si256(left, right);
}

LOOKUP vector vector_xor(vector left, vector right)
{
    return _mm256_xor_si256(left, right);
}

LOOKUP vector vector_low_half(vector bytes)
{
    return _mm256_and_si256(bytes, _mm256_set1_epi8(0x0F));
}

LOOKUP vector vector_high_half(vector bytes)
{
    return vector_low_half(_mm256_srli_epi16(bytes, 4));
}

LOOKUP vector vector_saturating_subtract(vector bytes, uint8_t amount)
{
    return _mm256_subs_epu8(bytes, _mm256_set1_epi8((char)amount));
}

LOOKUP vector vector_lookup(const uint8_t table[16], vector indices)
{
    __m128i half = _mm_loadu_si128((const __m128i *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(half), indices);
}

LOOKUP int vector_is_ascii(vector bytes)
{
    return _mm256_movemask_epi8(bytes) == 0;
}

LOOKUP int vector_is_zero(vector bytes)
{
    return _mm256_testz_si256(bytes, bytes);
}

#endif
