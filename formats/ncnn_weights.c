/* ncnn_weights.c - reads the values in ncnn's .bin file. */
#include <string.h>

#include "formats/ncnn.h"
#include "lib/half.h"

/* What the word in front of a kernel says; any other value than these and 0 means a table. */
#define FLAG_FP32 0x00000000u
#define FLAG_FP16 0x01306B47u
#define FLAG_INT8 0x000D4B38u
#define FLAG_FP32_RAW 0x0002C056u

#define TABLE_SIZE 256

/* Take count * size bytes, rounded up to whole words as ncnn pads them. */
static enum sqz_status take(struct sqz_ncnn_weights *weights, const char *layer, const char *what, size_t count,
                            size_t size, const uint8_t **out, struct sqz_error *err) {
    size_t nbytes;
    if (!sqz_mul_size(count, size, &nbytes) || nbytes > SIZE_MAX - 3)
        return sqz_fail(err, SQZ_LIMIT, "layer %s: %zu weights are too many", layer, count);
    nbytes = (nbytes + 3) / 4 * 4;
    *out = sqz_read_bytes(&weights->reader, nbytes);
    if (*out) return SQZ_OK;
    return sqz_fail(err, SQZ_TRUNCATED,
                    "layer %s: %zu %s of %zu bytes at byte %zu of the weights file, but only %zu bytes are left", layer,
                    count, what, nbytes, weights->reader.offset, sqz_reader_left(&weights->reader));
}

/* Count the values against the limit on all weights. */
static enum sqz_status charge(struct sqz_ncnn_weights *weights, const char *layer, size_t count,
                              struct sqz_error *err) {
    if (count > weights->budget / sizeof(float))
        return sqz_fail(err, SQZ_LIMIT, "layer %s: its %zu weights exceed the limit on the whole model", layer, count);
    weights->budget -= count * sizeof(float);
    return SQZ_OK;
}

static void copy_floats(const uint8_t *bytes, size_t count, float *out) {
    struct sqz_reader reader = sqz_reader_make(bytes, count * sizeof(float));
    for (size_t i = 0; i < count; i++) out[i] = sqz_read_f32(&reader);
}

static void copy_halves(const uint8_t *bytes, size_t count, float *out) {
    for (size_t i = 0; i < count; i++) out[i] = sqz_half_to_float((uint16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8));
}

enum sqz_status sqz_ncnn_read_plain(struct sqz_ncnn_weights *weights, const char *layer, size_t count, float **out,
                                    struct sqz_error *err) {
    const uint8_t *bytes = NULL;
    SQZ_TRY(charge(weights, layer, count, err));
    SQZ_TRY(take(weights, layer, "float32 values", count, sizeof(float), &bytes, err));
    *out = sqz_alloc(count, sizeof **out);
    if (!*out) return sqz_ncnn_no_memory(err);
    copy_floats(bytes, count, *out);
    return SQZ_OK;
}

static enum sqz_status read_halves(struct sqz_ncnn_weights *weights, const char *layer, size_t count, float **out,
                                   struct sqz_error *err) {
    const uint8_t *bytes = NULL;
    SQZ_TRY(charge(weights, layer, count, err));
    SQZ_TRY(take(weights, layer, "fp16 values", count, sizeof(uint16_t), &bytes, err));
    *out = sqz_alloc(count, sizeof **out);
    if (!*out) return sqz_ncnn_no_memory(err);
    copy_halves(bytes, count, *out);
    return SQZ_OK;
}

/* 256 values and an index of 8 bits for each weight. */
static enum sqz_status read_table(struct sqz_ncnn_weights *weights, const char *layer, size_t count,
                                  struct sqz_packed **packed, struct sqz_error *err) {
    const uint8_t *table_bytes = NULL, *indices = NULL;
    float table[TABLE_SIZE];
    SQZ_TRY(charge(weights, layer, count, err));
    SQZ_TRY(take(weights, layer, "table entries", TABLE_SIZE, sizeof(float), &table_bytes, err));
    SQZ_TRY(take(weights, layer, "table indices", count, sizeof(uint8_t), &indices, err));
    copy_floats(table_bytes, TABLE_SIZE, table);
    float *values = sqz_alloc(count, sizeof *values);
    if (!values) return sqz_ncnn_no_memory(err);
    enum sqz_status status = SQZ_OK;
    for (size_t i = 0; i < count && status == SQZ_OK; i++) {
        values[i] = table[indices[i]];
        if (!(values[i] - values[i] == 0))
            status = sqz_fail(err, SQZ_NONFINITE, "layer %s: entry %u of its table is not finite", layer, indices[i]);
    }
    if (status == SQZ_OK) status = sqz_packed_from_values(values, count, packed, err);
    sqz_free(values);
    return status;
}

enum sqz_status sqz_ncnn_read_kernel(struct sqz_ncnn_weights *weights, const char *layer, size_t count, float **out,
                                     struct sqz_packed **packed, struct sqz_error *err) {
    size_t offset = weights->reader.offset;
    *out = NULL;
    *packed = NULL;
    uint32_t flag = sqz_read_u32(&weights->reader);
    if (weights->reader.failed)
        return sqz_fail(err, SQZ_TRUNCATED,
                        "layer %s: its weights start at byte %zu, where the weights file of %zu bytes ends", layer,
                        offset, weights->reader.nbytes);
    switch (flag) {
    case FLAG_FP32:
    case FLAG_FP32_RAW:
        return sqz_ncnn_read_plain(weights, layer, count, out, err);
    case FLAG_FP16:
        return read_halves(weights, layer, count, out, err);
    case FLAG_INT8:
        return sqz_fail(err, SQZ_UNSUPPORTED,
                        "layer %s: int8 weights (flag 0x%08X at byte %zu) are not supported; use the float model",
                        layer, flag, offset);
    default:
        return read_table(weights, layer, count, packed, err);
    }
}
