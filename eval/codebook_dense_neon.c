/* codebook_dense_neon.c - dense layers from packed weights for aarch64 NEON. */
#if defined(__aarch64__)
#include "eval/simd_neon.h"

#include "eval/codebook_dense_template.h"

#include "eval/simd_end.h"
#endif
