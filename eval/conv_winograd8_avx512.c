/* conv_winograd8_avx512.c - 3x3 and 5x5 convolutions of stride 1 by Winograd's method for AVX-512. */
#if defined(__x86_64__)
#include "eval/simd_avx512.h"

#include "eval/winograd8_transforms.h"

#include "eval/conv_winograd_template.h"

#include "eval/simd_end.h"
#endif
