/* dense_avx2.c - dense layers for AVX2. */
#if defined(__x86_64__)
#include "eval/simd_avx2.h"

#include "eval/dense_template.h"

#include "eval/simd_end.h"
#endif
