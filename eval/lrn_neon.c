/* lrn_neon.c - local response normalisation for aarch64 NEON. */
#if defined(__aarch64__)
#include "eval/simd_neon.h"

#include "eval/lrn_template.h"

#include "eval/simd_end.h"
#endif
