/* model_part.c - a part of a net, from one node's value to another's, as a net of its own. */
#include "eval/model_part.h"

#include <string.h>

void sqz_part_free(struct sqz_model *part) {
    if (!part) return;
    part->n_weights = 0;
    part->weights = NULL;
    sqz_model_free(part);
}

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for a part of a net");
}

/* place[i]: index in the part of node i, or 0 (the Input) for nodes that are not in it. */
static enum sqz_status add_nodes(const struct sqz_model *model, uint32_t start, uint32_t end, const bool *needed,
                                 uint32_t *place, struct sqz_model *part, struct sqz_error *err) {
    for (uint32_t i = start + 1; i <= end; i++) {
        const struct sqz_node *node = &model->nodes[i];
        if (!needed[i]) continue;
        SQZ_TRY(sqz_model_add_node(part, node->op, node->name, NULL, node->n_inputs, &place[i], err));
        struct sqz_node *copy = &part->nodes[place[i]];
        copy->kernel = node->kernel;
        copy->bias = node->bias;
        copy->params = node->params;
        for (uint32_t k = 0; k < node->n_inputs; k++) copy->inputs[k] = place[node->inputs[k]];
    }
    part->output = place[end];
    return SQZ_OK;
}

enum sqz_status sqz_part_new(const struct sqz_model *model, const struct sqz_shape *shapes, uint32_t start,
                             uint32_t end, struct sqz_model **out, struct sqz_error *err) {
    *out = NULL;
    struct sqz_input input = model->input;
    if (start > 0) {
        const struct sqz_shape *shape = &shapes[start];
        input.channels = shape->rank > 1 ? (uint32_t)shape->dim[1] : 1;
        input.height = shape->rank > 2 ? (uint32_t)shape->dim[2] : 1;
        input.width = shape->rank > 3 ? (uint32_t)shape->dim[3] : 1;
    }
    struct sqz_model *part = sqz_model_new(&input);
    bool *needed = sqz_alloc0(model->n_nodes, sizeof *needed);
    uint32_t *place = sqz_alloc0(model->n_nodes, sizeof *place);
    enum sqz_status status = part && needed && place ? SQZ_OK : no_memory(err);
    if (status == SQZ_OK) {
        needed[end] = true;
        for (uint32_t i = end; i > start; i--)
            for (uint32_t k = 0; needed[i] && k < model->nodes[i].n_inputs; k++)
                needed[model->nodes[i].inputs[k]] = true;
        status = add_nodes(model, start, end, needed, place, part, err);
    }
    sqz_free(needed);
    sqz_free(place);
    if (status != SQZ_OK) {
        sqz_model_free(part);
        return status;
    }
    part->weights = model->weights;
    part->n_weights = model->n_weights;
    *out = part;
    return SQZ_OK;
}

void sqz_part_cuts(const struct sqz_model *model, const struct sqz_shape *shapes, bool *live, bool *cut) {
    memset(live, 0, model->n_nodes * sizeof *live);
    memset(cut, 0, model->n_nodes * sizeof *cut);
    live[model->output] = true;
    uint32_t earliest = model->output; /* node that anything behind i reads */
    bool reshaped = false;
    for (uint32_t i = model->output + 1; i-- > 0;) {
        if (!live[i]) continue;
        cut[i] = earliest >= i && !(reshaped && shapes[i].rank != 4);
        reshaped |= model->nodes[i].op == SQZ_OP_RESHAPE;
        for (uint32_t k = 0; k < model->nodes[i].n_inputs; k++) {
            uint32_t from = model->nodes[i].inputs[k];
            live[from] = true;
            if (from < earliest) earliest = from;
        }
    }
}
