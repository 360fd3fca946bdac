/* plan_memory.c - stages of a plan, lifetimes of its buffers, and their places in two arenas. */
#include <stdlib.h>

#include "eval/plan.h"

/* Buffers begin on cache lines: 16 floats. */
#define ALIGNMENT 16

/* ---- stages -------------------------------------------------------------------- */

static bool cut_stages(struct sqz_plan *plan) {
    plan->stages = sqz_arena_alloc(&plan->arena, plan->n_steps ? plan->n_steps : 1, sizeof *plan->stages);
    if (!plan->stages) return false;
    for (size_t i = 0; i < plan->n_steps; i++) {
        struct sqz_stage *last = plan->n_stages ? &plan->stages[plan->n_stages - 1] : NULL;
        bool batch = plan->steps[i].batch;
        if (last && !last->batch && !batch)
            last->end = i + 1;
        else
            plan->stages[plan->n_stages++] = (struct sqz_stage){i, i + 1, batch};
    }
    return true;
}

/* ---- lifetimes ------------------------------------------------------------------- */

/* Where a root buffer is used: its steps, and the first stage it was seen in. */
struct usage {
    bool seen;
    size_t stage;
};

static void use_view(struct sqz_plan *plan, struct usage *usage, struct sqz_view view, size_t step, size_t stage) {
    uint32_t root = sqz_view_root(plan, view).buffer;
    struct sqz_activation *buffer = &plan->buffers[root];
    if (!usage[root].seen) {
        usage[root] = (struct usage){true, stage};
        buffer->first = step;
    }
    if (usage[root].stage != stage && buffer->place == SQZ_PLACE_SLOT) buffer->place = SQZ_PLACE_IMAGES;
    buffer->last = step;
}

static bool find_lifetimes(struct sqz_plan *plan) {
    struct usage *usage = sqz_arena_alloc(&plan->arena, plan->n_buffers, sizeof *usage);
    if (!usage) return false;
    for (size_t s = 0; s < plan->n_stages; s++)
        for (size_t i = plan->stages[s].begin; i < plan->stages[s].end; i++) {
            struct sqz_step *step = &plan->steps[i];
            for (size_t k = 0; k < step->layer.n_inputs; k++) use_view(plan, usage, step->in[k], i, s);
            use_view(plan, usage, step->out, i, s);
            if (step->shared != SQZ_NO_INDEX) use_view(plan, usage, (struct sqz_view){step->shared, 0}, i, s);
        }
    /* What outlives an image lives through whole stages: one image may be behind another in them. */
    for (size_t s = 0; s < plan->n_stages; s++)
        for (size_t i = 0; i < plan->n_buffers; i++) {
            const struct sqz_stage *stage = &plan->stages[s];
            struct sqz_activation *buffer = &plan->buffers[i];
            if (buffer->place == SQZ_PLACE_SLOT) continue;
            if (stage->begin < buffer->first && buffer->first < stage->end) buffer->first = stage->begin;
            if (stage->begin <= buffer->last && buffer->last + 1 < stage->end) buffer->last = stage->end - 1;
        }
    return true;
}

/* ---- offsets ----------------------------------------------------------------------- */

static size_t size_in_arena(const struct sqz_plan *plan, const struct sqz_activation *buffer) {
    size_t images = buffer->place == SQZ_PLACE_SLOT ? 1 : plan->max_batch;
    return sqz_round_up(buffer->count, ALIGNMENT) * images;
}

static int by_size(const void *a, const void *b) {
    const struct sqz_activation *x = *(struct sqz_activation *const *)a, *y = *(struct sqz_activation *const *)b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static int by_offset(const void *a, const void *b) {
    const struct sqz_activation *x = *(struct sqz_activation *const *)a, *y = *(struct sqz_activation *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/*
 * Greedy by size: from the largest to the smallest, each buffer goes to the
 * lowest offset where no buffer of an overlapping lifetime lies.
 */
static size_t pack_arena(const struct sqz_plan *plan, struct sqz_activation **buffers, size_t n,
                         struct sqz_activation **rivals) {
    size_t total = 0;
    qsort(buffers, n, sizeof(struct sqz_activation *), by_size);
    for (size_t i = 0; i < n; i++) {
        struct sqz_activation *buffer = buffers[i];
        size_t n_rivals = 0, size = size_in_arena(plan, buffer);
        for (size_t k = 0; k < i; k++)
            if (buffers[k]->first <= buffer->last && buffer->first <= buffers[k]->last) rivals[n_rivals++] = buffers[k];
        qsort(rivals, n_rivals, sizeof(struct sqz_activation *), by_offset);
        for (size_t k = 0; k < n_rivals; k++) {
            if (buffer->offset + size <= rivals[k]->offset) break;
            size_t end = rivals[k]->offset + size_in_arena(plan, rivals[k]);
            if (end > buffer->offset) buffer->offset = end;
        }
        if (buffer->offset + size > total) total = buffer->offset + size;
    }
    return total;
}

static size_t pack_places(const struct sqz_plan *plan, bool slots, struct sqz_activation **list,
                          struct sqz_activation **rivals) {
    size_t n = 0;
    for (size_t i = 0; i < plan->n_buffers; i++) {
        struct sqz_activation *buffer = &plan->buffers[i];
        if (buffer->parent != SQZ_NO_INDEX || buffer->place == SQZ_PLACE_INPUT || buffer->place == SQZ_PLACE_OUTPUT)
            continue;
        if ((buffer->place == SQZ_PLACE_SLOT) == slots) list[n++] = buffer;
    }
    return pack_arena(plan, list, n, rivals);
}

enum sqz_status sqz_plan_place(struct sqz_plan *plan, struct sqz_error *err) {
    struct sqz_activation **lists = sqz_arena_alloc(&plan->arena, 2 * plan->n_buffers, sizeof *lists);
    if (!lists || !cut_stages(plan) || !find_lifetimes(plan))
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for the plan of %zu steps", plan->n_steps);
    for (size_t i = 0; i < plan->n_buffers; i++) {
        size_t nbytes;
        const struct sqz_activation *buffer = &plan->buffers[i];
        /* A sixteenth of the address space for each keeps every sum of a plan from overflowing. */
        if (!sqz_mul_size(sqz_round_up(buffer->count, ALIGNMENT), plan->max_batch, &nbytes) || nbytes > SIZE_MAX >> 24)
            return sqz_fail(err, SQZ_LIMIT, "the activations of %zu images are too large", plan->max_batch);
    }
    plan->slot_count = pack_places(plan, true, lists, lists + plan->n_buffers);
    plan->batch_count = pack_places(plan, false, lists, lists + plan->n_buffers);
    return SQZ_OK;
}
