/* The vector operations of utf8_lookup.h for NEON. */
#ifndef FASTWS_UTF8_NEON_H
#define FASTWS_UTF8_NEON_H

#include <arm_neon.h>
#include <stdint.h>

#define LOOKUP_NAME "neon"
#define LOOKUP_TARGET
#define LOOKUP static inline
#define VECTOR_SIZE 16

typedef uint8x16_t vector;

LOOKUP vector vector_load(const uint8_t *data)
{
    return vld1q_u8(data);
}

LOOKUP vector vector_fill(uint8_t byte)
{
    return vdupq_n_u8(byte);
}

LOOKUP vector vector_and(vector left, vector right)
{
    return vandq_u8(left, right);
}

LOOKUP vector vector_or(vector left, vector right)
{
    return vorrq_u8(left, right);
}

LOOKUP vector vector_xor(vector left, vector right)
{
    return veorq_u8(left, right);
}

LOOKUP vector vector_low_half(vector bytes)
{
    return vandq_u8(bytes, vdupq_n_u8(0x0F));
}

LOOKUP vector vector_high_half(vector bytes)
{
    return vshrq_n_u8(bytes, 4);
}

LOOKUP vector vector_saturating_subtract(vector bytes, uint8_t amount)
{
    return vqsubq_u8(bytes, vdupq_n_u8(amount));
}

LOOKUP vector vector_lookup(const uint8_t table[16], vector indices)
{
    return vqtbl1q_u8(vld1q_u8(table), indices);
}

LOOKUP int vector_is_ascii(vector bytes)
{
    return vmaxvq_u8(bytes) < 0x80;
}

LOOKUP int vector_is_zero(vector bytes)
{
    return vmaxvq_u8(bytes) == 0;
}

#endif
