/* sparse_conv_avx2.c - convolutions of stride 1 from what pruning left, for AVX2. */
#if defined(__x86_64__)
#include "eval/simd_avx2.h"

#include "eval/sparse_conv_template.h"

#include "eval/simd_end.h"
#endif
