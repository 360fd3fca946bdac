/* pool_neon.c - pooling for aarch64 NEON. */
#if defined(__aarch64__)
#include "eval/simd_neon.h"

#include "eval/pool_template.h"

#include "eval/simd_end.h"
#endif
