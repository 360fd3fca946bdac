/* gemm_avx512.c - the register-blocked product for AVX-512. */
#if defined(__x86_64__)
#include "eval/simd_avx512.h"

#include "eval/gemm_template.h"

#include "eval/simd_end.h"
#endif
