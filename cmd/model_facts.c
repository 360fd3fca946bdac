/* model_facts.c - the figures of a model that several commands print. */
#include "cmd/model_facts.h"

#include <stdio.h>
#include <string.h>

#include "lib/infer.h"

size_t cmd_weight_nonzero(const struct sqz_weight *weight) {
    if (weight->packed) return sqz_packed_nonzero(weight->packed);
    size_t n = 0;
    for (size_t i = 0; i < weight->count; i++) n += weight->data[i] != 0;
    return n;
}

/* Other formats than ours tell no history; training leaves few zeros (0.12% in torchvision's SqueezeNet, from fp16). */
static bool was_pruned(const struct sqz_model *model, double density) {
    for (size_t i = 0; i < model->n_history; i++)
        if (strncmp(model->history[i], "prune ", 6) == 0) return true;
    return density < 0.99;
}

struct cmd_facts cmd_model_facts(const struct sqz_model *model) {
    struct cmd_facts facts = {0};
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct sqz_weight *weight = &model->weights[i];
        size_t nonzero = cmd_weight_nonzero(weight);
        facts.weights += weight->count;
        facts.nonzero += nonzero;
        if (weight->role != SQZ_ROLE_KERNEL) continue;
        facts.kernel_weights += weight->count;
        facts.kernel_nonzero += nonzero;
        facts.n_kernels++;
        facts.n_packed += weight->packed != NULL;
    }
    facts.density = facts.kernel_weights ? (double)facts.kernel_nonzero / (double)facts.kernel_weights : 1;
    facts.stage = facts.n_packed ? "quantized" : was_pruned(model, facts.density) ? "pruned" : "float";
    return facts;
}

double cmd_ratio(size_t float_nbytes, size_t file_nbytes) {
    return file_nbytes ? (double)float_nbytes / (double)file_nbytes : 0;
}

size_t cmd_model_classes(const struct sqz_model *model) {
    struct sqz_shape *shapes = sqz_alloc(model->n_nodes, sizeof *shapes);
    if (!shapes) return 0;
    size_t classes = 0;
    if (sqz_infer_shapes(model, 1, 0, 0, shapes, NULL) == SQZ_OK) {
        const struct sqz_shape *shape = &shapes[model->output];
        bool flat = shape->rank >= 2;
        for (uint32_t d = 2; d < shape->rank; d++) flat &= shape->dim[d] == 1;
        if (flat) classes = (size_t)shape->dim[1];
    }
    sqz_free(shapes);
    return classes;
}

const char *cmd_class_name(const struct sqz_model *model, size_t i) {
    return i < model->n_classes_named ? model->class_names[i] : NULL;
}

static int list_values(char *buffer, size_t capacity, const char *title, const float *values, uint32_t n) {
    int used = snprintf(buffer, capacity, ", %s", title);
    for (uint32_t c = 0; c < n && c < 4; c++)
        used += snprintf(buffer + used, capacity - (size_t)used, "%s%.6g", c ? "," : " ", (double)values[c]);
    return used;
}

const char *cmd_input_text(const struct sqz_input *input, char buffer[CMD_INPUT_TEXT]) {
    static const char *const orders[] = {"RGB", "BGR", "grey"};
    static const char *const filters[] = {"pil", "bilinear"};
    int used = snprintf(buffer, CMD_INPUT_TEXT, "%ux%ux%u %s", input->channels, input->height, input->width,
                        orders[input->order]);
    if (input->squash)
        used += snprintf(buffer + used, CMD_INPUT_TEXT - (size_t)used, ", squashed (%s)", filters[input->filter]);
    else if (input->resize_short)
        used += snprintf(buffer + used, CMD_INPUT_TEXT - (size_t)used, ", short side to %u (%s), centre crop",
                         input->resize_short, filters[input->filter]);
    else
        used += snprintf(buffer + used, CMD_INPUT_TEXT - (size_t)used, ", no resize, centre crop");
    used += snprintf(buffer + used, CMD_INPUT_TEXT - (size_t)used, ", scale %.6g", (double)input->scale);
    used += list_values(buffer + used, CMD_INPUT_TEXT - (size_t)used, "mean", input->mean, input->channels);
    list_values(buffer + used, CMD_INPUT_TEXT - (size_t)used, "std", input->std, input->channels);
    return buffer;
}
