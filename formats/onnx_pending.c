/*
 * onnx_pending.c - operators that exporters write out as several nodes.
 *
 * PyTorch writes local response normalisation as
 *   x / (mean(x * x seen as [n][1][c][h][w], padded and averaged along c) * alpha + k) ^ beta
 * and HardSwish, before operator set 14, as x * HardSigmoid(x). The values in
 * between are not turned into nodes: each one remembers how far the pattern
 * has been followed, and the last step adds the whole operator.
 */
#include <math.h>
#include <string.h>

#include "formats/onnx_parts.h"

static struct onnx_value *output_value(const struct onnx_import *import, const Onnx__Node *node) {
    return sqz_onnx_has_output(node, 0) ? sqz_onnx_find(import, node->output[0]) : NULL;
}

static bool is(const Onnx__Node *node, const char *op_type) {
    return strcmp(onnx_text(node->op_type), op_type) == 0;
}

enum sqz_status sqz_onnx_begin_square(struct onnx_import *import, const Onnx__Node *node,
                                      const struct onnx_value *value, struct sqz_error *err) {
    const struct sqz_shape *shape = &import->shapes[value->node];
    uint32_t inputs[2] = {value->node, value->node};
    if (shape->rank != 4) return sqz_onnx_simple(import, node, SQZ_OP_MUL, inputs, 2, err);
    SQZ_TRY(sqz_onnx_set_output(import, node, value->node, err));
    struct onnx_value *out = output_value(import, node);
    out->kind = ONNX_LRN;
    out->pending = (struct onnx_pending){.stage = ONNX_LRN_SQUARE, .rank = shape->rank};
    memcpy(out->pending.dim, shape->dim, sizeof shape->dim);
    return SQZ_OK;
}

enum sqz_status sqz_onnx_begin_hard_sigmoid(struct onnx_import *import, const Onnx__Node *node,
                                            const struct onnx_value *value, struct sqz_error *err) {
    SQZ_TRY(sqz_onnx_set_output(import, node, value->node, err));
    struct onnx_value *out = output_value(import, node);
    out->kind = ONNX_HARD_SIGMOID;
    out->pending.alpha = sqz_onnx_float(node, "alpha", 0.2f);
    out->pending.beta = sqz_onnx_float(node, "beta", 0.5f);
    return SQZ_OK;
}

enum sqz_status sqz_onnx_complete(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *value,
                                  struct sqz_error *err) {
    Onnx__Node made = ONNX__NODE__INIT; /* the value's own node, for the name */
    uint32_t inputs[2] = {value->node, value->node}, index;
    made.name = (char *)value->name;
    made.op_type = (char *)"Mul";
    if (value->kind == ONNX_HARD_SIGMOID) {
        SQZ_TRY(sqz_onnx_scale_all(import, &made, value->node, (float)value->pending.alpha, (float)value->pending.beta,
                                   &index, err));
        SQZ_TRY(sqz_onnx_add_node(import, &made, SQZ_OP_CLIP, NULL, &index, 1, &index, err));
        import->model->nodes[index].params.clip.low = 0;
        import->model->nodes[index].params.clip.high = 1;
    } else if (value->pending.stage == ONNX_LRN_SQUARE) {
        SQZ_TRY(sqz_onnx_add_node(import, &made, SQZ_OP_MUL, NULL, inputs, 2, &index, err));
    } else {
        return sqz_onnx_unsupported(node, "its input is part of a normalisation that is not recognised", err);
    }
    SQZ_TRY(sqz_onnx_infer(import, index, err));
    value->kind = ONNX_NODE;
    value->node = index;
    value->exclusive = value->n_uses == 1;
    return SQZ_OK;
}

/* ---- steps of the normalisation ------------------------------------------------- */

/* The value's shape without its dimension of one: [n][c][h][w] with h and w perhaps joined differently. */
static bool is_volume(const struct onnx_import *import, const struct onnx_value *value, uint64_t channels) {
    const struct sqz_shape *base = &import->shapes[value->node];
    const struct onnx_pending *p = &value->pending;
    return p->rank == 5 && p->dim[0] == base->dim[0] && p->dim[1] == 1 && p->dim[2] == channels;
}

static bool is_base_shape(const struct onnx_import *import, const struct onnx_value *value) {
    const struct sqz_shape *base = &import->shapes[value->node];
    const struct onnx_pending *p = &value->pending;
    return p->rank == base->rank && memcmp(p->dim, base->dim, base->rank * sizeof *p->dim) == 0;
}

static enum sqz_status unrecognised(const Onnx__Node *node, struct sqz_error *err) {
    return sqz_onnx_unsupported(node, "it is part of a normalisation that is not recognised", err);
}

/* Squeeze, Unsqueeze and Reshape, in whatever combination brings [n][c][h][w] to [n][1][c][h][w] and back. */
static enum sqz_status step_shape(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *out,
                                  struct sqz_error *err) {
    struct onnx_pending *p = &out->pending;
    struct onnx_tensor to = {0};
    if (is(node, "Squeeze")) {
        SQZ_TRY(sqz_onnx_squeeze_shape(import, node, p->dim, p->rank, &to, err));
    } else if (is(node, "Unsqueeze")) {
        SQZ_TRY(sqz_onnx_unsqueeze_shape(import, node, p->dim, p->rank, &to, err));
    } else {
        const struct onnx_tensor *target;
        SQZ_TRY(sqz_onnx_constant_input(import, node, 1, &target, err));
        if (!target || target->is_real) return unrecognised(node, err);
        SQZ_TRY(sqz_onnx_resolve_reshape(node, target->whole, target->count, sqz_onnx_int(node, "allowzero", 0) != 0,
                                         p->dim, p->rank, to.dim, err));
        to.rank = (uint32_t)target->count;
    }
    p->rank = to.rank;
    memcpy(p->dim, to.dim, sizeof p->dim);
    uint64_t channels = import->shapes[out->node].dim[1];
    if (p->stage <= ONNX_LRN_VOLUME) {
        if (p->pad_below || p->pad_above || !is_volume(import, out, channels)) return unrecognised(node, err);
        p->stage = ONNX_LRN_VOLUME;
        return SQZ_OK;
    }
    if (!is_volume(import, out, channels) && !is_base_shape(import, out)) return unrecognised(node, err);
    return SQZ_OK;
}

static enum sqz_status step_pad(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *out,
                                struct sqz_error *err) {
    struct onnx_pending *p = &out->pending;
    int64_t begin[ONNX_MAX_RANK], end[ONNX_MAX_RANK];
    double fill;
    SQZ_TRY(sqz_onnx_read_pads(import, node, p->rank, begin, end, &fill, err));
    if (!sqz_onnx_string_is(node, "mode", "constant", true) || fill != 0) return unrecognised(node, err);
    for (uint32_t i = 0; i < p->rank; i++)
        if (begin[i] < 0 || end[i] < 0 || (i != 2 && (begin[i] || end[i]))) return unrecognised(node, err);
    p->pad_below += (uint64_t)begin[2];
    p->pad_above += (uint64_t)end[2];
    p->dim[2] += (uint64_t)(begin[2] + end[2]);
    return SQZ_OK;
}

/* Whether a list attribute is absent or holds only `value` from entry `first` on. */
static bool all_are(const Onnx__Node *node, const char *name, size_t first, int64_t value) {
    size_t n;
    const int64_t *list = sqz_onnx_ints(node, name, &n);
    for (size_t i = first; i < n; i++)
        if (list[i] != value) return false;
    return true;
}

static enum sqz_status step_average(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *out,
                                    struct sqz_error *err) {
    struct onnx_pending *p = &out->pending;
    size_t n;
    const int64_t *kernel = sqz_onnx_ints(node, "kernel_shape", &n);
    if (n != 3 || kernel[0] < 1 || kernel[0] > UINT16_MAX || !all_are(node, "kernel_shape", 1, 1) ||
        !all_are(node, "strides", 0, 1) || !all_are(node, "dilations", 0, 1) || !all_are(node, "pads", 0, 0) ||
        !sqz_onnx_string_is(node, "auto_pad", "NOTSET", true))
        return unrecognised(node, err);
    uint64_t size = (uint64_t)kernel[0], channels = import->shapes[out->node].dim[1];
    if (p->dim[2] < size || p->dim[2] - size + 1 != channels) return unrecognised(node, err);
    if (p->pad_below != (size - 1) / 2 || p->pad_above != size / 2)
        return sqz_onnx_unsupported(node, "the normalisation's window has more channels below than above", err);
    p->size = (uint32_t)size;
    p->dim[2] = channels;
    p->stage = ONNX_LRN_MEAN;
    return SQZ_OK;
}

static enum sqz_status step_constant(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *out,
                                     struct sqz_error *err) {
    struct onnx_pending *p = &out->pending;
    struct onnx_value *first;
    double value;
    SQZ_TRY(sqz_onnx_input(import, node, 0, &first, err));
    bool constant_first = first->kind == ONNX_CONSTANT;
    SQZ_TRY(sqz_onnx_scalar_input(import, node, constant_first ? 0 : 1, 0, &value, err));
    if (is(node, "Mul") && p->stage == ONNX_LRN_MEAN) {
        p->alpha = value;
        p->stage = ONNX_LRN_ALPHA;
    } else if (is(node, "Add") && p->stage == ONNX_LRN_ALPHA) {
        p->k = value;
        p->stage = ONNX_LRN_K;
    } else if (is(node, "Pow") && p->stage == ONNX_LRN_K && !constant_first) {
        p->beta = value;
        p->stage = ONNX_LRN_BETA;
    } else {
        return unrecognised(node, err);
    }
    return SQZ_OK;
}

static enum sqz_status finish_lrn(struct onnx_import *import, const Onnx__Node *node, const struct onnx_value *x,
                                  const struct onnx_value *divisor, struct sqz_error *err) {
    const struct onnx_pending *p = &divisor->pending;
    uint32_t index;
    if (x->kind != ONNX_NODE || x->is_view || x->node != divisor->node || !is_base_shape(import, divisor) ||
        p->stage != ONNX_LRN_BETA)
        return unrecognised(node, err);
    SQZ_TRY(sqz_onnx_add_node(import, node, SQZ_OP_LRN, NULL, &x->node, 1, &index, err));
    union sqz_params *params = &import->model->nodes[index].params;
    params->lrn.size = p->size;
    params->lrn.alpha = (float)p->alpha;
    params->lrn.beta = (float)p->beta;
    params->lrn.k = (float)p->k;
    SQZ_TRY(sqz_onnx_infer(import, index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

/* ---- dispatch ------------------------------------------------------------------------ */

static enum sqz_status continue_lrn(struct onnx_import *import, const Onnx__Node *node, const struct onnx_value *in,
                                    struct sqz_error *err) {
    struct onnx_value *out = output_value(import, node);
    if (!out) return sqz_onnx_malformed(node, "it has no output", err);
    const char *name = out->name;
    uint32_t n_uses = out->n_uses, producer = out->producer;
    *out = *in;
    out->name = name;
    out->n_uses = n_uses;
    out->producer = producer;
    enum onnx_lrn_stage stage = in->pending.stage;
    if (is(node, "Identity") || is(node, "Cast")) return SQZ_OK;
    if (is(node, "Reshape") || is(node, "Squeeze") || is(node, "Unsqueeze")) return step_shape(import, node, out, err);
    if (is(node, "Pad") && stage == ONNX_LRN_VOLUME) return step_pad(import, node, out, err);
    if (is(node, "AveragePool") && stage == ONNX_LRN_VOLUME) return step_average(import, node, out, err);
    if (is(node, "Mul") || is(node, "Add") || is(node, "Pow")) return step_constant(import, node, out, err);
    return unrecognised(node, err);
}

/* HardSwish is x * HardSigmoid(x) with the slope 1/6. */
static bool is_hard_swish(const struct onnx_value *x, const struct onnx_value *gate) {
    return x->kind == ONNX_NODE && !x->is_view && gate->kind == ONNX_HARD_SIGMOID && x->node == gate->node &&
           (float)gate->pending.alpha == 1.0f / 6 && gate->pending.beta == 0.5;
}

/* A square is also used as such: only shape changes into five dimensions start the pattern. */
static bool goes_on(const struct onnx_import *import, const Onnx__Node *node, const struct onnx_value *in) {
    if (in->pending.stage != ONNX_LRN_SQUARE) return true;
    if (is(node, "Unsqueeze")) return true;
    const struct onnx_value *shape = sqz_onnx_has_input(node, 1) ? sqz_onnx_find(import, node->input[1]) : NULL;
    while (shape && shape->same) shape = shape->same;
    return is(node, "Reshape") && shape && shape->kind == ONNX_CONSTANT &&
           (shape->proto ? shape->proto->n_dims == 1 && shape->proto->dims[0] == 5 : shape->tensor.count == 5);
}

enum sqz_status sqz_onnx_continue(struct onnx_import *import, const Onnx__Node *node, bool *done,
                                  struct sqz_error *err) {
    struct onnx_value *in[2] = {NULL, NULL};
    *done = false;
    if (is(node, "Shape")) return SQZ_OK;
    for (size_t i = 0; i < 2; i++)
        if (sqz_onnx_has_input(node, i)) SQZ_TRY(sqz_onnx_input(import, node, i, &in[i], err));
    if (is(node, "Mul") && in[0] && in[1] && (is_hard_swish(in[0], in[1]) || is_hard_swish(in[1], in[0]))) {
        *done = true;
        return sqz_onnx_simple(import, node, SQZ_OP_HARD_SWISH, &in[0]->node, 1, err);
    }
    if (is(node, "Div") && in[0] && in[1] && in[1]->kind == ONNX_LRN && in[1]->pending.stage == ONNX_LRN_BETA) {
        *done = true;
        return finish_lrn(import, node, in[0], in[1], err);
    }
    for (size_t i = 0; i < 2; i++)
        if (in[i] && in[i]->kind == ONNX_LRN && goes_on(import, node, in[i])) {
            *done = true;
            return continue_lrn(import, node, in[i], err);
        }
    return SQZ_OK;
}
