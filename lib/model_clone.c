/* model_clone.c - deep copies of a model. */
#include "lib/model_clone.h"

#include <string.h>

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory to copy a model");
}

/* A copy of n elements; an empty array still gets memory, so that NULL always means failure. */
static void *copy_array(const void *from, size_t n, size_t size) {
    void *copy = sqz_alloc(n ? n : 1, size);
    if (copy && n) memcpy(copy, from, n * size);
    return copy;
}

struct sqz_packed *sqz_packed_clone(const struct sqz_packed *packed) {
    struct sqz_packed *copy = sqz_alloc0(1, sizeof *copy);
    if (!copy) return NULL;
    *copy = *packed;
    copy->levels = copy_array(packed->levels, packed->n_levels, sizeof *packed->levels);
    copy->codebook = copy_array(packed->codebook, packed->n_codebook, sizeof *packed->codebook);
    copy->steps = copy_array(packed->steps, packed->n_steps, sizeof *packed->steps);
    if (copy->levels && copy->codebook && copy->steps) return copy;
    sqz_packed_free(copy);
    return NULL;
}

static enum sqz_status copy_weight(const struct sqz_weight *from, struct sqz_model *to, struct sqz_error *err) {
    float *data = from->data ? copy_array(from->data, from->count, sizeof *data) : NULL;
    struct sqz_packed *packed = from->packed ? sqz_packed_clone(from->packed) : NULL;
    if ((from->data && !data) || (from->packed && !packed)) {
        sqz_free(data);
        sqz_packed_free(packed);
        return no_memory(err);
    }
    uint32_t index;
    if (!packed) return sqz_model_add_weight(to, from->name, from->role, &from->shape, data, &index, err);
    enum sqz_status status = sqz_model_add_packed(to, from->name, from->role, &from->shape, packed, &index, err);
    if (status == SQZ_OK)
        to->weights[index].data = data;
    else
        sqz_free(data);
    return status;
}

static enum sqz_status copy_nodes(const struct sqz_model *model, struct sqz_model *to, struct sqz_error *err) {
    for (size_t i = 0; i < model->n_nodes; i++) {
        const struct sqz_node *node = &model->nodes[i];
        uint32_t index = 0;
        if (i > 0) SQZ_TRY(sqz_model_add_node(to, node->op, node->name, node->inputs, node->n_inputs, &index, err));
        struct sqz_node *copy = &to->nodes[index];
        if (i == 0) {
            copy->name = sqz_arena_strdup(&to->arena, node->name);
            if (!copy->name) return no_memory(err);
        }
        copy->kernel = node->kernel;
        copy->bias = node->bias;
        copy->params = node->params;
    }
    to->output = model->output;
    return SQZ_OK;
}

static enum sqz_status copy_record(const struct sqz_image_record *from, struct sqz_model *to, struct sqz_error *err) {
    to->calibrated_on = *from;
    if (from->n_prefixes == 0) return SQZ_OK;
    uint32_t *prefixes = sqz_arena_alloc(&to->arena, from->n_prefixes, sizeof *prefixes);
    if (!prefixes) return no_memory(err);
    memcpy(prefixes, from->prefixes, from->n_prefixes * sizeof *prefixes);
    to->calibrated_on.prefixes = prefixes;
    return SQZ_OK;
}

static enum sqz_status copy_all(const struct sqz_model *model, struct sqz_model *to, struct sqz_error *err) {
    to->arch = sqz_arena_strdup(&to->arena, model->arch);
    to->source = sqz_arena_strdup(&to->arena, model->source);
    if (!to->arch || !to->source) {
        to->arch = to->source = "";
        return no_memory(err);
    }
    SQZ_TRY(copy_nodes(model, to, err));
    for (size_t i = 0; i < model->n_weights; i++) SQZ_TRY(copy_weight(&model->weights[i], to, err));
    if (model->n_classes_named > 0) SQZ_TRY(sqz_model_set_classes(to, model->class_names, model->n_classes_named, err));
    for (size_t i = 0; i < model->n_history; i++) SQZ_TRY(sqz_model_note(to, err, "%s", model->history[i]));
    return copy_record(&model->calibrated_on, to, err);
}

enum sqz_status sqz_model_clone(const struct sqz_model *model, struct sqz_model **out, struct sqz_error *err) {
    *out = NULL;
    struct sqz_model *copy = sqz_model_new(&model->input);
    if (!copy) return no_memory(err);
    enum sqz_status status = copy_all(model, copy, err);
    if (status != SQZ_OK) {
        sqz_model_free(copy);
        return status;
    }
    *out = copy;
    return SQZ_OK;
}
