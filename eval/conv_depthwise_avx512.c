/* conv_depthwise_avx512.c - depthwise convolutions for AVX-512. */
#if defined(__x86_64__)
#include "eval/simd_avx512.h"

#include "eval/conv_depthwise_template.h"

#include "eval/simd_end.h"
#endif
