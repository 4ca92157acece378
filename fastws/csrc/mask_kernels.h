/* What the files of the single instruction sets give to the table in mask.c. */
#ifndef FASTWS_MASK_KERNELS_H
#define FASTWS_MASK_KERNELS_H

#include "mask.h"

#if defined(__x86_64__)
#define FASTWS_HAVE_X86 1
#elif defined(__aarch64__)
#define FASTWS_HAVE_NEON 1
#endif

#if defined(FASTWS_HAVE_X86)
int fastws_mask_sse2(uint8_t *to, const uint8_t *from, size_t length, uint32_t word);
int fastws_is_ascii_sse2(const uint8_t *data, size_t length);
int fastws_mask_avx2(uint8_t *to, const uint8_t *from, size_t length, uint32_t word);
int fastws_is_ascii_avx2(const uint8_t *data, size_t length);
#endif

#if defined(FASTWS_HAVE_NEON)
int fastws_mask_neon(uint8_t *to, const uint8_t *from, size_t length, uint32_t word);
int fastws_is_ascii_neon(const uint8_t *data, size_t length);
#endif

#endif
