/* half.c - IEEE 754 binary16 and bfloat16 to and from float32. */
#include "lib/half.h"

#include <string.h>

static float float_from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

float sqz_half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = (h >> 10) & 0x1f, mantissa = h & 0x3ff;
    if (exponent == 0x1f) return float_from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent) return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

uint16_t sqz_float_to_half(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000u) return sign | 0x7c00; /* 65520 and above */
    if (magnitude < 0x38800000u) {                      /* below 2^-14: a subnormal half */
        uint32_t exponent = magnitude >> 23;
        if (exponent < 102) return sign;
        uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
        unsigned shift = 126 - exponent;
        uint32_t half = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), tie = 1u << (shift - 1);
        half += rest > tie || (rest == tie && (half & 1));
        return (uint16_t)(sign | half);
    }
    uint32_t half = (magnitude - 0x38000000u) >> 13, rest = magnitude & 0x1fffu;
    half += rest > 0x1000u || (rest == 0x1000u && (half & 1));
    return (uint16_t)(sign | half);
}

float sqz_bfloat16_to_float(uint16_t b) {
    return float_from_bits((uint32_t)b << 16);
}
