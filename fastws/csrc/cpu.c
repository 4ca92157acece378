#include "cpu.h"

int fastws_cpu_has_avx2(void)
{
#if defined(__x86_64__) || defined(__i386__)
    /* The builtin reads CPUID and XGETBV, so it covers the operating system's part.
     * Its initialisation is idempotent and safe from any thread. */
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") ? 1 : 0;
#else
    return 0;
#endif
}
