/* lrn_avx512.c - local response normalisation for AVX-512. */
#if defined(__x86_64__)
#include "eval/simd_avx512.h"

#include "eval/lrn_template.h"

#include "eval/simd_end.h"
#endif
