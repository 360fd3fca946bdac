/* isa.c - which instruction set the kernels may use on this processor. */
#include <stdlib.h>
#include <string.h>

#include "eval/engine.h"

static enum sqz_isa processor_level(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq"))
        return SQZ_ISA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return SQZ_ISA_AVX2;
#elif defined(__aarch64__)
    return SQZ_ISA_NEON; /* a part of the base architecture */
#endif
    return SQZ_ISA_SCALAR;
}

enum sqz_isa sqz_isa_detect(void) {
    enum sqz_isa best = processor_level();
    const char *wanted = getenv("SQZ_CPU");
    /* On x86 every level holds the ones before it; NEON holds plain loops alone. */
    const int n = best == SQZ_ISA_NEON ? SQZ_ISA_SCALAR + 1 : (int)best;
    for (int isa = SQZ_ISA_SCALAR; wanted && isa < n; isa++)
        if (strcmp(wanted, sqz_isa_name((enum sqz_isa)isa)) == 0) return (enum sqz_isa)isa;
    return best;
}

const char *sqz_isa_name(enum sqz_isa isa) {
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    return names[isa];
}
