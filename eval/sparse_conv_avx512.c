/* sparse_conv_avx512.c - convolutions of stride 1 from what pruning left, for AVX-512. */
#if defined(__x86_64__)
#include "eval/simd_avx512.h"

#include "eval/sparse_conv_template.h"

#include "eval/simd_end.h"
#endif
