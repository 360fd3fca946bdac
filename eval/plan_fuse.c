/* plan_fuse.c - graph passes: what is dead, what is an identity, and what a layer before it can do on the way. */
#include <math.h>

#include "eval/plan.h"

/* A node that hands its input on unchanged, in the same shape. */
static bool is_identity(const struct sqz_plan *plan, const struct sqz_model *model, size_t i) {
    const struct sqz_node *node = &model->nodes[i];
    if (node->op == SQZ_OP_DROPOUT) return true;
    return (node->op == SQZ_OP_FLATTEN || node->op == SQZ_OP_RESHAPE) &&
           sqz_shape_equal(&plan->shapes[i], &plan->shapes[node->inputs[0]]);
}

static uint32_t source_of(const struct sqz_fused *fused, uint32_t i) {
    while (fused[i].source != i) i = fused[i].source;
    return i;
}

static void mark_live(const struct sqz_model *model, struct sqz_fused *fused) {
    fused[model->output].live = true;
    for (size_t i = model->n_nodes; i-- > 0;) {
        const struct sqz_node *node = &model->nodes[i];
        for (uint32_t k = 0; fused[i].live && k < node->n_inputs; k++) fused[node->inputs[k]].live = true;
    }
}

struct use {
    uint32_t count, user; /* the last one found */
};

static void count_uses(const struct sqz_model *model, const struct sqz_fused *fused, struct use *uses) {
    for (uint32_t i = 0; i < model->n_nodes; i++) {
        if (!fused[i].live || fused[i].source != i) continue; /* an identity uses nothing itself */
        for (uint32_t k = 0; k < model->nodes[i].n_inputs; k++) {
            struct use *use = &uses[source_of(fused, model->nodes[i].inputs[k])];
            use->count++;
            use->user = i;
        }
    }
    /* The result is used as it is: nothing behind it may change it. */
    uses[source_of(fused, model->output)].count += 2;
}

/* Let conv or dense node i take over the Scale nodes and the one activation that alone use its value. */
static bool absorb(struct sqz_plan *plan, const struct sqz_model *model, struct sqz_fused *fused,
                   const struct use *uses, uint32_t i) {
    for (uint32_t at = i; uses[at].count == 1; at = uses[at].user) {
        uint32_t user = uses[at].user;
        const struct sqz_node *node = &model->nodes[user];
        if (node->op == SQZ_OP_SCALE) {
            uint32_t *scales = sqz_arena_alloc(&plan->arena, fused[i].n_scales + 1, sizeof *scales);
            if (!scales) return false;
            for (uint32_t k = 0; k < fused[i].n_scales; k++) scales[k] = fused[i].scales[k];
            scales[fused[i].n_scales++] = user;
            fused[i].scales = scales;
            fused[user].source = i;
            continue;
        }
        if (node->op == SQZ_OP_RELU) fused[i].low = 0;
        if (node->op == SQZ_OP_CLIP) {
            fused[i].low = node->params.clip.low;
            fused[i].high = node->params.clip.high;
        }
        if (node->op == SQZ_OP_RELU || node->op == SQZ_OP_CLIP) {
            fused[user].source = i;
            if (uses[user].count != 1) return true;
            user = uses[user].user;
        }
        if (model->nodes[user].op == SQZ_OP_MAX_POOL && model->nodes[i].op == SQZ_OP_CONV) fused[i].pool = user;
        return true;
    }
    return true;
}

struct sqz_fused *sqz_plan_fuse(struct sqz_plan *plan, const struct sqz_model *model) {
    size_t n = model->n_nodes;
    struct sqz_fused *fused = sqz_arena_alloc(&plan->arena, n, sizeof *fused);
    struct use *uses = sqz_arena_alloc(&plan->arena, n, sizeof *uses);
    if (!fused || !uses) return NULL;
    for (uint32_t i = 0; i < n; i++) {
        fused[i].low = -INFINITY;
        fused[i].high = INFINITY;
        fused[i].pool = SQZ_NO_INDEX;
        fused[i].source = is_identity(plan, model, i) ? fused[model->nodes[i].inputs[0]].source : i;
    }
    mark_live(model, fused);
    count_uses(model, fused, uses);
    for (uint32_t i = 0; i < n; i++) {
        bool absorbs = model->nodes[i].op == SQZ_OP_CONV || model->nodes[i].op == SQZ_OP_DENSE;
        if (fused[i].live && absorbs && !absorb(plan, model, fused, uses, i)) return NULL;
    }
    for (uint32_t i = 0; i < n; i++) fused[i].source = source_of(fused, i);
    return fused;
}
