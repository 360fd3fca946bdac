/* simd_end.h - closes the target region that simd_ISA.h opened; included last, so without a guard. */
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
