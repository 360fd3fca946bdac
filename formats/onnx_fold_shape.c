/* onnx_fold_shape.c - operators that rearrange constants, and the shapes that such operators produce. */
#include <string.h>

#include "formats/onnx_parts.h"

static void copy_element(const struct onnx_tensor *in, int64_t from, struct onnx_tensor *out, size_t to) {
    if (out->is_real)
        out->real[to] = in->real[from];
    else
        out->whole[to] = in->whole[from];
}

/* Fill out, whose shape is set, with the elements of `in` at walk's first offset. */
static enum sqz_status copy_walk(struct onnx_import *import, const struct onnx_tensor *in, struct onnx_walk *walk,
                                 struct onnx_tensor *out, struct sqz_error *err) {
    walk->rank = out->rank;
    memcpy(walk->dim, out->dim, sizeof walk->dim);
    out->is_real = in->is_real;
    SQZ_TRY(sqz_onnx_tensor_allocate(import, out, err));
    for (size_t i = 0; i < out->count; i++, sqz_onnx_walk_next(walk)) copy_element(in, walk->offset[0], out, i);
    return SQZ_OK;
}

/* The same elements in the shape that out already has. */
static enum sqz_status copy_all(struct onnx_import *import, const Onnx__Node *node, const struct onnx_tensor *in,
                                struct onnx_tensor *out, struct sqz_error *err) {
    out->is_real = in->is_real;
    SQZ_TRY(sqz_onnx_tensor_allocate(import, out, err));
    if (out->count != in->count) return sqz_onnx_malformed(node, "the number of elements changes", err);
    for (size_t i = 0; i < out->count; i++) copy_element(in, (int64_t)i, out, i);
    return SQZ_OK;
}

static enum sqz_status need(const Onnx__Node *node, const struct onnx_tensor *const *in, size_t n_in, size_t wanted,
                            struct sqz_error *err) {
    bool all = n_in >= wanted;
    for (size_t i = 0; all && i < wanted; i++) all = in[i] != NULL;
    return all ? SQZ_OK : sqz_onnx_malformed(node, "an input is missing", err);
}

enum sqz_status sqz_onnx_fold_transpose(struct onnx_import *import, const Onnx__Node *node,
                                        const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                        struct sqz_error *err) {
    SQZ_TRY(need(node, in, n_in, 1, err));
    size_t n;
    const int64_t *perm = sqz_onnx_ints(node, "perm", &n);
    int64_t stride[ONNX_MAX_RANK];
    struct onnx_walk walk = {0};
    unsigned seen = 0;
    if (perm && n != in[0]->rank) return sqz_onnx_malformed(node, "perm does not fit the rank", err);
    out->rank = in[0]->rank;
    sqz_onnx_strides(in[0]->dim, in[0]->rank, stride);
    for (uint32_t i = 0; i < out->rank; i++) {
        int64_t from = perm ? perm[i] : (int64_t)(out->rank - 1 - i);
        if (from < 0 || from >= out->rank || seen & 1u << from)
            return sqz_onnx_malformed(node, "perm is no permutation", err);
        seen |= 1u << from;
        out->dim[i] = in[0]->dim[from];
        walk.stride[0][i] = stride[from];
    }
    return copy_walk(import, in[0], &walk, out, err);
}

/* Shape's start and end (operator set 15) as clamped indices, start <= end. */
void sqz_onnx_shape_range(const Onnx__Node *node, uint32_t rank, uint32_t *start, uint32_t *end) {
    int64_t from = sqz_onnx_int(node, "start", 0), to = sqz_onnx_int(node, "end", rank);
    if (from < 0) from = from < -(int64_t)rank ? 0 : from + rank;
    if (to < 0) to = to < -(int64_t)rank ? 0 : to + rank;
    *end = to > rank ? rank : (uint32_t)to;
    *start = from > *end ? *end : (uint32_t)from;
}

enum sqz_status sqz_onnx_fold_shape(struct onnx_import *import, const Onnx__Node *node,
                                    const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                    struct sqz_error *err) {
    SQZ_TRY(need(node, in, n_in, 1, err));
    uint32_t start, end;
    sqz_onnx_shape_range(node, in[0]->rank, &start, &end);
    out->rank = 1;
    out->dim[0] = end - start;
    SQZ_TRY(sqz_onnx_tensor_allocate(import, out, err));
    for (uint32_t i = start; i < end; i++) out->whole[i - start] = (int64_t)in[0]->dim[i];
    return SQZ_OK;
}

enum sqz_status sqz_onnx_fold_gather(struct onnx_import *import, const Onnx__Node *node,
                                     const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                     struct sqz_error *err) {
    SQZ_TRY(need(node, in, n_in, 2, err));
    const struct onnx_tensor *data = in[0], *indices = in[1];
    int64_t axis = sqz_onnx_int(node, "axis", 0);
    if (axis < 0) axis += data->rank;
    if (indices->is_real || axis < 0 || axis >= data->rank)
        return sqz_onnx_malformed(node, "axis or indices are not valid", err);
    if (data->rank - 1 + indices->rank > ONNX_MAX_RANK) return sqz_onnx_unsupported(node, "the rank is too large", err);
    size_t inner = 1;
    for (uint32_t i = 0; i < data->rank; i++) {
        if (i != axis) out->dim[out->rank++] = data->dim[i];
        for (uint32_t k = 0; i == axis && k < indices->rank; k++) out->dim[out->rank++] = indices->dim[k];
        if (i > axis) inner *= data->dim[i];
    }
    out->is_real = data->is_real;
    SQZ_TRY(sqz_onnx_tensor_allocate(import, out, err));
    int64_t length = (int64_t)data->dim[axis];
    for (size_t i = 0; i < out->count; i++) {
        size_t which = i / inner % indices->count, outer = i / inner / indices->count;
        int64_t index = indices->whole[which];
        if (index < -length || index >= length) return sqz_onnx_malformed(node, "an index is out of range", err);
        if (index < 0) index += length;
        copy_element(data, (int64_t)((outer * (size_t)length + (size_t)index) * inner + i % inner), out, i);
    }
    return SQZ_OK;
}

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

/* Number of elements from start towards end, both clamped as the operator wants for the sign of step. */
static uint64_t slice_length(int64_t length, int64_t *start, int64_t end, int64_t step) {
    if (*start < 0 && *start >= -length) *start += length;
    if (end < 0 && end >= -length) end += length;
    if (step > 0) {
        *start = clamp(*start, 0, length);
        end = clamp(end, 0, length);
        return end > *start ? (uint64_t)((end - *start - 1) / step + 1) : 0;
    }
    *start = clamp(*start, -1, length - 1);
    end = clamp(end, -1, length - 1);
    return *start > end ? (uint64_t)(*start - end - 1) / (0 - (uint64_t)step) + 1 : 0;
}

/* The n-th list of Slice: an input from operator set 10 on, an attribute before. NULL when absent. */
static const int64_t *slice_list(const struct onnx_import *import, const Onnx__Node *node,
                                 const struct onnx_tensor *const *in, size_t n_in, size_t i, size_t *n) {
    static const char *const names[] = {NULL, "starts", "ends", "axes"};
    *n = 0;
    if (import->opset >= 10) {
        if (i >= n_in || !in[i] || in[i]->is_real) return NULL;
        *n = in[i]->count;
        return in[i]->whole;
    }
    return i < 4 ? sqz_onnx_ints(node, names[i], n) : NULL;
}

enum sqz_status sqz_onnx_fold_slice(struct onnx_import *import, const Onnx__Node *node,
                                    const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                    struct sqz_error *err) {
    SQZ_TRY(need(node, in, n_in, 1, err));
    size_t n, n_ends, n_axes, n_steps;
    const int64_t *starts = slice_list(import, node, in, n_in, 1, &n);
    const int64_t *ends = slice_list(import, node, in, n_in, 2, &n_ends);
    const int64_t *axes = slice_list(import, node, in, n_in, 3, &n_axes);
    const int64_t *steps = slice_list(import, node, in, n_in, 4, &n_steps);
    if (!starts || !ends || n != n_ends || n > in[0]->rank || (axes && n_axes != n) || (steps && n_steps != n))
        return sqz_onnx_malformed(node, "starts, ends, axes and steps do not fit together", err);
    struct onnx_walk walk = {0};
    out->rank = in[0]->rank;
    memcpy(out->dim, in[0]->dim, sizeof out->dim);
    sqz_onnx_strides(in[0]->dim, in[0]->rank, walk.stride[0]);
    unsigned seen = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t axis = axes ? axes[i] : (int64_t)i, start = starts[i], step = steps ? steps[i] : 1;
        if (axis < 0) axis += in[0]->rank;
        if (axis < 0 || axis >= in[0]->rank || step == 0 || seen & 1u << axis)
            return sqz_onnx_malformed(node, "an axis or step is not valid", err);
        seen |= 1u << axis;
        uint64_t length = slice_length((int64_t)in[0]->dim[axis], &start, ends[i], step);
        out->dim[axis] = length;
        if (length == 0) continue;
        walk.offset[0] += start * walk.stride[0][axis];
        /* With one element the step is never taken, and it may be as large as an int64 allows. */
        walk.stride[0][axis] = length > 1 ? walk.stride[0][axis] * step : 0;
    }
    return copy_walk(import, in[0], &walk, out, err);
}

enum sqz_status sqz_onnx_fold_concat(struct onnx_import *import, const Onnx__Node *node,
                                     const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                     struct sqz_error *err) {
    SQZ_TRY(need(node, in, n_in, n_in, err));
    int64_t axis = sqz_onnx_int(node, "axis", import->opset < 4 ? 1 : 0);
    if (n_in == 0) return sqz_onnx_malformed(node, "an input is missing", err);
    if (axis < 0) axis += in[0]->rank;
    if (axis < 0 || axis >= in[0]->rank) return sqz_onnx_malformed(node, "the axis does not exist", err);
    out->is_real = in[0]->is_real;
    out->rank = in[0]->rank;
    memcpy(out->dim, in[0]->dim, sizeof out->dim);
    size_t inner = 1, outer = 1, to = 0;
    for (uint32_t d = 0; d < out->rank; d++) {
        if (d < axis) outer *= out->dim[d];
        if (d > axis) inner *= out->dim[d];
    }
    for (size_t i = 1; i < n_in; i++) {
        bool fits = in[i]->rank == out->rank && in[i]->is_real == out->is_real;
        for (uint32_t d = 0; fits && d < out->rank; d++) fits = d == axis || in[i]->dim[d] == out->dim[d];
        if (!fits) return sqz_onnx_malformed(node, "the constants do not fit together", err);
        out->dim[axis] += in[i]->dim[axis];
    }
    SQZ_TRY(sqz_onnx_tensor_allocate(import, out, err));
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < n_in; i++) {
            size_t run = in[i]->dim[axis] * inner;
            for (size_t k = 0; k < run; k++) copy_element(in[i], (int64_t)(o * run + k), out, to++);
        }
    return SQZ_OK;
}

enum sqz_status sqz_onnx_fold_expand(struct onnx_import *import, const Onnx__Node *node,
                                     const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                     struct sqz_error *err) {
    SQZ_TRY(need(node, in, n_in, 2, err));
    struct onnx_tensor target = {.rank = (uint32_t)in[1]->count};
    if (in[1]->is_real || in[1]->count > ONNX_MAX_RANK)
        return sqz_onnx_malformed(node, "the shape is not a list of integers", err);
    for (uint32_t i = 0; i < target.rank; i++) {
        if (in[1]->whole[i] < 0) return sqz_onnx_malformed(node, "a dimension is negative", err);
        target.dim[i] = (uint64_t)in[1]->whole[i];
    }
    struct onnx_walk walk = {0};
    if (!sqz_onnx_broadcast_shape(in[0], &target, out)) return sqz_onnx_malformed(node, "the shapes do not fit", err);
    walk.rank = out->rank;
    memcpy(walk.dim, out->dim, sizeof walk.dim);
    if (!sqz_onnx_walk_broadcast(&walk, 0, in[0])) return sqz_onnx_malformed(node, "the shapes do not fit", err);
    return copy_walk(import, in[0], &walk, out, err);
}

/* ---- shapes ---------------------------------------------------------------------- */

enum sqz_status sqz_onnx_resolve_reshape(const Onnx__Node *node, const int64_t *target, size_t n_target,
                                         bool allow_zero, const uint64_t *dim, uint32_t rank, uint64_t *out_dim,
                                         struct sqz_error *err) {
    uint64_t total = 1, known = 1;
    int inferred = -1;
    if (n_target > ONNX_MAX_RANK) return sqz_onnx_unsupported(node, "the rank is too large", err);
    for (uint32_t i = 0; i < rank; i++) total *= dim[i];
    for (size_t i = 0; i < n_target; i++) {
        if (target[i] < -1 || (target[i] == -1 && inferred >= 0) || (target[i] == 0 && !allow_zero && i >= rank))
            return sqz_onnx_malformed(node, "the target shape is not valid", err);
        if (target[i] == -1) {
            inferred = (int)i;
            continue;
        }
        out_dim[i] = target[i] == 0 && !allow_zero ? dim[i] : (uint64_t)target[i];
        if (__builtin_mul_overflow(known, out_dim[i], &known))
            return sqz_onnx_malformed(node, "the target shape overflows", err);
    }
    if (inferred >= 0) {
        if (known == 0 || total % known) return sqz_onnx_malformed(node, "the target shape does not fit", err);
        out_dim[inferred] = total / known;
    } else if (known != total) {
        return sqz_onnx_malformed(node, "the number of elements changes", err);
    }
    return SQZ_OK;
}

enum sqz_status sqz_onnx_axes(struct onnx_import *import, const Onnx__Node *node, size_t index, uint32_t rank,
                              uint32_t axes[ONNX_MAX_RANK], size_t *n, struct sqz_error *err) {
    const int64_t *list = sqz_onnx_ints(node, "axes", n);
    if (sqz_onnx_has_input(node, index)) {
        const struct onnx_tensor *input;
        SQZ_TRY(sqz_onnx_constant_input(import, node, index, &input, err));
        if (input->is_real) return sqz_onnx_malformed(node, "the axes are not integers", err);
        *n = input->count;
        list = input->whole;
    }
    if (*n > ONNX_MAX_RANK) return sqz_onnx_malformed(node, "there are too many axes", err);
    unsigned seen = 0;
    for (size_t i = 0; i < *n; i++) {
        int64_t axis = list[i] < 0 ? list[i] + rank : list[i];
        if (axis < 0 || axis >= rank || seen & 1u << axis)
            return sqz_onnx_malformed(node, "an axis does not exist or occurs twice", err);
        seen |= 1u << axis;
        axes[i] = (uint32_t)axis;
    }
    return SQZ_OK;
}

enum sqz_status sqz_onnx_squeeze_shape(struct onnx_import *import, const Onnx__Node *node, const uint64_t *dim,
                                       uint32_t rank, struct onnx_tensor *out, struct sqz_error *err) {
    uint32_t axes[ONNX_MAX_RANK];
    size_t n;
    unsigned remove = 0;
    SQZ_TRY(sqz_onnx_axes(import, node, 1, rank, axes, &n, err));
    for (size_t i = 0; i < n; i++) remove |= 1u << axes[i];
    for (uint32_t i = 0; i < rank; i++) {
        bool gone = n ? remove & 1u << i : dim[i] == 1;
        if (gone && dim[i] != 1) return sqz_onnx_malformed(node, "a squeezed dimension is not 1", err);
        if (!gone) out->dim[out->rank++] = dim[i];
    }
    return SQZ_OK;
}

enum sqz_status sqz_onnx_unsqueeze_shape(struct onnx_import *import, const Onnx__Node *node, const uint64_t *dim,
                                         uint32_t rank, struct onnx_tensor *out, struct sqz_error *err) {
    uint32_t axes[ONNX_MAX_RANK];
    size_t n = 0;
    unsigned insert = 0;
    /* The rank of the result is needed to resolve negative axes: count them first. */
    const struct onnx_tensor *input = NULL;
    if (sqz_onnx_has_input(node, 1))
        SQZ_TRY(sqz_onnx_constant_input(import, node, 1, &input, err));
    else
        sqz_onnx_ints(node, "axes", &n);
    if (input) n = input->count;
    if (n == 0 || n > ONNX_MAX_RANK || rank + n > ONNX_MAX_RANK)
        return sqz_onnx_unsupported(node, "the rank is too large or there are no axes", err);
    out->rank = rank + (uint32_t)n;
    SQZ_TRY(sqz_onnx_axes(import, node, 1, out->rank, axes, &n, err));
    for (size_t i = 0; i < n; i++) insert |= 1u << axes[i];
    for (uint32_t i = 0, from = 0; i < out->rank; i++) out->dim[i] = insert & 1u << i ? 1 : dim[from++];
    return SQZ_OK;
}

enum sqz_status sqz_onnx_fold_reshape(struct onnx_import *import, const Onnx__Node *node,
                                      const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                      struct sqz_error *err) {
    SQZ_TRY(need(node, in, n_in, 1, err));
    size_t n;
    const int64_t *target = sqz_onnx_ints(node, "shape", &n);
    if (n_in > 1 && in[1] && !in[1]->is_real) {
        target = in[1]->whole;
        n = in[1]->count;
    }
    SQZ_TRY(sqz_onnx_resolve_reshape(node, target, n, sqz_onnx_int(node, "allowzero", 0) != 0, in[0]->dim, in[0]->rank,
                                     out->dim, err));
    out->rank = (uint32_t)n;
    return copy_all(import, node, in[0], out, err);
}

enum sqz_status sqz_onnx_fold_squeeze(struct onnx_import *import, const Onnx__Node *node,
                                      const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                      struct sqz_error *err) {
    SQZ_TRY(need(node, in, n_in, 1, err));
    SQZ_TRY(sqz_onnx_squeeze_shape(import, node, in[0]->dim, in[0]->rank, out, err));
    return copy_all(import, node, in[0], out, err);
}

enum sqz_status sqz_onnx_fold_unsqueeze(struct onnx_import *import, const Onnx__Node *node,
                                        const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                        struct sqz_error *err) {
    SQZ_TRY(need(node, in, n_in, 1, err));
    SQZ_TRY(sqz_onnx_unsqueeze_shape(import, node, in[0]->dim, in[0]->rank, out, err));
    return copy_all(import, node, in[0], out, err);
}
