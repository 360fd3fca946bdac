/* lrn_avx2.c - local response normalisation for AVX2. */
#if defined(__x86_64__)
#include "eval/simd_avx2.h"

#include "eval/lrn_template.h"

#include "eval/simd_end.h"
#endif
