/* isa_peak.c - how many multiply-adds one core does in a second, for percentages of it. */
#include <time.h>

#include "eval/engine.h"

/* Twelve independent chains hide a latency of four cycles on two units with room to spare. */
#define CHAINS 12

/* Rounds of one try, about a tenth of a millisecond; the best of many tries counts, since other work comes and goes. */
#define ROUNDS 50000
#define TRIES 20

#if defined(__x86_64__)
#include <immintrin.h>

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of ROUNDS * CHAINS vector multiply-adds. */
__attribute__((target("avx512f"))) static double time_avx512(void) {
    __m512 sum[CHAINS], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_ps((float)i);
    double start = seconds_now();
    for (long r = 0; r < ROUNDS; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_fmadd_ps(sum[i], a, b);
    }
    double time = seconds_now() - start;
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : : "v"(sum[i])); /* all sums are wanted */
    return time;
}

__attribute__((target("avx2,fma"))) static double time_avx2(void) {
    __m256 sum[CHAINS], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_set1_ps((float)i);
    double start = seconds_now();
    for (long r = 0; r < ROUNDS; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_fmadd_ps(sum[i], a, b);
    }
    double time = seconds_now() - start;
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : : "x"(sum[i])); /* all sums are wanted */
    return time;
}

double sqz_isa_peak(enum sqz_isa isa) {
    if (isa == SQZ_ISA_SCALAR || isa > sqz_isa_detect()) return 0;
    double best = 0, lanes = isa == SQZ_ISA_AVX512 ? 16 : 8;
    for (int i = 0; i < TRIES; i++) {
        double speed = 2 * lanes * CHAINS * ROUNDS / (isa == SQZ_ISA_AVX512 ? time_avx512() : time_avx2());
        if (speed > best) best = speed;
    }
    return best;
}
#else
double sqz_isa_peak(enum sqz_isa isa) {
    (void)isa;
    return 0;
}
#endif
