/* pytorch_dtype.c - the element types of PyTorch storages and their way to float32. */
#include "formats/pytorch.h"

#include <math.h>
#include <string.h>

#include "lib/half.h"

static float widen_float32(uint64_t bits) {
    uint32_t low = (uint32_t)bits;
    float value;
    memcpy(&value, &low, sizeof value);
    return value;
}

static float widen_float64(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return (float)value;
}

static float widen_float16(uint64_t bits) {
    return sqz_half_to_float((uint16_t)bits);
}

static float widen_bfloat16(uint64_t bits) {
    return sqz_bfloat16_to_float((uint16_t)bits);
}

static float widen_unsigned(uint64_t bits) {
    return (float)bits;
}

static float widen_bool(uint64_t bits) {
    return bits ? 1.0f : 0.0f;
}

static float widen_int8(uint64_t bits) {
    return (float)(int8_t)bits;
}

static float widen_int16(uint64_t bits) {
    return (float)(int16_t)bits;
}

static float widen_int32(uint64_t bits) {
    return (float)(int32_t)bits;
}

static float widen_int64(uint64_t bits) {
    return (float)(int64_t)bits;
}

/* A float8 of one sign bit, exponent and mantissa without its special values (OCP 8-bit floating point, 2023). */
static float widen_float8(unsigned bits, int mantissa_nbits, int bias) {
    unsigned mantissa = bits & ((1u << mantissa_nbits) - 1), exponent = (bits & 0x7f) >> mantissa_nbits;
    float magnitude = exponent ? ldexpf((float)(mantissa | 1u << mantissa_nbits), (int)exponent - bias - mantissa_nbits)
                               : ldexpf((float)mantissa, 1 - bias - mantissa_nbits);
    return bits & 0x80 ? -magnitude : magnitude;
}

static float widen_float8_e4m3fn(uint64_t bits) {
    return (bits & 0x7f) == 0x7f ? NAN : widen_float8((unsigned)bits, 3, 7);
}

/* The upper byte of a binary16. */
static float widen_float8_e5m2(uint64_t bits) {
    return sqz_half_to_float((uint16_t)(bits << 8));
}

/* The "fnuz" types have neither infinities nor a negative zero, whose code is NaN. */
static float widen_float8_e4m3fnuz(uint64_t bits) {
    return bits == 0x80 ? NAN : widen_float8((unsigned)bits, 3, 8);
}

static float widen_float8_e5m2fnuz(uint64_t bits) {
    return bits == 0x80 ? NAN : widen_float8((unsigned)bits, 2, 16);
}

/* A power of two without sign. */
static float widen_float8_e8m0fnu(uint64_t bits) {
    return bits == 0xff ? NAN : ldexpf(1.0f, (int)bits - 127);
}

static const struct sqz_torch_dtype dtypes[] = {
    {"float32", "FloatStorage", 4, widen_float32},
    {"float64", "DoubleStorage", 8, widen_float64},
    {"float16", "HalfStorage", 2, widen_float16},
    {"bfloat16", "BFloat16Storage", 2, widen_bfloat16},
    {"int64", "LongStorage", 8, widen_int64},
    {"int32", "IntStorage", 4, widen_int32},
    {"int16", "ShortStorage", 2, widen_int16},
    {"int8", "CharStorage", 1, widen_int8},
    {"uint8", "ByteStorage", 1, widen_unsigned},
    {"bool", "BoolStorage", 1, widen_bool},
    {"uint16", NULL, 2, widen_unsigned},
    {"uint32", NULL, 4, widen_unsigned},
    {"uint64", NULL, 8, widen_unsigned},
    {"float8_e4m3fn", NULL, 1, widen_float8_e4m3fn},
    {"float8_e5m2", NULL, 1, widen_float8_e5m2},
    {"float8_e4m3fnuz", NULL, 1, widen_float8_e4m3fnuz},
    {"float8_e5m2fnuz", NULL, 1, widen_float8_e5m2fnuz},
    {"float8_e8m0fnu", NULL, 1, widen_float8_e8m0fnu},
    {"complex64", "ComplexFloatStorage", 8, NULL},
    {"complex128", "ComplexDoubleStorage", 16, NULL},
    {"qint8", "QInt8Storage", 1, NULL},
    {"quint8", "QUInt8Storage", 1, NULL},
    {"qint32", "QInt32Storage", 4, NULL},
    {"quint4x2", "QUInt4x2Storage", 1, NULL},
    {"quint2x4", "QUInt2x4Storage", 1, NULL},
};

#define N_DTYPES (sizeof dtypes / sizeof *dtypes)

const struct sqz_torch_dtype *sqz_torch_dtype_by_name(const char *name) {
    for (size_t i = 0; i < N_DTYPES; i++)
        if (strcmp(dtypes[i].name, name) == 0) return &dtypes[i];
    return NULL;
}

const struct sqz_torch_dtype *sqz_torch_dtype_by_storage(const char *storage) {
    for (size_t i = 0; i < N_DTYPES; i++)
        if (dtypes[i].storage && strcmp(dtypes[i].storage, storage) == 0) return &dtypes[i];
    return NULL;
}
