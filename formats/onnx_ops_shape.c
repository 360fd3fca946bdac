/* onnx_ops_shape.c - operators that change shapes, and Softmax and ReduceMean, whose axes depend on them. */
#include <string.h>

#include "formats/onnx_parts.h"

static struct onnx_value *output_value(const struct onnx_import *import, const Onnx__Node *node) {
    return sqz_onnx_has_output(node, 0) ? sqz_onnx_find(import, node->output[0]) : NULL;
}

static bool same_dimensions(const struct sqz_shape *shape, const uint64_t *dim, uint32_t rank) {
    return shape->rank == rank && memcmp(shape->dim, dim, rank * sizeof *dim) == 0;
}

/* Append a Flatten (rank 2) or a Reshape to these dimensions; written (may be NULL) says which were given as -1 or 0.
 */
static enum sqz_status add_reshape(struct onnx_import *import, const Onnx__Node *node, uint32_t input,
                                   const uint64_t *dim, uint32_t rank, const int64_t *written, uint32_t *out,
                                   struct sqz_error *err) {
    enum sqz_op op = rank == 2 ? SQZ_OP_FLATTEN : SQZ_OP_RESHAPE;
    SQZ_TRY(sqz_onnx_add_node(import, node, op, NULL, &input, 1, out, err));
    if (op == SQZ_OP_RESHAPE) {
        union sqz_params *params = &import->model->nodes[*out].params;
        params->reshape.rank = rank;
        for (uint32_t i = 1; i < rank; i++)
            params->reshape.dim[i] = written && written[i] <= 0 ? written[i] : (int64_t)dim[i];
    }
    return sqz_onnx_infer(import, *out, err);
}

enum sqz_status sqz_onnx_set_shape(struct onnx_import *import, const Onnx__Node *node, const struct onnx_value *value,
                                   const uint64_t *dim, uint32_t rank, const int64_t *written, struct sqz_error *err) {
    uint32_t index;
    if (rank == 0 || dim[0] != import->batch)
        return sqz_onnx_unsupported(node, "the batch dimension does not stay the first", err);
    if (rank > SQZ_MAX_RANK) return sqz_onnx_unsupported(node, "the rank is too large", err);
    if (same_dimensions(&import->shapes[value->node], dim, rank)) return sqz_onnx_alias(import, node, value, err);
    SQZ_TRY(add_reshape(import, node, value->node, dim, rank, written, &index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

enum sqz_status sqz_onnx_flatten(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    const struct sqz_shape *shape = &import->shapes[in->node];
    int64_t axis = sqz_onnx_int(node, "axis", 1);
    if (axis < 0) axis += shape->rank;
    if (axis < 0 || axis > shape->rank) return sqz_onnx_malformed(node, "the axis does not exist", err);
    uint64_t dim[2] = {1, 1};
    for (uint32_t i = 0; i < shape->rank; i++) dim[i >= axis] *= shape->dim[i];
    return sqz_onnx_set_shape(import, node, in, dim, 2, NULL, err);
}

enum sqz_status sqz_onnx_reshape(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    const struct onnx_tensor *tensor;
    uint64_t dim[ONNX_MAX_RANK];
    size_t n;
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    const int64_t *target = sqz_onnx_ints(node, "shape", &n);
    SQZ_TRY(sqz_onnx_constant_input(import, node, 1, &tensor, err));
    if (tensor) {
        if (tensor->is_real) return sqz_onnx_malformed(node, "the shape is not a list of integers", err);
        target = tensor->whole;
        n = tensor->count;
    }
    const struct sqz_shape *shape = &import->shapes[in->node];
    SQZ_TRY(sqz_onnx_resolve_reshape(node, target, n, sqz_onnx_int(node, "allowzero", 0) != 0, shape->dim, shape->rank,
                                     dim, err));
    return sqz_onnx_set_shape(import, node, in, dim, (uint32_t)n, target, err);
}

enum sqz_status sqz_onnx_squeeze(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    struct onnx_tensor to = {0};
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    const struct sqz_shape *shape = &import->shapes[in->node];
    SQZ_TRY(sqz_onnx_squeeze_shape(import, node, shape->dim, shape->rank, &to, err));
    /* With a batch of one, a lost batch dimension shows as a first dimension that is another one's. */
    uint32_t axes[ONNX_MAX_RANK];
    size_t n;
    SQZ_TRY(sqz_onnx_axes(import, node, 1, shape->rank, axes, &n, err));
    bool keeps_batch = n > 0 || shape->dim[0] != 1;
    for (size_t i = 0; i < n; i++) keeps_batch &= axes[i] != 0;
    if (!keeps_batch) return sqz_onnx_unsupported(node, "the batch dimension is squeezed away", err);
    return sqz_onnx_set_shape(import, node, in, to.dim, to.rank, NULL, err);
}

enum sqz_status sqz_onnx_unsqueeze(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    struct onnx_tensor to = {0};
    uint32_t axes[ONNX_MAX_RANK];
    size_t n;
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    const struct sqz_shape *shape = &import->shapes[in->node];
    SQZ_TRY(sqz_onnx_unsqueeze_shape(import, node, shape->dim, shape->rank, &to, err));
    SQZ_TRY(sqz_onnx_axes(import, node, 1, to.rank, axes, &n, err));
    for (size_t i = 0; i < n; i++)
        if (axes[i] == 0) return sqz_onnx_unsupported(node, "the batch dimension does not stay the first", err);
    return sqz_onnx_set_shape(import, node, in, to.dim, to.rank, NULL, err);
}

/* ---- Transpose ---------------------------------------------------------------- */

/* Whether the permutation leaves the elements in memory where they are: it only moves dimensions of size one. */
static bool moves_nothing(const struct sqz_shape *shape, const uint8_t *perm) {
    int last = -1;
    for (uint32_t i = 0; i < shape->rank; i++) {
        if (shape->dim[perm[i]] == 1) continue;
        if (perm[i] < last) return false;
        last = perm[i];
    }
    return perm[0] == 0;
}

/*
 * A permuted value is not computed but remembered: it is the node's value seen
 * through perm, until another Transpose undoes it.
 */
enum sqz_status sqz_onnx_transpose(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    size_t n;
    SQZ_TRY(sqz_onnx_input(import, node, 0, &in, err));
    if (in->kind != ONNX_NODE) SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    const struct sqz_shape *shape = &import->shapes[in->node];
    const int64_t *written = sqz_onnx_ints(node, "perm", &n);
    uint8_t perm[SQZ_MAX_RANK] = {0};
    unsigned seen = 0;
    bool identity = true;
    if (written && n != shape->rank) return sqz_onnx_malformed(node, "perm does not fit the rank", err);
    for (uint32_t i = 0; i < shape->rank; i++) {
        int64_t from = written ? written[i] : (int64_t)(shape->rank - 1 - i);
        if (from < 0 || from >= shape->rank || seen & 1u << from)
            return sqz_onnx_malformed(node, "perm is no permutation", err);
        seen |= 1u << from;
        perm[i] = in->is_view ? in->perm[from] : (uint8_t)from;
        identity &= perm[i] == i;
    }
    struct onnx_value base = *in;
    base.is_view = false;
    if (!identity && moves_nothing(shape, perm)) {
        uint64_t dim[SQZ_MAX_RANK];
        for (uint32_t i = 0; i < shape->rank; i++) dim[i] = shape->dim[perm[i]];
        return sqz_onnx_set_shape(import, node, &base, dim, shape->rank, NULL, err);
    }
    SQZ_TRY(sqz_onnx_alias(import, node, &base, err));
    struct onnx_value *out = output_value(import, node);
    out->is_view = !identity;
    memcpy(out->perm, perm, sizeof perm);
    return SQZ_OK;
}

/* ---- Softmax ----------------------------------------------------------------------- */

static enum sqz_status add_softmax(struct onnx_import *import, const Onnx__Node *node, uint32_t input, uint32_t axis,
                                   uint32_t *out, struct sqz_error *err) {
    const struct sqz_shape *shape = &import->shapes[input];
    if (axis == 0) return sqz_onnx_unsupported(node, "it normalises over the batch", err);
    if (shape->dim[axis] == 1)
        sqz_onnx_warn(import, node, "normalises over a dimension of size 1: all its results are 1");
    SQZ_TRY(sqz_onnx_add_node(import, node, SQZ_OP_SOFTMAX, NULL, &input, 1, out, err));
    import->model->nodes[*out].params.softmax.axis = axis;
    return sqz_onnx_infer(import, *out, err);
}

/*
 * Below operator set 13 Softmax takes all dimensions from `axis` on as one.
 * When at most one of them is larger than one, that is the dimension; else the
 * value is flattened from there and brought back into shape behind.
 */
static enum sqz_status softmax_flattening(struct onnx_import *import, const Onnx__Node *node,
                                          const struct onnx_value *in, uint32_t axis, struct sqz_error *err) {
    struct sqz_shape shape = import->shapes[in->node];
    uint32_t index, n_larger = 0, larger = axis;
    uint64_t dim[SQZ_MAX_RANK], tail = 1;
    if (axis == 0) return sqz_onnx_unsupported(node, "it normalises over the batch", err);
    for (uint32_t i = 0; i < shape.rank; i++) {
        if (i < axis)
            dim[i] = shape.dim[i];
        else
            tail *= shape.dim[i];
        if (i >= axis && shape.dim[i] > 1) {
            n_larger++;
            larger = i;
        }
    }
    if (n_larger <= 1) {
        SQZ_TRY(add_softmax(import, node, in->node, larger, &index, err));
        return sqz_onnx_set_output(import, node, index, err);
    }
    dim[axis] = tail;
    SQZ_TRY(add_reshape(import, node, in->node, dim, axis + 1, NULL, &index, err));
    SQZ_TRY(add_softmax(import, node, index, axis, &index, err));
    SQZ_TRY(add_reshape(import, node, index, shape.dim, shape.rank, NULL, &index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

enum sqz_status sqz_onnx_softmax(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    uint32_t index;
    SQZ_TRY(sqz_onnx_input(import, node, 0, &in, err));
    if (in->kind != ONNX_NODE) SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    int64_t rank = import->shapes[in->node].rank;
    int64_t axis = sqz_onnx_int(node, "axis", import->opset < 13 ? 1 : -1);
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) return sqz_onnx_malformed(node, "the axis does not exist", err);
    bool one_axis = import->opset >= 13 || axis == rank - 1;
    if (!one_axis && in->is_view) return sqz_onnx_unsupported(node, "the dimensions of the input are permuted", err);
    if (!one_axis) return softmax_flattening(import, node, in, (uint32_t)axis, err);
    SQZ_TRY(add_softmax(import, node, in->node, in->is_view ? in->perm[axis] : (uint32_t)axis, &index, err));
    SQZ_TRY(sqz_onnx_set_output(import, node, index, err));
    struct onnx_value *out = output_value(import, node);
    out->is_view = in->is_view;
    memcpy(out->perm, in->perm, sizeof out->perm);
    return SQZ_OK;
}

/* ---- ReduceMean ----------------------------------------------------------------------- */

/* The mean over height and width is global average pooling. */
enum sqz_status sqz_onnx_reduce_mean(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    uint32_t axes[ONNX_MAX_RANK], index;
    size_t n;
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    const struct sqz_shape *shape = &import->shapes[in->node];
    SQZ_TRY(sqz_onnx_axes(import, node, 1, shape->rank, axes, &n, err));
    if (shape->rank != 4 || n != 2 || axes[0] + axes[1] != 5 || axes[0] < 2 || axes[1] < 2)
        return sqz_onnx_unsupported(node, "only means over height and width are supported", err);
    SQZ_TRY(sqz_onnx_add_node(import, node, SQZ_OP_GLOBAL_AVERAGE_POOL, NULL, &in->node, 1, &index, err));
    SQZ_TRY(sqz_onnx_infer(import, index, err));
    if (sqz_onnx_int(node, "keepdims", 1) == 0)
        SQZ_TRY(add_reshape(import, node, index, import->shapes[index].dim, 2, NULL, &index, err));
    return sqz_onnx_set_output(import, node, index, err);
}
