/* pool_avx2.c - pooling for AVX2. */
#if defined(__x86_64__)
#include "eval/simd_avx2.h"

#include "eval/pool_template.h"

#include "eval/simd_end.h"
#endif
