/* onnx_scale.c - BatchNormalization, and Add, Sub, Mul and Div with constants, as Scale nodes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/onnx_parts.h"

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* Name of a weight that the file does not have: the node's, or its output's, with a suffix. */
static const char *made_name(struct onnx_import *import, const Onnx__Node *node, const char *suffix) {
    char name[512];
    const char *base = onnx_text(node->name);
    if (!*base) base = node->n_output ? node->output[0] : onnx_text(node->op_type);
    snprintf(name, sizeof name, "%.480s.%s", base, suffix);
    return sqz_arena_strdup(&import->arena, name);
}

/* A computed per-channel weight; takes data over. */
static enum sqz_status add_vector(struct onnx_import *import, const char *name, enum sqz_role role, float *data,
                                  uint64_t count, uint32_t *out, struct sqz_error *err) {
    struct sqz_shape shape = sqz_shape1(count);
    if (!name || !data) {
        sqz_free(data);
        return no_memory(err);
    }
    return sqz_onnx_new_weight(import, name, role, &shape, data, out, err);
}

static float *filled(uint64_t count, float value) {
    float *data = sqz_alloc((size_t)count, sizeof *data);
    for (size_t i = 0; data && i < count; i++) data[i] = value;
    return data;
}

static enum sqz_status add_scale_node(struct onnx_import *import, const Onnx__Node *node, const char *name,
                                      uint32_t input, uint32_t scale, uint32_t shift, uint32_t *out,
                                      struct sqz_error *err) {
    SQZ_TRY(sqz_onnx_add_node(import, node, SQZ_OP_SCALE, name, &input, 1, out, err));
    import->model->nodes[*out].kernel = scale;
    import->model->nodes[*out].bias = shift;
    return sqz_onnx_infer(import, *out, err);
}

enum sqz_status sqz_onnx_scale_all(struct onnx_import *import, const Onnx__Node *node, uint32_t input, float scale,
                                   float shift, uint32_t *out, struct sqz_error *err) {
    const struct sqz_shape *shape = &import->shapes[input];
    uint32_t factors, offsets;
    if (shape->rank < 2) return sqz_onnx_unsupported(node, "the input has no channels", err);
    uint64_t channels = shape->dim[1];
    SQZ_TRY(add_vector(import, made_name(import, node, "scale"), SQZ_ROLE_SCALE, filled(channels, scale), channels,
                       &factors, err));
    SQZ_TRY(add_vector(import, made_name(import, node, "shift"), SQZ_ROLE_SHIFT, filled(channels, shift), channels,
                       &offsets, err));
    return add_scale_node(import, node, NULL, input, factors, offsets, out, err);
}

/* ---- BatchNormalization ------------------------------------------------------------ */

enum sqz_status sqz_onnx_batch_normalization(struct onnx_import *import, const Onnx__Node *node,
                                             struct sqz_error *err) {
    struct onnx_value *in, *gamma, *beta;
    const struct onnx_tensor *parameter[4]; /* scale, shift, mean, variance */
    uint32_t scale, shift, index;
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    const struct sqz_shape *shape = &import->shapes[in->node];
    if (shape->rank < 2) return sqz_onnx_unsupported(node, "the input has no channels", err);
    if (sqz_onnx_int(node, "spatial", 1) == 0)
        return sqz_onnx_unsupported(node, "statistics for each element are not supported", err);
    if (sqz_onnx_int(node, "training_mode", 0) || (import->opset < 14 && sqz_onnx_has_output(node, 1)))
        sqz_onnx_warn(import, node, "was exported for training: its stored statistics are used");
    uint64_t channels = shape->dim[1];
    for (size_t i = 0; i < 4; i++) {
        SQZ_TRY(sqz_onnx_constant_input(import, node, i + 1, &parameter[i], err));
        if (!parameter[i] || !parameter[i]->is_real || parameter[i]->count != channels)
            return sqz_onnx_malformed(node, "a parameter does not have one value for each channel", err);
    }
    SQZ_TRY(sqz_onnx_input(import, node, 1, &gamma, err));
    SQZ_TRY(sqz_onnx_input(import, node, 2, &beta, err));
    double epsilon = sqz_onnx_float(node, "epsilon", 1e-5f);
    float *factors = filled(channels, 0), *offsets = filled(channels, 0);
    if (!factors || !offsets) {
        sqz_free(factors);
        sqz_free(offsets);
        return no_memory(err);
    }
    for (size_t i = 0; i < channels; i++) {
        double factor = parameter[0]->real[i] / sqrt(parameter[3]->real[i] + epsilon);
        factors[i] = (float)factor;
        offsets[i] = (float)(parameter[1]->real[i] - parameter[2]->real[i] * factor);
    }
    const char *name = sqz_onnx_module_name(import, gamma->origin);
    enum sqz_status status = add_vector(import, gamma->origin, SQZ_ROLE_SCALE, factors, channels, &scale, err);
    if (status != SQZ_OK) {
        sqz_free(offsets);
        return status;
    }
    SQZ_TRY(add_vector(import, beta->origin, SQZ_ROLE_SHIFT, offsets, channels, &shift, err));
    SQZ_TRY(add_scale_node(import, node, name, in->node, scale, shift, &index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

/* ---- arithmetic with constants -------------------------------------------------------- */

/*
 * Whether a constant has one value for each channel of the value or a single
 * one, by the rules of broadcasting. Before operator set 7 `axis` says where
 * the constant's dimensions begin.
 */
static bool is_per_channel(const struct onnx_import *import, const Onnx__Node *node, const struct onnx_tensor *tensor,
                           const struct sqz_shape *shape) {
    if (!tensor->is_real || shape->rank < 2 || tensor->rank > shape->rank) return false;
    if (tensor->count == 1) return true;
    uint32_t ahead = shape->rank - tensor->rank;
    if (import->opset < 7 && sqz_onnx_attribute(node, "axis")) {
        int64_t axis = sqz_onnx_int(node, "axis", 0);
        if (axis < 0 || axis > ahead) return false;
        ahead = (uint32_t)axis;
    }
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (tensor->dim[i] != (ahead + i == 1 ? shape->dim[1] : 1)) return false;
    return true;
}

/* values[channels] = sign * (reciprocal ? 1 / constant : constant). */
static float *channel_values(const struct onnx_tensor *tensor, uint64_t channels, float sign, bool reciprocal) {
    float *values = filled(channels, 0);
    for (size_t i = 0; values && i < channels; i++) {
        float value = tensor->real[tensor->count == 1 ? 0 : i];
        values[i] = sign * (reciprocal ? (float)(1.0 / (double)value) : value);
    }
    return values;
}

/* The constant as it is when it already is a vector of the channels, else its values for all channels. */
static enum sqz_status channel_weight(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *value,
                                      enum sqz_role role, uint64_t channels, float sign, bool reciprocal, uint32_t *out,
                                      struct sqz_error *err) {
    const struct onnx_tensor *tensor;
    struct sqz_shape shape = sqz_shape1(channels);
    SQZ_TRY(sqz_onnx_constant(import, value, &tensor, err));
    if (tensor->count == channels && sign == 1 && !reciprocal)
        return sqz_onnx_weight(import, node, value, role, &shape, false, out, err);
    return add_vector(import, value->origin, role, channel_values(tensor, channels, sign, reciprocal), channels, out,
                      err);
}

/* Let a node without bias take the constant as its own when nobody else reads the node's result. */
static bool can_take_bias(const struct onnx_import *import, const struct onnx_value *in) {
    const struct sqz_node *node = &import->model->nodes[in->node];
    bool linear = node->op == SQZ_OP_CONV || node->op == SQZ_OP_DENSE || node->op == SQZ_OP_SCALE;
    return linear && in->exclusive && node->bias == SQZ_NO_WEIGHT;
}

/* y = sign * x + shift. */
static enum sqz_status add_shift(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *in,
                                 struct onnx_value *constant, float sign, float shift_sign, struct sqz_error *err) {
    uint64_t channels = import->shapes[in->node].dim[1];
    uint32_t scale, shift, index = in->node;
    bool own = sign == 1 && can_take_bias(import, in);
    enum sqz_role role = own && import->model->nodes[index].op != SQZ_OP_SCALE ? SQZ_ROLE_BIAS : SQZ_ROLE_SHIFT;
    SQZ_TRY(channel_weight(import, node, constant, role, channels, shift_sign, false, &shift, err));
    if (own) {
        import->model->nodes[index].bias = shift;
        return sqz_onnx_set_output(import, node, index, err);
    }
    SQZ_TRY(add_vector(import, made_name(import, node, "scale"), SQZ_ROLE_SCALE, filled(channels, sign), channels,
                       &scale, err));
    SQZ_TRY(add_scale_node(import, node, NULL, in->node, scale, shift, &index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

/* y = x * factor, or x / factor. */
static enum sqz_status add_factor(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *in,
                                  struct onnx_value *constant, bool reciprocal, struct sqz_error *err) {
    uint32_t scale, index;
    uint64_t channels = import->shapes[in->node].dim[1];
    SQZ_TRY(channel_weight(import, node, constant, SQZ_ROLE_SCALE, channels, 1, reciprocal, &scale, err));
    const char *name = sqz_onnx_module_name(import, constant->origin);
    SQZ_TRY(add_scale_node(import, node, name, in->node, scale, SQZ_NO_WEIGHT, &index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

/*
 * Sort the two inputs into a computed value and a constant for its channels;
 * *constant is NULL when both are computed.
 */
static enum sqz_status sort_inputs(struct onnx_import *import, const Onnx__Node *node, struct onnx_value **in,
                                   struct onnx_value **constant, bool *constant_first, struct sqz_error *err) {
    struct onnx_value *first, *second;
    const struct onnx_tensor *tensor;
    SQZ_TRY(sqz_onnx_input(import, node, 0, &first, err));
    SQZ_TRY(sqz_onnx_input(import, node, 1, &second, err));
    *constant_first = first->kind == ONNX_CONSTANT;
    *constant = *constant_first ? first : second->kind == ONNX_CONSTANT ? second : NULL;
    SQZ_TRY(sqz_onnx_activation(import, node, *constant_first, in, err));
    if (!*constant) return SQZ_OK;
    SQZ_TRY(sqz_onnx_constant(import, *constant, &tensor, err));
    if (!is_per_channel(import, node, tensor, &import->shapes[(*in)->node]))
        return sqz_onnx_unsupported(node, "the constant has neither one value nor one for each channel", err);
    return SQZ_OK;
}

/* Two computed values: equal shapes, or one that has a single element in each channel. */
static enum sqz_status add_elementwise(struct onnx_import *import, const Onnx__Node *node, enum sqz_op op, uint32_t a,
                                       uint32_t b, uint32_t *out, struct sqz_error *err) {
    uint32_t inputs[2] = {a, b};
    SQZ_TRY(sqz_onnx_add_node(import, node, op, NULL, inputs, 2, out, err));
    enum sqz_status status = sqz_onnx_infer(import, *out, err);
    if (status == SQZ_SHAPE)
        return sqz_onnx_unsupported(node, "the shapes are not broadcast over height and width", err);
    return status;
}

enum sqz_status sqz_onnx_add(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in, *constant;
    bool constant_first;
    uint32_t index;
    if (node->n_input == 1) {
        SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
        return sqz_onnx_alias(import, node, in, err);
    }
    SQZ_TRY(sort_inputs(import, node, &in, &constant, &constant_first, err));
    if (constant && node->n_input == 2) return add_shift(import, node, in, constant, 1, 1, err);
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    index = in->node;
    for (size_t i = 1; i < node->n_input; i++) {
        SQZ_TRY(sqz_onnx_activation(import, node, i, &in, err));
        SQZ_TRY(add_elementwise(import, node, SQZ_OP_ADD, index, in->node, &index, err));
    }
    return sqz_onnx_set_output(import, node, index, err);
}

enum sqz_status sqz_onnx_sub(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in, *constant;
    bool constant_first;
    SQZ_TRY(sort_inputs(import, node, &in, &constant, &constant_first, err));
    if (!constant) return sqz_onnx_unsupported(node, "the difference of two computed values is not supported", err);
    return add_shift(import, node, in, constant, constant_first ? -1 : 1, constant_first ? 1 : -1, err);
}

enum sqz_status sqz_onnx_mul(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in, *constant, *second;
    bool constant_first;
    uint32_t index;
    SQZ_TRY(sort_inputs(import, node, &in, &constant, &constant_first, err));
    if (constant) return add_factor(import, node, in, constant, false, err);
    SQZ_TRY(sqz_onnx_activation(import, node, 1, &second, err));
    if (in->node == second->node) return sqz_onnx_begin_square(import, node, in, err);
    SQZ_TRY(add_elementwise(import, node, SQZ_OP_MUL, in->node, second->node, &index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

enum sqz_status sqz_onnx_div(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in, *constant;
    bool constant_first;
    SQZ_TRY(sort_inputs(import, node, &in, &constant, &constant_first, err));
    if (!constant || constant_first)
        return sqz_onnx_unsupported(node, "division by a computed value is not supported", err);
    return add_factor(import, node, in, constant, true, err);
}

/* Only a square, the start of a normalisation that is written out. */
enum sqz_status sqz_onnx_pow(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    double exponent;
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    SQZ_TRY(sqz_onnx_scalar_input(import, node, 1, 1, &exponent, err));
    if (exponent != 2) return sqz_onnx_unsupported(node, "only squares are supported", err);
    return sqz_onnx_begin_square(import, node, in, err);
}
