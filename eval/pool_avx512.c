/* pool_avx512.c - pooling for AVX-512. */
#if defined(__x86_64__)
#include "eval/simd_avx512.h"

#include "eval/pool_template.h"

#include "eval/simd_end.h"
#endif
