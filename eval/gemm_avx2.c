/* gemm_avx2.c - the register-blocked product for AVX2. */
#if defined(__x86_64__)
#include "eval/simd_avx2.h"

#include "eval/gemm_template.h"

#include "eval/simd_end.h"
#endif
