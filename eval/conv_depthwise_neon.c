/* conv_depthwise_neon.c - depthwise convolutions for aarch64 NEON. */
#if defined(__aarch64__)
#include "eval/simd_neon.h"

#include "eval/conv_depthwise_template.h"

#include "eval/simd_end.h"
#endif
