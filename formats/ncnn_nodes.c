/* ncnn_nodes.c - node by node: what the conversion of ncnn's layers is made of. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "formats/ncnn.h"

enum sqz_status sqz_ncnn_fail(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer,
                              enum sqz_status status, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return sqz_fail(builder->err, status, "layer %.100s of type %.60s: %s", layer->name, layer->type, text);
}

/* a + b in the builder's arena; NULL when memory is short. */
static const char *join(struct sqz_ncnn_builder *builder, const char *a, const char *b) {
    size_t nbytes = strlen(a) + strlen(b) + 1;
    char *joined = sqz_arena_alloc(&builder->arena, nbytes, 1);
    if (joined) snprintf(joined, nbytes, "%s%s", a, b);
    return joined;
}

enum sqz_status sqz_ncnn_add_node(struct sqz_ncnn_builder *builder, enum sqz_op op, const char *name,
                                  const char *suffix, const uint32_t *inputs, size_t n_inputs,
                                  struct sqz_ncnn_value_of_blob *value) {
    const char *full = join(builder, name, suffix);
    if (!full) return sqz_ncnn_no_memory(builder->err);
    return sqz_model_add_node(builder->model, op, full, inputs, n_inputs, &value->node, builder->err);
}

/* A node with one input: the value itself. */
static enum sqz_status add_unary(struct sqz_ncnn_builder *builder, enum sqz_op op, const char *name, const char *suffix,
                                 struct sqz_ncnn_value_of_blob *value) {
    uint32_t input = value->node;
    return sqz_ncnn_add_node(builder, op, name, suffix, &input, 1, value);
}

enum sqz_status sqz_ncnn_add_unary(struct sqz_ncnn_builder *builder, enum sqz_op op, const struct sqz_ncnn_layer *layer,
                                   struct sqz_ncnn_value_of_blob *value) {
    return add_unary(builder, op, layer->name, "", value);
}

union sqz_params *sqz_ncnn_params_of(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_value_of_blob *value) {
    return &builder->model->nodes[value->node].params;
}

enum sqz_status sqz_ncnn_add_vector(struct sqz_ncnn_builder *builder, uint32_t node, enum sqz_role role, size_t count,
                                    float *data) {
    bool is_kernel = role == SQZ_ROLE_SCALE;
    struct sqz_shape shape = sqz_shape1(count);
    const char *name = join(builder, builder->model->nodes[node].name, is_kernel ? ".weight" : ".bias");
    uint32_t index;
    if (!name) {
        sqz_free(data);
        return sqz_ncnn_no_memory(builder->err);
    }
    SQZ_TRY(sqz_model_add_weight(builder->model, name, role, &shape, data, &index, builder->err));
    if (is_kernel)
        builder->model->nodes[node].kernel = index;
    else
        builder->model->nodes[node].bias = index;
    return SQZ_OK;
}

enum sqz_status sqz_ncnn_add_scale(struct sqz_ncnn_builder *builder, const char *name, const char *suffix, float *scale,
                                   float *shift, struct sqz_ncnn_value_of_blob *value) {
    enum sqz_status status = add_unary(builder, SQZ_OP_SCALE, name, suffix, value);
    if (status == SQZ_OK) {
        status = sqz_ncnn_add_vector(builder, value->node, SQZ_ROLE_SCALE, value->channels, scale);
        scale = NULL;
    }
    if (status == SQZ_OK && shift) {
        status = sqz_ncnn_add_vector(builder, value->node, SQZ_ROLE_SHIFT, value->channels, shift);
        shift = NULL;
    }
    sqz_free(scale);
    sqz_free(shift);
    return status;
}

/* Bound on channels that no stored weight vouches for: 250 times those of the widest classifier. */
#define MAX_CHANNELS (1u << 20)

/* n copies of one value, or NULL. */
static float *repeat(float value, size_t n) {
    float *data = sqz_alloc(n, sizeof *data);
    for (size_t i = 0; data && i < n; i++) data[i] = value;
    return data;
}

enum sqz_status sqz_ncnn_add_affine(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer,
                                    const char *suffix, float scale, float shift,
                                    struct sqz_ncnn_value_of_blob *value) {
    if (value->channels == 0)
        return sqz_ncnn_fail(builder, layer, SQZ_UNSUPPORTED, "the number of channels cannot be told from the file");
    if (value->channels > MAX_CHANNELS)
        return sqz_ncnn_fail(builder, layer, SQZ_LIMIT, "%u channels are too many", value->channels);
    float *scales = repeat(scale, value->channels), *shifts = repeat(shift, value->channels);
    if (!scales || !shifts) {
        sqz_free(scales);
        sqz_free(shifts);
        return sqz_ncnn_no_memory(builder->err);
    }
    return sqz_ncnn_add_scale(builder, layer->name, suffix, scales, shifts, value);
}

/*
 * With relu(x) and relu(-x) at most one of which is not zero:
 * prelu(x) = relu(x) + (-slope) * relu(-x), without rounding.
 */
enum sqz_status sqz_ncnn_add_prelu(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer, float *slope,
                                   struct sqz_ncnn_value_of_blob *value) {
    struct sqz_ncnn_value_of_blob positive = *value, negative = *value;
    for (uint32_t c = 0; c < value->channels; c++) slope[c] = -slope[c];
    enum sqz_status status = add_unary(builder, SQZ_OP_RELU, layer->name, "_positive", &positive);
    if (status == SQZ_OK) status = sqz_ncnn_add_affine(builder, layer, "_negate", -1, 0, &negative);
    if (status == SQZ_OK) status = add_unary(builder, SQZ_OP_RELU, layer->name, "_negative", &negative);
    if (status != SQZ_OK) {
        sqz_free(slope);
        return status;
    }
    SQZ_TRY(sqz_ncnn_add_scale(builder, layer->name, "_slope", slope, NULL, &negative));
    uint32_t inputs[2] = {positive.node, negative.node};
    return sqz_ncnn_add_node(builder, SQZ_OP_ADD, layer->name, "", inputs, 2, value);
}

static enum sqz_status add_clip(struct sqz_ncnn_builder *builder, const char *name, const char *suffix, float low,
                                float high, struct sqz_ncnn_value_of_blob *value) {
    SQZ_TRY(add_unary(builder, SQZ_OP_CLIP, name, suffix, value));
    sqz_ncnn_params_of(builder, value)->clip.low = low;
    sqz_ncnn_params_of(builder, value)->clip.high = high;
    return SQZ_OK;
}

enum sqz_status sqz_ncnn_add_hard_swish(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer,
                                        const char *suffix, float alpha, float beta,
                                        struct sqz_ncnn_value_of_blob *value) {
    /* Converters print 1/6 with six digits or more. */
    if (fabsf(alpha - 1.0f / 6.0f) < 1e-6f && beta == 0.5f)
        return add_unary(builder, SQZ_OP_HARD_SWISH, layer->name, suffix, value);
    struct sqz_ncnn_value_of_blob gate = *value;
    SQZ_TRY(sqz_ncnn_add_affine(builder, layer, "_gate", alpha, beta, &gate));
    SQZ_TRY(add_clip(builder, layer->name, "_gate_clip", 0, 1, &gate));
    uint32_t inputs[2] = {value->node, gate.node};
    return sqz_ncnn_add_node(builder, SQZ_OP_MUL, layer->name, suffix, inputs, 2, value);
}

enum sqz_status sqz_ncnn_add_activation(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer,
                                        struct sqz_ncnn_value_of_blob *value) {
    static const size_t n_wanted[] = {0, 0, 1, 2, 0, 0, 2};
    int32_t kind;
    float params[4];
    size_t n;
    SQZ_TRY(sqz_ncnn_int(layer, 9, 0, &kind, builder->err));
    SQZ_TRY(sqz_ncnn_floats(layer, 10, 4, params, &n, builder->err));
    if (kind >= 0 && kind < 7 && n < n_wanted[kind])
        return sqz_ncnn_fail(builder, layer, SQZ_MALFORMED, "the fused activation has %zu of %zu parameters", n,
                             n_wanted[kind]);
    switch (kind) {
    case 0:
        return SQZ_OK;
    case 1:
        return add_unary(builder, SQZ_OP_RELU, layer->name, "_relu", value);
    case 2:
        SQZ_TRY(add_unary(builder, SQZ_OP_LEAKY_RELU, layer->name, "_leaky", value));
        sqz_ncnn_params_of(builder, value)->leaky_relu.slope = params[0];
        return SQZ_OK;
    case 3:
        return add_clip(builder, layer->name, "_clip", params[0], params[1], value);
    case 4:
        return add_unary(builder, SQZ_OP_SIGMOID, layer->name, "_sigmoid", value);
    case 5:
        return sqz_ncnn_fail(builder, layer, SQZ_UNSUPPORTED, "the fused activation Mish is not supported");
    case 6:
        return sqz_ncnn_add_hard_swish(builder, layer, "_hardswish", params[0], params[1], value);
    default:
        return sqz_ncnn_fail(builder, layer, SQZ_UNSUPPORTED, "the fused activation %d is not supported", kind);
    }
}

enum sqz_status sqz_ncnn_flatten(struct sqz_ncnn_builder *builder, const char *name,
                                 struct sqz_ncnn_value_of_blob *value) {
    SQZ_TRY(add_unary(builder, SQZ_OP_FLATTEN, name, "_flatten", value));
    value->pooled = false;
    return SQZ_OK;
}
