/* conv_winograd_neon.c - 3x3 and 5x5 convolutions of stride 1 by Winograd's method for aarch64 NEON. */
#if defined(__aarch64__)
#include "eval/simd_neon.h"

#include "eval/winograd6_transforms.h"

#include "eval/conv_winograd_template.h"

#include "eval/simd_end.h"
#endif
