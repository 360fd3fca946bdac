/* conv_pointwise_avx512.c - 1x1 convolutions for AVX-512. */
#if defined(__x86_64__)
#include "eval/simd_avx512.h"

#include "eval/conv_pointwise_template.h"

#include "eval/simd_end.h"
#endif
