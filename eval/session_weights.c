/* session_weights.c - a session's own copy of the weights, in the order and form of each step's kernel. */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "eval/session_parts.h"
#include "eval/weight_facts.h"
#include "lib/parallel.h"

/* A weight's values: the model's own, or restored or copied into *owned when it is packed or `writable` is set. */
static const float *weight_values(const struct sqz_model *model, uint32_t index, bool writable, float **owned) {
    const struct sqz_weight *weight = &model->weights[index];
    if (weight->data && !writable) return weight->data;
    float *values = *owned = sqz_alloc(weight->count, sizeof *values);
    if (!values) return NULL;
    if (weight->data)
        memcpy(values, weight->data, weight->count * sizeof *values);
    else
        sqz_packed_unpack(weight->packed, weight->shape.rank ? (size_t)weight->shape.dim[0] : 1, values);
    return values;
}

/* Multiply a Scale node into kernel and bias. */
static bool fold_scale(const struct sqz_model *model, const struct sqz_node *node, size_t channels, size_t count,
                       float *kernel, float *bias) {
    float *owned_scale = NULL, *owned_shift = NULL;
    const float *scale = weight_values(model, node->kernel, false, &owned_scale), *shift = NULL;
    if (node->bias != SQZ_NO_WEIGHT) shift = weight_values(model, node->bias, false, &owned_shift);
    bool done = scale && (shift || node->bias == SQZ_NO_WEIGHT);
    for (size_t c = 0; done && c < channels; c++) {
        for (size_t i = 0; i < count / channels; i++) kernel[c * (count / channels) + i] *= scale[c];
        bias[c] = bias[c] * scale[c] + (shift ? shift[c] : 0);
    }
    sqz_free(owned_scale);
    sqz_free(owned_shift);
    return done;
}

struct packing {
    const struct sqz_step *step;
    struct sqz_weight_values weights;
    float values[SQZ_MOST_VALUES];
};

static void pack_item(void *context, size_t item, int thread) {
    (void)thread;
    const struct packing *packing = context;
    const struct sqz_step *step = packing->step;
    step->kernel->pack(&step->layer, &packing->weights, step->weights, item);
}

/* Values for the kernel's form, and the bias, both with the Scale nodes folded in; owned[] are for the caller to free.
 */
static bool find_values(const struct sqz_model *model, struct packing *packing, float *owned[2]) {
    const struct sqz_step *step = packing->step;
    const struct sqz_node *node = &model->nodes[step->node];
    const struct sqz_weight *kernel = &model->weights[node->kernel];
    bool folds = step->n_scales > 0;
    struct sqz_weight_values *weights = &packing->weights;
    if (step->kernel->form == SQZ_FORM_CODEBOOK) {
        sqz_weight_table(kernel->packed, &step->layer.weights, packing->values);
        weights->values = packing->values;
        weights->levels = kernel->packed->levels;
        weights->steps = step->layer.weights.has_steps ? kernel->packed->steps : NULL;
    } else {
        weights->kernel = weight_values(model, node->kernel, folds, &owned[0]);
        if (!weights->kernel) return false;
    }
    if (node->bias != SQZ_NO_WEIGHT) {
        weights->bias = weight_values(model, node->bias, folds, &owned[1]);
        if (!weights->bias) return false;
    } else if (folds) {
        weights->bias = owned[1] = sqz_alloc0(step->layer.out_c, sizeof **owned);
        if (!weights->bias) return false;
    }
    for (uint32_t i = 0; i < step->n_scales; i++)
        if (!fold_scale(model, &model->nodes[step->scales[i]], step->layer.out_c, kernel->count, owned[0], owned[1]))
            return false;
    return true;
}

/* ---- all steps ---------------------------------------------------------------------- */

/*
 * Steps of more weights are packed one at a time by all threads, the others one by each thread: for these, a parallel
 * loop each would cost more than it shares out.
 */
#define LARGE_STEP ((size_t)1 << 20)

struct packing_list {
    const struct sqz_model *model;
    struct sqz_step **steps; /* the largest first */
    size_t n_large, n;
    bool *failed; /* [n] */
};

static size_t kernel_count(const struct sqz_model *model, const struct sqz_step *step) {
    return model->weights[model->nodes[step->node].kernel].count;
}

/* From within a parallel loop, the loops in here run on their thread alone. */
static void pack_step(void *context, size_t index, int thread) {
    (void)thread;
    struct packing_list *list = context;
    struct packing packing = {.step = list->steps[index]};
    float *owned[2] = {NULL, NULL};
    list->failed[index] = !find_values(list->model, &packing, owned);
    if (!list->failed[index]) sqz_parallel_for(packing.step->layer.pack_items, pack_item, &packing);
    sqz_free(owned[0]);
    sqz_free(owned[1]);
}

static void pack_small_step(void *context, size_t index, int thread) {
    struct packing_list *list = context;
    pack_step(list, list->n_large + index, thread);
}

/* Insertion: a net has tens of layers, thousands at the most. Equal ones stay in order. */
static void insert_step(struct packing_list *list, struct sqz_step *step) {
    size_t count = kernel_count(list->model, step), at = list->n++;
    for (; at > 0 && kernel_count(list->model, list->steps[at - 1]) < count; at--)
        list->steps[at] = list->steps[at - 1];
    list->steps[at] = step;
    list->n_large += count > LARGE_STEP;
}

/* Pages of 2 MiB: streaming the weights took a tenth less time than with pages of 4 KiB, and filling them a half. */
static float *alloc_weights(size_t count) {
    float *weights = sqz_alloc_aligned(count, sizeof *weights);
#ifdef MADV_HUGEPAGE
    const uintptr_t page = (uintptr_t)2 << 20;
    uintptr_t begin = ((uintptr_t)weights + page - 1) & ~(page - 1), end = (uintptr_t)(weights + count) & ~(page - 1);
    /* Only advice: where it cannot be followed nothing changes. */
    if (weights && begin < end) (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#endif
    return weights;
}

/* One piece of memory for all of them. */
static enum sqz_status place_weights(struct sqz_session *session, struct packing_list *list, struct sqz_error *err) {
    size_t total = 0, count = 0;
    for (size_t i = 0; i < list->n; i++) {
        count = list->steps[i]->layer.weight_count;
        if (count > SIZE_MAX - 16 || !sqz_add_size(total, sqz_round_up(count, 16), &total))
            return sqz_fail(err, SQZ_LIMIT, "the weights are too large");
        session->weights_nbytes += count * sizeof(float);
    }
    session->weights = alloc_weights(total);
    if (!session->weights) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for weights of %zu bytes", total);
    float *next = session->weights;
    for (size_t i = 0; i < list->n; i++) {
        list->steps[i]->weights = next;
        next += sqz_round_up(list->steps[i]->layer.weight_count, 16);
    }
    return SQZ_OK;
}

static enum sqz_status pack_list(struct sqz_session *session, struct packing_list *list, struct sqz_error *err) {
    for (size_t i = 0; i < session->plan.n_steps; i++)
        if (sqz_op_is_packed(session->plan.steps[i].layer.op)) insert_step(list, &session->plan.steps[i]);
    SQZ_TRY(place_weights(session, list, err));
    for (size_t i = 0; i < list->n_large; i++) pack_step(list, i, 0);
    sqz_parallel_for(list->n - list->n_large, pack_small_step, list);
    for (size_t i = 0; i < list->n; i++)
        if (list->failed[i])
            return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for the weights of layer %s",
                            list->model->nodes[list->steps[i]->node].name);
    return SQZ_OK;
}

enum sqz_status sqz_session_pack(struct sqz_session *session, const struct sqz_model *model, struct sqz_error *err) {
    size_t n = session->plan.n_steps;
    struct packing_list list = {.model = model};
    list.steps = sqz_alloc(n, sizeof(struct sqz_step *));
    list.failed = sqz_alloc0(n, sizeof *list.failed);
    enum sqz_status status = list.steps && list.failed ? pack_list(session, &list, err)
                                                       : sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for a session");
    sqz_free(list.steps);
    sqz_free(list.failed);
    return status;
}
