/* conv_gemm_avx512.c - convolutions and dense layers as panel products for AVX-512. */
#if defined(__x86_64__)
#include "eval/simd_avx512.h"

#include "eval/conv_gemm_template.h"

#include "eval/simd_end.h"
#endif
