/* codebook_dense_avx512.c - dense layers from packed weights for AVX-512. */
#if defined(__x86_64__)
#include "eval/simd_avx512.h"

#include "eval/codebook_dense_template.h"

#include "eval/simd_end.h"
#endif
