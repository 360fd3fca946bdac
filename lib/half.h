/* half.h - IEEE 754 binary16 and bfloat16 to and from float32. */
#ifndef SQZ_LIB_HALF_H
#define SQZ_LIB_HALF_H

#include <stdint.h>

/* Exact. NaN payloads are kept in their upper bits. */
float sqz_half_to_float(uint16_t h);

/* Round to nearest, ties to even; magnitudes of 65520 and above become infinity. */
uint16_t sqz_float_to_half(float f);

/* Exact. */
float sqz_bfloat16_to_float(uint16_t b);

#endif
