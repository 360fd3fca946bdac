/* container_write.c - a model to the bytes of a .sqz file. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "lib/container_file.h"
#include "lib/graph_code.h"
#include "lib/half.h"
#include "lib/parallel.h"
#include "lib/tensor_code.h"

/* ---- float tensors ------------------------------------------------------------------ */

static uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Whether fp16 holds every value: exactly, or (lossy) to within its rounding and without overflow. */
static bool fits_half(const float *data, size_t n, bool lossy) {
    for (size_t i = 0; i < n; i++) {
        float back = sqz_half_to_float(sqz_float_to_half(data[i]));
        if (lossy ? !isfinite(back) : bits_of(back) != bits_of(data[i])) return false;
    }
    return true;
}

static enum sqz_status encode_floats(const struct sqz_weight *weight, enum sqz_bias_kind bias, struct sqz_buffer *out,
                                     struct sqz_error *err) {
    for (size_t i = 0; i < weight->count; i++)
        if (!isfinite(weight->data[i]))
            return sqz_fail(err, SQZ_NONFINITE, "weight %s holds %s at index %zu", weight->name,
                            isnan(weight->data[i]) ? "NaN" : "infinity", i);
    bool lossy = weight->role != SQZ_ROLE_KERNEL && bias != SQZ_BIAS_FP32;
    bool half = fits_half(weight->data, weight->count, lossy);
    size_t nbytes;
    if (!sqz_mul_size(weight->count, half ? 2 : 4, &nbytes) || !sqz_add_size(nbytes, 1, &nbytes) ||
        !sqz_buffer_reserve(out, nbytes))
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    sqz_put_u8(out, half ? SQZ_STORAGE_FLOAT16 : SQZ_STORAGE_FLOAT32);
    for (size_t i = 0; i < weight->count; i++) {
        if (half)
            sqz_put_u16(out, sqz_float_to_half(weight->data[i]));
        else
            sqz_put_f32(out, weight->data[i]);
    }
    return sqz_buffer_status(out, err);
}

/* ---- biases as levels -------------------------------------------------------------------- */

/* Bits of the levels asked for, or 0 when a weight of this role is stored as floats. */
static unsigned bias_level_bits(enum sqz_role role, enum sqz_bias_kind bias) {
    if (role != SQZ_ROLE_BIAS && role != SQZ_ROLE_SHIFT) return 0;
    return bias == SQZ_BIAS_8BIT ? 8 : bias == SQZ_BIAS_10BIT ? 10 : 0;
}

/* The step that takes the largest magnitude to the largest level; 0 when there is no such step. */
static float bias_step(const float *data, size_t n, unsigned n_bits) {
    float largest = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(data[i])) return 0;
        if (fabsf(data[i]) > largest) largest = fabsf(data[i]);
    }
    float step = largest / (float)((1u << (n_bits - 1)) - 1);
    return step >= FLT_MIN ? step : 0;
}

static enum sqz_status encode_levels(const struct sqz_weight *weight, float step, enum sqz_coder coder,
                                     struct sqz_buffer *out, struct sqz_error *err) {
    struct sqz_packed packed = {.kind = SQZ_LEVELS_UNIFORM, .n_levels = weight->count, .n_steps = 1, .steps = &step};
    packed.levels = sqz_alloc(weight->count, sizeof *packed.levels);
    if (!packed.levels) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (size_t i = 0; i < weight->count; i++) packed.levels[i] = (int16_t)lrintf(weight->data[i] / step);
    enum sqz_status status = sqz_tensor_encode(&packed, &weight->shape, weight->count, coder, weight->name, out, err);
    sqz_free(packed.levels);
    return status;
}

/* ---- sections, in parallel ------------------------------------------------------------ */

struct encoding {
    const struct sqz_model *model;
    struct sqz_encode_options options;
    struct sqz_buffer *sections; /* [n_weights] */
    enum sqz_status *statuses;   /* [n_weights] */
    uint32_t *crcs;              /* [n_weights] */
};

static enum sqz_status encode_section(struct encoding *encoding, size_t i, struct sqz_error *err) {
    const struct sqz_weight *weight = &encoding->model->weights[i];
    struct sqz_buffer *out = &encoding->sections[i];
    out->nbytes = 0;
    if (weight->packed)
        return sqz_tensor_encode(weight->packed, &weight->shape, weight->count, encoding->options.coder, weight->name,
                                 out, err);
    if (!weight->data) return sqz_fail(err, SQZ_MISSING_WEIGHT, "weight %s has no values", weight->name);
    unsigned n_bits = bias_level_bits(weight->role, encoding->options.bias);
    float step = n_bits ? bias_step(weight->data, weight->count, n_bits) : 0;
    if (step > 0) return encode_levels(weight, step, encoding->options.coder, out, err);
    return encode_floats(weight, encoding->options.bias, out, err);
}

/* Large tensors share the threads among their lanes; the others take a thread each. */
static bool is_shared(const struct sqz_weight *weight) {
    return weight->packed && weight->count > SQZ_LANES_GROUP_COUNT;
}

static void encode_small(void *context, size_t i, int thread) {
    (void)thread;
    struct encoding *encoding = context;
    if (is_shared(&encoding->model->weights[i])) return;
    encoding->statuses[i] = encode_section(encoding, i, NULL);
    encoding->crcs[i] = sqz_crc32(encoding->sections[i].data, encoding->sections[i].nbytes);
}

static enum sqz_status encode_sections(struct encoding *encoding, struct sqz_error *err) {
    size_t n = encoding->model->n_weights;
    for (size_t i = 0; i < n; i++) {
        if (!is_shared(&encoding->model->weights[i])) continue;
        SQZ_TRY(encode_section(encoding, i, err));
        encoding->crcs[i] = sqz_crc32(encoding->sections[i].data, encoding->sections[i].nbytes);
    }
    sqz_parallel_for(n, encode_small, encoding);
    for (size_t i = 0; i < n; i++) {
        if (encoding->statuses[i] == SQZ_OK) continue;
        /* Once more on this thread, for the message. */
        sqz_buffer_free(&encoding->sections[i]);
        SQZ_TRY(encode_section(encoding, i, err));
        return sqz_fail(err, encoding->statuses[i], "weight %s could not be encoded", encoding->model->weights[i].name);
    }
    return SQZ_OK;
}

/* ---- the file --------------------------------------------------------------------------- */

static enum sqz_status write_file(const struct encoding *encoding, struct sqz_buffer *out, struct sqz_error *err) {
    size_t n = encoding->model->n_weights;
    struct sqz_buffer graph = {0}, deflated = {0};
    enum sqz_status status = sqz_graph_encode(encoding->model, false, &graph, err);
    if (status == SQZ_OK) status = sqz_container_deflate(graph.data, graph.nbytes, &deflated, err);
    if (status == SQZ_OK) {
        size_t start = out->nbytes;
        sqz_put_bytes(out, SQZ_CONTAINER_MAGIC, SQZ_CONTAINER_MAGIC_NBYTES);
        sqz_put_u8(out, SQZ_CONTAINER_VERSION);
        sqz_put_varint(out, graph.nbytes);
        sqz_put_varint(out, deflated.nbytes);
        sqz_put_varint(out, n);
        for (size_t i = 0; i < n; i++) {
            sqz_put_varint(out, encoding->sections[i].nbytes);
            sqz_put_u32(out, encoding->crcs[i]);
        }
        sqz_put_bytes(out, deflated.data, deflated.nbytes);
        if (!out->failed) sqz_put_u32(out, sqz_crc32(out->data + start, out->nbytes - start));
        for (size_t i = 0; i < n; i++) sqz_put_bytes(out, encoding->sections[i].data, encoding->sections[i].nbytes);
        status = sqz_buffer_status(out, err);
    }
    sqz_buffer_free(&graph);
    sqz_buffer_free(&deflated);
    return status;
}

enum sqz_status sqz_container_encode(const struct sqz_model *model, const struct sqz_encode_options *options,
                                     struct sqz_buffer *out, struct sqz_error *err) {
    struct encoding encoding = {.model = model};
    if (options) encoding.options = *options;
    encoding.sections = sqz_alloc0(model->n_weights, sizeof *encoding.sections);
    encoding.statuses = sqz_alloc0(model->n_weights, sizeof *encoding.statuses);
    encoding.crcs = sqz_alloc0(model->n_weights, sizeof *encoding.crcs);
    enum sqz_status status = SQZ_OK;
    if (!encoding.sections || !encoding.statuses || !encoding.crcs)
        status = sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    if (status == SQZ_OK) status = encode_sections(&encoding, err);
    if (status == SQZ_OK) status = write_file(&encoding, out, err);
    for (size_t i = 0; encoding.sections && i < model->n_weights; i++) sqz_buffer_free(&encoding.sections[i]);
    sqz_free(encoding.sections);
    sqz_free(encoding.statuses);
    sqz_free(encoding.crcs);
    return status;
}
