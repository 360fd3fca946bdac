/* onnx_fold.c - operators on constants: the table, element by element arithmetic, casts and quantised weights. */
#include <math.h>
#include <string.h>

#include "formats/onnx_parts.h"
#include "lib/half.h"

void sqz_onnx_strides(const uint64_t *dim, uint32_t rank, int64_t *stride) {
    int64_t step = 1;
    for (uint32_t i = rank; i-- > 0;) {
        stride[i] = step;
        step *= (int64_t)dim[i];
    }
}

void sqz_onnx_walk_next(struct onnx_walk *walk) {
    for (uint32_t i = walk->rank; i-- > 0;) {
        walk->offset[0] += walk->stride[0][i];
        walk->offset[1] += walk->stride[1][i];
        if (++walk->index[i] < walk->dim[i]) return;
        walk->offset[0] -= walk->stride[0][i] * (int64_t)walk->dim[i];
        walk->offset[1] -= walk->stride[1][i] * (int64_t)walk->dim[i];
        walk->index[i] = 0;
    }
}

bool sqz_onnx_walk_broadcast(struct onnx_walk *walk, int which, const struct onnx_tensor *in) {
    int64_t stride[ONNX_MAX_RANK];
    if (in->rank > walk->rank) return false;
    sqz_onnx_strides(in->dim, in->rank, stride);
    uint32_t ahead = walk->rank - in->rank;
    for (uint32_t i = 0; i < in->rank; i++) {
        if (in->dim[i] != 1 && in->dim[i] != walk->dim[ahead + i]) return false;
        walk->stride[which][ahead + i] = in->dim[i] == 1 ? 0 : stride[i];
    }
    return true;
}

bool sqz_onnx_broadcast_shape(const struct onnx_tensor *a, const struct onnx_tensor *b, struct onnx_tensor *out) {
    out->rank = a->rank > b->rank ? a->rank : b->rank;
    for (uint32_t i = 0; i < out->rank; i++) {
        uint64_t from_a = i + a->rank >= out->rank ? a->dim[i + a->rank - out->rank] : 1;
        uint64_t from_b = i + b->rank >= out->rank ? b->dim[i + b->rank - out->rank] : 1;
        if (from_a != from_b && from_a != 1 && from_b != 1) return false;
        out->dim[i] = from_a == 1 ? from_b : from_a;
    }
    return true;
}

/* ---- arithmetic ------------------------------------------------------------ */

enum arithmetic { ADD, SUB, MUL, DIV, EQUAL };

static enum arithmetic operation_of(const Onnx__Node *node) {
    static const char *const names[] = {"Add", "Sub", "Mul", "Div", "Equal"};
    for (int i = 0; i < EQUAL; i++)
        if (strcmp(node->op_type, names[i]) == 0) return (enum arithmetic)i;
    return EQUAL;
}

static float compute_real(enum arithmetic operation, float a, float b) {
    switch (operation) {
    case ADD:
        return a + b;
    case SUB:
        return a - b;
    case MUL:
        return a * b;
    default:
        return a / b;
    }
}

/* False on overflow and division by zero. */
static bool compute_whole(enum arithmetic operation, int64_t a, int64_t b, int64_t *out) {
    switch (operation) {
    case ADD:
        return !__builtin_add_overflow(a, b, out);
    case SUB:
        return !__builtin_sub_overflow(a, b, out);
    case MUL:
        return !__builtin_mul_overflow(a, b, out);
    case DIV:
        if (b == 0 || (a == INT64_MIN && b == -1)) return false;
        *out = a / b;
        return true;
    default:
        *out = a == b;
        return true;
    }
}

enum sqz_status sqz_onnx_fold_binary(struct onnx_import *import, const Onnx__Node *node,
                                     const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                     struct sqz_error *err) {
    enum arithmetic operation = operation_of(node);
    if (n_in != 2 || !in[0] || !in[1] || in[0]->is_real != in[1]->is_real ||
        !sqz_onnx_broadcast_shape(in[0], in[1], out))
        return sqz_onnx_malformed(node, "the two constants do not fit together", err);
    out->is_real = in[0]->is_real && operation != EQUAL;
    SQZ_TRY(sqz_onnx_tensor_allocate(import, out, err));
    struct onnx_walk walk = {.rank = out->rank};
    memcpy(walk.dim, out->dim, sizeof walk.dim);
    if (!sqz_onnx_walk_broadcast(&walk, 0, in[0]) || !sqz_onnx_walk_broadcast(&walk, 1, in[1]))
        return sqz_onnx_malformed(node, "the two constants do not fit together", err);
    for (size_t i = 0; i < out->count; i++, sqz_onnx_walk_next(&walk)) {
        bool valid = true;
        if (out->is_real)
            out->real[i] = compute_real(operation, in[0]->real[walk.offset[0]], in[1]->real[walk.offset[1]]);
        else if (in[0]->is_real)
            out->whole[i] = in[0]->real[walk.offset[0]] == in[1]->real[walk.offset[1]];
        else
            valid =
                compute_whole(operation, in[0]->whole[walk.offset[0]], in[1]->whole[walk.offset[1]], &out->whole[i]);
        if (!valid) return sqz_onnx_malformed(node, "an integer constant overflows or is divided by zero", err);
    }
    return SQZ_OK;
}

/* ---- types ------------------------------------------------------------------- */

enum sqz_status sqz_onnx_fold_cast(struct onnx_import *import, const Onnx__Node *node,
                                   const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                   struct sqz_error *err) {
    int64_t to = sqz_onnx_int(node, "to", 0);
    if (n_in < 1 || !in[0]) return sqz_onnx_malformed(node, "the input is missing", err);
    out->is_real = sqz_onnx_type_is_real((int32_t)to);
    if (!out->is_real && (to < ONNX_UINT8 || to > ONNX_UINT64 || to == ONNX_STRING))
        return sqz_onnx_unsupported(node, "the target type is not supported", err);
    out->rank = in[0]->rank;
    memcpy(out->dim, in[0]->dim, sizeof out->dim);
    SQZ_TRY(sqz_onnx_tensor_allocate(import, out, err));
    for (size_t i = 0; i < out->count; i++) {
        float real = in[0]->is_real ? in[0]->real[i] : (float)in[0]->whole[i];
        if (out->is_real) {
            out->real[i] = to == ONNX_FLOAT16 ? sqz_half_to_float(sqz_float_to_half(real)) : real;
        } else if (to == ONNX_BOOL) {
            out->whole[i] = in[0]->is_real ? real != 0 : in[0]->whole[i] != 0;
        } else {
            if (in[0]->is_real && !(fabsf(real) < 0x1p63f))
                return sqz_onnx_malformed(node, "a constant does not fit an integer", err);
            out->whole[i] = in[0]->is_real ? (int64_t)real : in[0]->whole[i];
        }
    }
    return SQZ_OK;
}

/* Weights stored as integers: (level - zero point) * scale, for the tensor or along one axis. */
enum sqz_status sqz_onnx_fold_dequantize(struct onnx_import *import, const Onnx__Node *node,
                                         const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                         struct sqz_error *err) {
    if (n_in < 2 || !in[0] || !in[1] || in[0]->is_real || !in[1]->is_real)
        return sqz_onnx_unsupported(node, "the input is not integer with a float scale", err);
    const struct onnx_tensor *level = in[0], *scale = in[1], *zero = n_in > 2 ? in[2] : NULL;
    int64_t axis = sqz_onnx_int(node, "axis", 1);
    if (axis < 0) axis += level->rank;
    if (scale->rank > 1 || (zero && (zero->is_real || zero->count != scale->count)))
        return sqz_onnx_unsupported(node, "scale and zero point are neither single nor along one axis", err);
    bool along_axis = scale->rank == 1 && scale->count != 1;
    if (scale->count == 0 || (along_axis && (axis < 0 || axis >= level->rank || level->dim[axis] != scale->count)))
        return sqz_onnx_malformed(node, "the scales do not fit the axis", err);
    size_t inner = 1;
    for (int64_t i = axis + 1; along_axis && i < level->rank; i++) inner *= level->dim[i];
    out->is_real = true;
    out->rank = level->rank;
    memcpy(out->dim, level->dim, sizeof out->dim);
    SQZ_TRY(sqz_onnx_tensor_allocate(import, out, err));
    for (size_t i = 0; i < out->count; i++) {
        size_t channel = along_axis ? i / inner % scale->count : 0;
        int64_t difference;
        if (__builtin_sub_overflow(level->whole[i], zero ? zero->whole[channel] : 0, &difference))
            return sqz_onnx_malformed(node, "a level overflows", err);
        out->real[i] = (float)difference * scale->real[channel];
    }
    return SQZ_OK;
}

/* ---- constants ---------------------------------------------------------------- */

enum sqz_status sqz_onnx_fold_constant_of_shape(struct onnx_import *import, const Onnx__Node *node,
                                                const struct onnx_tensor *const *in, size_t n_in,
                                                struct onnx_tensor *out, struct sqz_error *err) {
    if (n_in < 1 || !in[0] || in[0]->is_real || in[0]->count > ONNX_MAX_RANK)
        return sqz_onnx_malformed(node, "the shape is not a list of integers", err);
    out->rank = (uint32_t)in[0]->count;
    for (uint32_t i = 0; i < out->rank; i++) {
        if (in[0]->whole[i] < 0) return sqz_onnx_malformed(node, "a dimension is negative", err);
        out->dim[i] = (uint64_t)in[0]->whole[i];
    }
    const Onnx__Attribute *attribute = sqz_onnx_attribute(node, "value");
    struct onnx_tensor fill = {.is_real = true};
    if (attribute && attribute->t) SQZ_TRY(sqz_onnx_tensor_decode(import, attribute->t, &fill, err));
    bool given = fill.count > 0, real = fill.is_real;
    float real_value = given && real ? fill.real[0] : 0;
    int64_t whole_value = given && !real ? fill.whole[0] : 0;
    sqz_onnx_tensor_free(&fill);
    out->is_real = real;
    SQZ_TRY(sqz_onnx_tensor_allocate(import, out, err));
    for (size_t i = 0; i < out->count; i++) {
        if (real)
            out->real[i] = real_value;
        else
            out->whole[i] = whole_value;
    }
    return SQZ_OK;
}

enum sqz_status sqz_onnx_set_integers(struct onnx_import *import, const Onnx__Node *node, const int64_t *values,
                                      size_t n, struct sqz_error *err) {
    struct onnx_value *value = sqz_onnx_has_output(node, 0) ? sqz_onnx_find(import, node->output[0]) : NULL;
    if (!value) return SQZ_OK;
    value->kind = ONNX_CONSTANT;
    value->origin = value->name;
    value->tensor.rank = 1;
    value->tensor.dim[0] = n;
    SQZ_TRY(sqz_onnx_tensor_allocate(import, &value->tensor, err));
    if (n) memcpy(value->tensor.whole, values, n * sizeof *values);
    return SQZ_OK;
}

static enum sqz_status fold_constant(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *out,
                                     struct sqz_error *err) {
    if (node->n_attribute != 1) return sqz_onnx_malformed(node, "it does not have exactly one value", err);
    Onnx__Attribute *attribute = node->attribute[0];
    const char *name = onnx_text(attribute->name);
    out->kind = ONNX_CONSTANT;
    out->origin = out->name;
    if (strcmp(name, "value") == 0 && attribute->t) {
        SQZ_TRY(sqz_onnx_tensor_check(import, attribute->t, err));
        out->proto = attribute->t;
        return SQZ_OK;
    }
    struct onnx_tensor *tensor = &out->tensor;
    bool list = strcmp(name, "value_floats") == 0 || strcmp(name, "value_ints") == 0;
    tensor->is_real = strcmp(name, "value_float") == 0 || strcmp(name, "value_floats") == 0;
    if (!list && !tensor->is_real && strcmp(name, "value_int") != 0)
        return sqz_onnx_unsupported(node, "the kind of value is not supported", err);
    tensor->rank = list;
    if (list) tensor->dim[0] = tensor->is_real ? attribute->n_floats : attribute->n_ints;
    SQZ_TRY(sqz_onnx_tensor_allocate(import, tensor, err));
    if (!list && tensor->is_real)
        tensor->real[0] = attribute->f;
    else if (!list)
        tensor->whole[0] = attribute->i;
    else if (tensor->count && tensor->is_real)
        memcpy(tensor->real, attribute->floats, tensor->count * sizeof(float));
    else if (tensor->count)
        memcpy(tensor->whole, attribute->ints, tensor->count * sizeof(int64_t));
    return SQZ_OK;
}

/* ---- the table ------------------------------------------------------------------ */

static const struct {
    const char *name;
    onnx_fold_function *function; /* NULL: handled by sqz_onnx_fold() itself */
    bool keeps_origin;            /* the result is the same weight in another form */
} foldable[] = {
    {"Constant", NULL, false},
    {"Identity", NULL, false},
    {"Cast", sqz_onnx_fold_cast, true},
    {"Transpose", sqz_onnx_fold_transpose, true},
    {"Reshape", sqz_onnx_fold_reshape, true},
    {"Squeeze", sqz_onnx_fold_squeeze, true},
    {"Unsqueeze", sqz_onnx_fold_unsqueeze, true},
    {"DequantizeLinear", sqz_onnx_fold_dequantize, true},
    {"ConstantOfShape", sqz_onnx_fold_constant_of_shape, false},
    {"Shape", sqz_onnx_fold_shape, false},
    {"Gather", sqz_onnx_fold_gather, false},
    {"Slice", sqz_onnx_fold_slice, false},
    {"Concat", sqz_onnx_fold_concat, false},
    {"Expand", sqz_onnx_fold_expand, false},
    {"Add", sqz_onnx_fold_binary, false},
    {"Sub", sqz_onnx_fold_binary, false},
    {"Mul", sqz_onnx_fold_binary, false},
    {"Div", sqz_onnx_fold_binary, false},
    {"Equal", sqz_onnx_fold_binary, false},
};

#define N_FOLDABLE (sizeof foldable / sizeof *foldable)

static size_t find_foldable(const Onnx__Node *node) {
    size_t i = 0;
    while (i < N_FOLDABLE && strcmp(onnx_text(node->op_type), foldable[i].name) != 0) i++;
    return i;
}

bool sqz_onnx_can_fold(const Onnx__Node *node) {
    return find_foldable(node) < N_FOLDABLE;
}

/* Inputs of the foldable operators: Concat has the most, one for each dimension of a shape or more. */
#define MAX_FOLD_INPUTS 64

static enum sqz_status call(struct onnx_import *import, const Onnx__Node *node, size_t entry, struct onnx_value *out,
                            struct sqz_error *err) {
    const struct onnx_tensor *in[MAX_FOLD_INPUTS];
    if (node->n_input > MAX_FOLD_INPUTS) return sqz_onnx_unsupported(node, "too many constant inputs", err);
    for (size_t i = 0; i < node->n_input; i++) SQZ_TRY(sqz_onnx_constant_input(import, node, i, &in[i], err));
    SQZ_TRY(foldable[entry].function(import, node, in, node->n_input, &out->tensor, err));
    out->kind = ONNX_CONSTANT;
    out->origin = out->name;
    if (foldable[entry].keeps_origin) {
        struct onnx_value *from;
        SQZ_TRY(sqz_onnx_input(import, node, 0, &from, err));
        out->origin = from->origin;
    }
    return SQZ_OK;
}

/* Whether the node is a Cast that leaves floats as they are: then the weight need not exist twice. */
static bool keeps_values(const struct onnx_value *in, const Onnx__Node *node) {
    int64_t to = sqz_onnx_int(node, "to", 0);
    bool real = in->proto ? sqz_onnx_type_is_real(in->proto->data_type) : in->tensor.is_real;
    return strcmp(node->op_type, "Cast") == 0 && real && to != ONNX_FLOAT16 && sqz_onnx_type_is_real((int32_t)to);
}

enum sqz_status sqz_onnx_fold(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *out = sqz_onnx_has_output(node, 0) ? sqz_onnx_find(import, node->output[0]) : NULL, *in;
    size_t entry = find_foldable(node);
    if (!out) return SQZ_OK;
    if (strcmp(node->op_type, "Constant") == 0) return fold_constant(import, node, out, err);
    SQZ_TRY(sqz_onnx_input(import, node, 0, &in, err));
    if (foldable[entry].function && !keeps_values(in, node)) {
        enum sqz_status status = call(import, node, entry, out, err);
        if (status != SQZ_OK) sqz_onnx_tensor_free(&out->tensor);
        return status;
    }
    out->kind = ONNX_CONSTANT;
    out->same = in;
    return SQZ_OK;
}
