/* conv_depthwise_avx2.c - depthwise convolutions for AVX2. */
#if defined(__x86_64__)
#include "eval/simd_avx2.h"

#include "eval/conv_depthwise_template.h"

#include "eval/simd_end.h"
#endif
