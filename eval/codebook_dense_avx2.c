/* codebook_dense_avx2.c - dense layers from packed weights for AVX2. */
#if defined(__x86_64__)
#include "eval/simd_avx2.h"

#include "eval/codebook_dense_template.h"

#include "eval/simd_end.h"
#endif
