/* conv_pointwise_neon.c - 1x1 convolutions for aarch64 NEON. */
#if defined(__aarch64__)
#include "eval/simd_neon.h"

#include "eval/conv_pointwise_template.h"

#include "eval/simd_end.h"
#endif
