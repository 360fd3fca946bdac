/* conv_gemm_avx2.c - convolutions and dense layers as panel products for AVX2. */
#if defined(__x86_64__)
#include "eval/simd_avx2.h"

#include "eval/conv_gemm_template.h"

#include "eval/simd_end.h"
#endif
