/* conv_window_avx2.c - convolutions with any window for AVX2. */
#if defined(__x86_64__)
#include "eval/simd_avx2.h"

#include "eval/conv_window_template.h"

#include "eval/simd_end.h"
#endif
