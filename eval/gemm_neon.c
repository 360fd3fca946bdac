/* gemm_neon.c - the register-blocked product for aarch64 NEON. */
#if defined(__aarch64__)
#include "eval/simd_neon.h"

#include "eval/gemm_template.h"

#include "eval/simd_end.h"
#endif
