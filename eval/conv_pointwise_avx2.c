/* conv_pointwise_avx2.c - 1x1 convolutions for AVX2. */
#if defined(__x86_64__)
#include "eval/simd_avx2.h"

#include "eval/conv_pointwise_template.h"

#include "eval/simd_end.h"
#endif
