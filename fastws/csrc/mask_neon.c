#include "mask_kernels.h"

#if defined(FASTWS_HAVE_NEON)
#include <arm_neon.h>

/* The last block is read before the loop, because in place the loop overwrites it. */
int fastws_mask_neon(uint8_t *to, const uint8_t *from, size_t length, uint32_t word)
{
    uint8x16_t key;
    uint8x16_t last;
    uint8x16_t all;
    size_t index = 0;

    if (length < 16) {
        return fastws_mask_below_16(to, from, length, word);
    }
    key = vreinterpretq_u8_u32(vdupq_n_u32(word));
    last = vreinterpretq_u8_u32(vdupq_n_u32(fastws_mask_rotate(word, length)));
    last = veorq_u8(vld1q_u8(from + length - 16), last);
    all = last;
    for (; index + 64 <= length; index += 64) {
        uint8x16_t first = veorq_u8(vld1q_u8(from + index), key);
        uint8x16_t second = veorq_u8(vld1q_u8(from + index + 16), key);
        uint8x16_t third = veorq_u8(vld1q_u8(from + index + 32), key);
        uint8x16_t fourth = veorq_u8(vld1q_u8(from + index + 48), key);
        vst1q_u8(to + index, first);
        vst1q_u8(to + index + 16, second);
        vst1q_u8(to + index + 32, third);
        vst1q_u8(to + index + 48, fourth);
        all = vorrq_u8(all, vorrq_u8(vorrq_u8(first, second), vorrq_u8(third, fourth)));
    }
    for (; index + 16 <= length; index += 16) {
        uint8x16_t value = veorq_u8(vld1q_u8(from + index), key);
        vst1q_u8(to + index, value);
        all = vorrq_u8(all, value);
    }
    vst1q_u8(to + length - 16, last);
    return vmaxvq_u8(all) < 0x80;
}

/* Stops within 64 bytes of the first byte that is not ASCII. */
int fastws_is_ascii_neon(const uint8_t *data, size_t length)
{
    size_t index = 0;

    for (; index + 64 <= length; index += 64) {
        uint8x16_t all = vorrq_u8(
            vorrq_u8(vld1q_u8(data + index), vld1q_u8(data + index + 16)),
            vorrq_u8(vld1q_u8(data + index + 32), vld1q_u8(data + index + 48)));
        if (vmaxvq_u8(all) >= 0x80) {
            return 0;
        }
    }
    return fastws_is_ascii(data + index, length - index);
}

#else
typedef int fastws_mask_neon_is_for_aarch64;
#endif
