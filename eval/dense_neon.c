/* dense_neon.c - dense layers for aarch64 NEON. */
#if defined(__aarch64__)
#include "eval/simd_neon.h"

#include "eval/dense_template.h"

#include "eval/simd_end.h"
#endif
