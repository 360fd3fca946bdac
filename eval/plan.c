/* plan.c - turns the nodes of a model into steps: a kernel for each, and layouts changed only where they differ. */
#include "eval/plan.h"

#include <math.h>

#include "eval/weight_facts.h"

/* Where a node's value can be found, in each layout that exists so far. */
struct value {
    bool have[SQZ_LAYOUT_ANY];
    struct sqz_view view[SQZ_LAYOUT_ANY];
    bool planned; /* by the step of a node before it */
};

struct builder {
    struct sqz_plan *plan;
    const struct sqz_model *model;
    struct sqz_fused *fused;
    struct value *values;
    struct sqz_error *err;
};

static enum sqz_status no_memory(const struct builder *b) {
    return sqz_fail(b->err, SQZ_OUT_OF_MEMORY, "no memory for the plan of %zu nodes", b->model->n_nodes);
}

/* ---- growing lists ------------------------------------------------------------ */

static bool grow(struct sqz_arena *arena, void **list, size_t n, size_t *capacity, size_t size) {
    if (n < *capacity) return true;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    char *copy = sqz_arena_alloc(arena, wanted, size);
    if (!copy) return false;
    for (size_t i = 0; i < n * size; i++) copy[i] = ((char *)*list)[i];
    *list = copy;
    *capacity = wanted;
    return true;
}

static enum sqz_status add_buffer(struct builder *b, enum sqz_place place, size_t count, uint32_t *out) {
    struct sqz_plan *plan = b->plan;
    void *list = plan->buffers;
    if (!grow(&plan->arena, &list, plan->n_buffers, &plan->buffers_capacity, sizeof *plan->buffers))
        return no_memory(b);
    plan->buffers = list;
    *out = (uint32_t)plan->n_buffers;
    plan->buffers[plan->n_buffers++] = (struct sqz_activation){.place = place, .count = count, .parent = SQZ_NO_INDEX};
    return SQZ_OK;
}

static enum sqz_status add_step(struct builder *b, struct sqz_step **out) {
    struct sqz_plan *plan = b->plan;
    void *list = plan->steps;
    if (!grow(&plan->arena, &list, plan->n_steps, &plan->steps_capacity, sizeof *plan->steps)) return no_memory(b);
    plan->steps = list;
    *out = &plan->steps[plan->n_steps++];
    **out = (struct sqz_step){.shared = SQZ_NO_INDEX};
    return SQZ_OK;
}

/* ---- values ---------------------------------------------------------------------- */

static size_t area_of(const struct sqz_shape *shape) {
    return shape->rank == 4 ? (size_t)(shape->dim[2] * shape->dim[3]) : 1;
}

/* Plain and blocked are the same for one pixel; the caller's input is excepted, since it ends without padding. */
static bool is_flat(const struct builder *b, uint32_t node) {
    const struct sqz_shape *shape = &b->plan->shapes[node];
    return node != 0 && (shape->rank == 2 || shape->rank == 4) && area_of(shape) == 1;
}

static size_t count_in_layout(const struct builder *b, uint32_t node, enum sqz_layout layout) {
    const struct sqz_shape *shape = &b->plan->shapes[node];
    size_t count = 1;
    if (layout == SQZ_LAYOUT_BLOCKED) return sqz_round_up(shape->dim[1], b->plan->lanes) * area_of(shape);
    sqz_shape_count(shape, &count); /* cannot fail: shape inference has bounded it */
    return layout == SQZ_LAYOUT_BATCH ? sqz_round_up(count, b->plan->lanes) : count;
}

static void set_view(struct builder *b, uint32_t node, enum sqz_layout layout, struct sqz_view view) {
    struct value *value = &b->values[node];
    value->have[layout] = true;
    value->view[layout] = view;
    if (layout != SQZ_LAYOUT_BATCH && is_flat(b, node)) {
        value->have[SQZ_LAYOUT_PLAIN] = value->have[SQZ_LAYOUT_BLOCKED] = true;
        value->view[SQZ_LAYOUT_PLAIN] = value->view[SQZ_LAYOUT_BLOCKED] = view;
    }
}

/* A fresh buffer for a node's value. */
static enum sqz_status new_view(struct builder *b, uint32_t node, enum sqz_layout layout, struct sqz_view *out) {
    enum sqz_place place = layout == SQZ_LAYOUT_BATCH ? SQZ_PLACE_BATCH : SQZ_PLACE_SLOT;
    size_t count = count_in_layout(b, node, layout);
    /* A plain value may be read as a blocked one, up to the end of its last block. */
    if (layout == SQZ_LAYOUT_PLAIN) count = sqz_round_up(count, b->plan->lanes);
    out->offset = 0;
    return add_buffer(b, place, count, &out->buffer);
}

/* A step that moves the value of `node` from one view to another. */
static enum sqz_status add_move(struct builder *b, const struct sqz_kernel *kernel, uint32_t node, struct sqz_view from,
                                struct sqz_view to, size_t flat_count) {
    struct sqz_step *step;
    SQZ_TRY(add_step(b, &step));
    struct sqz_layer *layer = &step->layer;
    step->kernel = kernel;
    step->reason = "the next kernel takes another layout";
    step->node = node;
    step->in = sqz_arena_alloc(&b->plan->arena, 1, sizeof *step->in);
    if (!step->in) return no_memory(b);
    step->in[0] = from;
    step->out = to;
    layer->op = SQZ_OP_RESHAPE;
    layer->n_inputs = 1;
    layer->in = &b->plan->shapes[node];
    layer->out = b->plan->shapes[node];
    layer->max_batch = b->plan->max_batch;
    layer->flat_count = flat_count;
    layer->n_phases = 1;
    layer->part[0] = b->plan->lanes;
    sqz_layer_set_sizes(layer);
    bool by_block = kernel == &sqz_kernel_to_blocked || kernel == &sqz_kernel_to_plain;
    layer->items[0] = by_block ? sqz_divide_up(layer->in_c, b->plan->lanes) : 1;
    return SQZ_OK;
}

/* The value of a node in the given layout, moved there when it is not yet. */
static enum sqz_status need(struct builder *b, uint32_t node, enum sqz_layout layout, struct sqz_view *out) {
    struct value *value = &b->values[node];
    if (!value->have[layout]) {
        enum sqz_layout from = layout == SQZ_LAYOUT_PLAIN && value->have[SQZ_LAYOUT_BLOCKED] ? SQZ_LAYOUT_BLOCKED
                               : layout == SQZ_LAYOUT_PLAIN                                  ? SQZ_LAYOUT_BATCH
                                                                                             : SQZ_LAYOUT_PLAIN;
        struct sqz_view origin, view;
        if (from == SQZ_LAYOUT_PLAIN) SQZ_TRY(need(b, node, from, &origin));
        if (value->have[layout]) { /* a flat value came with the other layout */
            *out = value->view[layout];
            return SQZ_OK;
        }
        origin = value->view[from];
        SQZ_TRY(new_view(b, node, layout, &view));
        const struct sqz_kernel *kernel = layout == SQZ_LAYOUT_BATCH     ? &sqz_kernel_to_batch
                                          : layout == SQZ_LAYOUT_BLOCKED ? &sqz_kernel_to_blocked
                                          : from == SQZ_LAYOUT_BLOCKED   ? &sqz_kernel_to_plain
                                                                         : &sqz_kernel_from_batch;
        SQZ_TRY(add_move(b, kernel, node, origin, view, 0));
        set_view(b, node, layout, view);
    }
    *out = value->view[layout];
    return SQZ_OK;
}

/* ---- nodes ------------------------------------------------------------------------- */

static uint32_t input_of(const struct builder *b, uint32_t node, uint32_t k) {
    return b->fused[b->model->nodes[node].inputs[k]].source;
}

/* Flatten and Reshape only rename a plain value. */
static enum sqz_status plan_rename(struct builder *b, uint32_t node) {
    struct sqz_view view;
    SQZ_TRY(need(b, input_of(b, node, 0), SQZ_LAYOUT_PLAIN, &view));
    bool of_input = b->plan->buffers[sqz_view_root(b->plan, view).buffer].place == SQZ_PLACE_INPUT;
    if (of_input && is_flat(b, node)) { /* must not be read as a blocked value */
        struct sqz_view copy;
        SQZ_TRY(new_view(b, node, SQZ_LAYOUT_PLAIN, &copy));
        SQZ_TRY(add_move(b, &sqz_kernel_copy, node, view, copy, count_in_layout(b, node, SQZ_LAYOUT_PLAIN)));
        view = copy;
    }
    set_view(b, node, SQZ_LAYOUT_PLAIN, view);
    return SQZ_OK;
}

/* Can the inputs of a Concat be written side by side as whole blocks? */
static bool concat_by_blocks(const struct builder *b, uint32_t node) {
    const struct sqz_node *concat = &b->model->nodes[node];
    bool blocked = false;
    if (concat->params.concat.axis != 1 || b->plan->shapes[node].rank != 4 || b->plan->lanes == 1) return false;
    for (uint32_t k = 0; k < concat->n_inputs; k++) {
        uint32_t input = input_of(b, node, k);
        if (k + 1 < concat->n_inputs && b->plan->shapes[input].dim[1] % b->plan->lanes) return false;
        blocked |= b->values[input].have[SQZ_LAYOUT_BLOCKED];
    }
    return blocked;
}

/* Each input becomes a slice of the result, or is copied there when its own buffer cannot. */
static enum sqz_status plan_blocked_concat(struct builder *b, uint32_t node) {
    const struct sqz_node *concat = &b->model->nodes[node];
    struct sqz_view whole;
    SQZ_TRY(new_view(b, node, SQZ_LAYOUT_BLOCKED, &whole));
    size_t offset = 0;
    for (uint32_t k = 0; k < concat->n_inputs; k++) {
        uint32_t input = input_of(b, node, k);
        size_t count = count_in_layout(b, input, SQZ_LAYOUT_BLOCKED);
        struct sqz_view view;
        SQZ_TRY(need(b, input, SQZ_LAYOUT_BLOCKED, &view));
        struct sqz_activation *buffer = &b->plan->buffers[view.buffer];
        if (buffer->place == SQZ_PLACE_SLOT && buffer->parent == SQZ_NO_INDEX && view.offset == 0 &&
            buffer->count == count) {
            buffer->parent = whole.buffer;
            buffer->parent_offset = offset;
        } else {
            SQZ_TRY(add_move(b, &sqz_kernel_copy, node, view, (struct sqz_view){whole.buffer, offset}, count));
        }
        offset += count;
    }
    set_view(b, node, SQZ_LAYOUT_BLOCKED, whole);
    return SQZ_OK;
}

/* The layout that a kernel's own choice means here. */
static enum sqz_layout actual_layout(const struct builder *b, uint32_t node, enum sqz_layout layout) {
    if (layout == SQZ_LAYOUT_BATCH && b->plan->max_batch == 1) return SQZ_LAYOUT_PLAIN;
    if (layout != SQZ_LAYOUT_ANY) return layout;
    return b->values[input_of(b, node, 0)].have[SQZ_LAYOUT_BLOCKED] ? SQZ_LAYOUT_BLOCKED : SQZ_LAYOUT_PLAIN;
}

/* Weights that a Scale node is folded into are no longer the few values they were. */
static struct sqz_weight_facts facts_of(const struct builder *b, uint32_t index) {
    const struct sqz_node *node = &b->model->nodes[index];
    if (node->op != SQZ_OP_CONV && node->op != SQZ_OP_DENSE) return (struct sqz_weight_facts){.density = 1};
    struct sqz_weight_facts facts = sqz_weight_facts_of(&b->model->weights[node->kernel]);
    if (b->fused[index].n_scales > 0) facts.n_values = 0;
    return facts;
}

static enum sqz_status choose_kernel(struct builder *b, uint32_t index, struct sqz_layer *layer,
                                     const struct sqz_kernel **kernel, const char **reason) {
    const struct sqz_node *node = &b->model->nodes[index];
    const struct sqz_fused *fused = &b->fused[index];
    struct sqz_shape *in = sqz_arena_alloc(&b->plan->arena, node->n_inputs, sizeof *in);
    if (!in) return no_memory(b);
    for (uint32_t k = 0; k < node->n_inputs; k++) in[k] = b->plan->shapes[node->inputs[k]];
    *layer = (struct sqz_layer){
        .op = node->op,
        .params = node->params,
        .n_inputs = node->n_inputs,
        .in = in,
        .out = b->plan->shapes[index],
        .has_bias = node->bias != SQZ_NO_WEIGHT || fused->n_scales > 0,
        .low = fused->low,
        .high = fused->high,
        .max_batch = b->plan->max_batch,
        .weights = facts_of(b, index),
    };
    sqz_layer_set_sizes(layer);
    if (fused->pool != SQZ_NO_INDEX) {
        struct sqz_layer pooled = *layer;
        const struct sqz_shape *out = &b->plan->shapes[fused->pool];
        pooled.pooled = true;
        pooled.pool = b->model->nodes[fused->pool].params.pool.window;
        pooled.out = *out;
        pooled.out_h = out->dim[2];
        pooled.out_w = out->dim[3];
        *kernel = sqz_kernel_choose(&pooled, &b->plan->wish, reason);
        if (*kernel) {
            *layer = pooled;
            return SQZ_OK;
        }
    }
    *kernel = sqz_kernel_choose(layer, &b->plan->wish, reason);
    if (!*kernel)
        return sqz_fail(b->err, SQZ_UNSUPPORTED, "no kernel computes %s node %s", sqz_op_name(node->op), node->name);
    return SQZ_OK;
}

static enum sqz_status plan_kernel(struct builder *b, uint32_t index) {
    const struct sqz_node *node = &b->model->nodes[index];
    const struct sqz_kernel *kernel;
    struct sqz_layer layer;
    const char *reason = NULL;
    SQZ_TRY(choose_kernel(b, index, &layer, &kernel, &reason));
    uint32_t result = layer.pooled ? b->fused[index].pool : index; /* the node whose value comes out */
    b->values[result].planned = true;
    enum sqz_layout in_layout = actual_layout(b, index, kernel->in), out_layout = actual_layout(b, index, kernel->out);
    struct sqz_view *in = sqz_arena_alloc(&b->plan->arena, node->n_inputs, sizeof *in), out;
    if (!in) return no_memory(b);
    for (uint32_t k = 0; k < node->n_inputs; k++) SQZ_TRY(need(b, input_of(b, index, k), in_layout, &in[k]));
    SQZ_TRY(new_view(b, result, out_layout, &out));
    uint32_t shared = SQZ_NO_INDEX;
    if (layer.shared_count > 0) SQZ_TRY(add_buffer(b, SQZ_PLACE_SLOT, layer.shared_count, &shared));
    layer.flat_count = count_in_layout(b, result, out_layout);
    struct sqz_step *step;
    SQZ_TRY(add_step(b, &step));
    step->kernel = kernel;
    step->reason = reason;
    step->layer = layer;
    step->node = index;
    step->n_scales = b->fused[index].n_scales;
    step->scales = b->fused[index].scales;
    step->in = in;
    step->out = out;
    step->shared = shared;
    step->batch = in_layout == SQZ_LAYOUT_BATCH;
    set_view(b, result, out_layout, out);
    return SQZ_OK;
}

static enum sqz_status plan_node(struct builder *b, uint32_t node) {
    switch (b->model->nodes[node].op) {
    case SQZ_OP_FLATTEN:
    case SQZ_OP_RESHAPE:
        return plan_rename(b, node);
    case SQZ_OP_CONCAT:
        if (concat_by_blocks(b, node)) return plan_blocked_concat(b, node);
        return plan_kernel(b, node);
    default:
        return plan_kernel(b, node);
    }
}

/* The result, plain, in the caller's memory. */
static enum sqz_status plan_output(struct builder *b) {
    uint32_t node = b->fused[b->model->output].source;
    struct sqz_view out = {0, 0}, view;
    size_t count = count_in_layout(b, node, SQZ_LAYOUT_PLAIN);
    SQZ_TRY(add_buffer(b, SQZ_PLACE_OUTPUT, count, &out.buffer));
    const struct value *value = &b->values[node];
    if (!value->have[SQZ_LAYOUT_PLAIN] && value->have[SQZ_LAYOUT_BLOCKED])
        return add_move(b, &sqz_kernel_to_plain, node, value->view[SQZ_LAYOUT_BLOCKED], out, 0);
    if (!value->have[SQZ_LAYOUT_PLAIN])
        return add_move(b, &sqz_kernel_from_batch, node, value->view[SQZ_LAYOUT_BATCH], out, 0);
    SQZ_TRY(need(b, node, SQZ_LAYOUT_PLAIN, &view));
    return add_move(b, &sqz_kernel_copy, node, view, out, count);
}

static enum sqz_status plan_steps(struct builder *b) {
    struct sqz_view input = {0, 0};
    SQZ_TRY(add_buffer(b, SQZ_PLACE_INPUT, count_in_layout(b, 0, SQZ_LAYOUT_PLAIN), &input.buffer));
    set_view(b, 0, SQZ_LAYOUT_PLAIN, input);
    for (uint32_t i = 1; i < b->model->n_nodes; i++)
        if (b->fused[i].live && b->fused[i].source == i && !b->values[i].planned) SQZ_TRY(plan_node(b, i));
    return plan_output(b);
}

enum sqz_status sqz_plan_make(struct sqz_plan *plan, const struct sqz_model *model, const struct sqz_shape *shapes,
                              size_t max_batch, const struct sqz_wish *wish, struct sqz_error *err) {
    *plan = (struct sqz_plan){.max_batch = max_batch, .wish = *wish};
    plan->lanes = sqz_isa_lanes(wish->isa);
    struct builder b = {.plan = plan, .model = model, .err = err};
    plan->shapes = sqz_arena_alloc(&plan->arena, model->n_nodes, sizeof *plan->shapes);
    b.values = sqz_arena_alloc(&plan->arena, model->n_nodes, sizeof *b.values);
    if (!plan->shapes || !b.values) return no_memory(&b);
    for (size_t i = 0; i < model->n_nodes; i++) plan->shapes[i] = shapes[i];
    b.fused = sqz_plan_fuse(plan, model);
    if (!b.fused) return no_memory(&b);
    SQZ_TRY(plan_steps(&b));
    for (size_t i = 0; i < plan->n_steps; i++) {
        const struct sqz_layer *layer = &plan->steps[i].layer;
        if (layer->local_count > plan->local_count) plan->local_count = layer->local_count;
        if (layer->n_inputs > plan->max_inputs) plan->max_inputs = layer->n_inputs;
    }
    return sqz_plan_place(plan, err);
}

void sqz_plan_free(struct sqz_plan *plan) {
    sqz_arena_free(&plan->arena);
}
