/* sparse_conv_neon.c - convolutions of stride 1 from what pruning left, for aarch64 NEON. */
#if defined(__aarch64__)
#include "eval/simd_neon.h"

#include "eval/sparse_conv_template.h"

#include "eval/simd_end.h"
#endif
