/* conv_window_neon.c - convolutions with any window for aarch64 NEON. */
#if defined(__aarch64__)
#include "eval/simd_neon.h"

#include "eval/conv_window_template.h"

#include "eval/simd_end.h"
#endif
