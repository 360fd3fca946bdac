/* conv_window_avx512.c - convolutions with any window for AVX-512. */
#if defined(__x86_64__)
#include "eval/simd_avx512.h"

#include "eval/conv_window_template.h"

#include "eval/simd_end.h"
#endif
