/* What the processor and the operating system allow beyond the baseline. */
#ifndef FASTWS_CPU_H
#define FASTWS_CPU_H

/* 1 when AVX2 instructions exist and the system saves their registers; else 0. */
int fastws_cpu_has_avx2(void);

#endif
