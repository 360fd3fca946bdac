/* model.c - building, checking and freeing a model. */
#include "lib/model.h"

#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "lib/infer.h"
#include "lib/parallel.h"

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* Make room for one more element in an arena array; the old array stays in the arena until the model goes. */
static bool grow(struct sqz_arena *arena, void *array_pointer, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return true;
    size_t larger = *capacity ? *capacity * 2 : 16;
    void *array = sqz_arena_alloc(arena, larger, size);
    if (!array) return false;
    void *old;
    memcpy(&old, array_pointer, sizeof old);
    if (count) memcpy(array, old, count * size);
    memcpy(array_pointer, &array, sizeof array);
    *capacity = larger;
    return true;
}

struct sqz_model *sqz_model_new(const struct sqz_input *input) {
    struct sqz_model *model = sqz_alloc0(1, sizeof *model);
    if (!model) return NULL;
    model->arch = "custom";
    model->source = "";
    model->input = *input;
    uint32_t index;
    if (sqz_model_add_node(model, SQZ_OP_INPUT, "input", NULL, 0, &index, NULL) != SQZ_OK) {
        sqz_model_free(model);
        return NULL;
    }
    return model;
}

void sqz_model_free(struct sqz_model *model) {
    if (!model) return;
    for (size_t i = 0; i < model->n_weights; i++) {
        sqz_free(model->weights[i].data);
        sqz_packed_free(model->weights[i].packed);
    }
    sqz_arena_free(&model->arena);
    sqz_free(model);
}

static bool node_name_taken(const struct sqz_model *model, const char *name) {
    for (size_t i = 0; i < model->n_nodes; i++)
        if (strcmp(model->nodes[i].name, name) == 0) return true;
    return false;
}

static const char *unique_node_name(struct sqz_model *model, enum sqz_op op, const char *name) {
    const char *base = name && *name ? name : sqz_op_name(op);
    if (name && *name && !node_name_taken(model, name)) return sqz_arena_strdup(&model->arena, name);
    for (size_t n = model->n_nodes;; n++) {
        char candidate[512];
        snprintf(candidate, sizeof candidate, "%.480s_%zu", base, n);
        if (!node_name_taken(model, candidate)) return sqz_arena_strdup(&model->arena, candidate);
    }
}

enum sqz_status sqz_model_add_node(struct sqz_model *model, enum sqz_op op, const char *name, const uint32_t *inputs,
                                   size_t n_inputs, uint32_t *out, struct sqz_error *err) {
    if (model->n_nodes >= SQZ_MAX_NODES || n_inputs > SQZ_MAX_NODES)
        return sqz_fail(err, SQZ_LIMIT, "more than %d nodes", SQZ_MAX_NODES);
    if (!grow(&model->arena, &model->nodes, model->n_nodes, &model->nodes_capacity, sizeof *model->nodes))
        return no_memory(err);
    struct sqz_node node = {.op = op, .n_inputs = (uint32_t)n_inputs, .kernel = SQZ_NO_WEIGHT, .bias = SQZ_NO_WEIGHT};
    node.name = unique_node_name(model, op, name);
    node.inputs = sqz_arena_alloc(&model->arena, n_inputs ? n_inputs : 1, sizeof *node.inputs);
    if (!node.name || !node.inputs) return no_memory(err);
    if (inputs && n_inputs) memcpy(node.inputs, inputs, n_inputs * sizeof *inputs);
    *out = (uint32_t)model->n_nodes;
    model->nodes[model->n_nodes++] = node;
    model->output = *out;
    return SQZ_OK;
}

/* Append a weight without data; the caller sets data or packed. */
static enum sqz_status add_weight(struct sqz_model *model, const char *name, enum sqz_role role,
                                  const struct sqz_shape *shape, struct sqz_weight **out, struct sqz_error *err) {
    size_t count, nbytes;
    char text[SQZ_SHAPE_TEXT];
    if (!sqz_shape_count(shape, &count) || !sqz_mul_size(count, sizeof(float), &nbytes))
        return sqz_fail(err, SQZ_LIMIT, "weight %s of shape %s is too large", name, sqz_shape_format(shape, text));
    if (!name || !*name) return sqz_fail(err, SQZ_MALFORMED, "a weight has no name");
    for (size_t i = 0; i < model->n_weights; i++)
        if (strcmp(model->weights[i].name, name) == 0)
            return sqz_fail(err, SQZ_MALFORMED, "two weights have the name %s", name);
    if (model->n_weights >= SQZ_MAX_WEIGHTS) return sqz_fail(err, SQZ_LIMIT, "more than %d weights", SQZ_MAX_WEIGHTS);
    if (!grow(&model->arena, &model->weights, model->n_weights, &model->weights_capacity, sizeof *model->weights))
        return no_memory(err);
    struct sqz_weight weight = {.role = role, .shape = *shape, .count = count};
    weight.name = sqz_arena_strdup(&model->arena, name);
    if (!weight.name) return no_memory(err);
    *out = &model->weights[model->n_weights];
    **out = weight;
    return SQZ_OK;
}

enum sqz_status sqz_model_add_weight(struct sqz_model *model, const char *name, enum sqz_role role,
                                     const struct sqz_shape *shape, float *data, uint32_t *out, struct sqz_error *err) {
    struct sqz_weight *weight;
    enum sqz_status status = add_weight(model, name, role, shape, &weight, err);
    if (status == SQZ_OK && !data) {
        data = sqz_alloc(weight->count, sizeof(float));
        if (!data) status = no_memory(err);
    }
    if (status != SQZ_OK) {
        sqz_free(data);
        return status;
    }
    weight->data = data;
    *out = (uint32_t)model->n_weights++;
    return SQZ_OK;
}

enum sqz_status sqz_model_add_packed(struct sqz_model *model, const char *name, enum sqz_role role,
                                     const struct sqz_shape *shape, struct sqz_packed *packed, uint32_t *out,
                                     struct sqz_error *err) {
    struct sqz_weight *weight;
    enum sqz_status status = add_weight(model, name, role, shape, &weight, err);
    if (status == SQZ_OK) status = sqz_packed_check(packed, shape, name, err);
    if (status != SQZ_OK) {
        sqz_packed_free(packed);
        return status;
    }
    weight->packed = packed;
    *out = (uint32_t)model->n_weights++;
    return SQZ_OK;
}

enum sqz_status sqz_model_note(struct sqz_model *model, struct sqz_error *err, const char *format, ...) {
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (!grow(&model->arena, &model->history, model->n_history, &model->history_capacity, sizeof *model->history))
        return no_memory(err);
    const char *copy = sqz_arena_strdup(&model->arena, line);
    if (!copy) return no_memory(err);
    model->history[model->n_history++] = copy;
    return SQZ_OK;
}

enum sqz_status sqz_model_set_classes(struct sqz_model *model, const char *const *names, size_t n,
                                      struct sqz_error *err) {
    const char **copies = sqz_arena_alloc(&model->arena, n ? n : 1, sizeof *copies);
    if (!copies) return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        copies[i] = sqz_arena_strdup(&model->arena, names[i]);
        if (!copies[i]) return no_memory(err);
    }
    model->class_names = copies;
    model->n_classes_named = n;
    return SQZ_OK;
}

enum sqz_status sqz_weight_need_data(struct sqz_weight *weight, struct sqz_error *err) {
    if (weight->data) return SQZ_OK;
    float *data = sqz_alloc(weight->count, sizeof *data);
    if (!data) return no_memory(err);
    sqz_packed_unpack(weight->packed, weight->shape.rank ? (size_t)weight->shape.dim[0] : 1, data);
    weight->data = data;
    return SQZ_OK;
}

const char *sqz_model_layer_name(const struct sqz_model *model, size_t weight) {
    for (size_t i = 0; i < model->n_nodes; i++)
        if (model->nodes[i].kernel == weight || model->nodes[i].bias == weight) return model->nodes[i].name;
    return model->weights[weight].name;
}

size_t sqz_model_float_nbytes(const struct sqz_model *model) {
    size_t nbytes = 0;
    for (size_t i = 0; i < model->n_weights; i++) nbytes += model->weights[i].count * sizeof(float);
    return nbytes;
}

const char *sqz_op_name(enum sqz_op op) {
    static const char *const names[] = {
#define X(code, name) name,
        SQZ_OP_LIST(X)
#undef X
    };
    return names[op];
}

bool sqz_input_preset(const char *name, struct sqz_input *input) {
    struct sqz_input preset = {.channels = input->channels, .height = input->height, .width = input->width};
    preset.scale = 1;
    for (int c = 0; c < 4; c++) preset.std[c] = 1;
    preset.order = input->channels == 1 ? SQZ_CHANNELS_GREY : SQZ_CHANNELS_RGB;
    if (strcmp(name, "torchvision") == 0) {
        static const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
        memcpy(preset.mean, mean, sizeof mean);
        memcpy(preset.std, std, sizeof std);
        preset.scale = 1.0f / 255.0f;
        preset.resize_short = 256;
    } else if (strcmp(name, "caffe") == 0) {
        static const float mean[3] = {104, 117, 123}; /* ImageNet's, in the order blue, green, red */
        memcpy(preset.mean, mean, sizeof mean);
        preset.resize_short = 256;
        if (input->channels != 1) preset.order = SQZ_CHANNELS_BGR;
    } else if (strcmp(name, "fashion-mnist") == 0) {
        preset.scale = 1.0f / 255.0f;
        preset.mean[0] = 0.2860f;
        preset.std[0] = 0.3530f;
    } else if (strcmp(name, "raw") != 0) {
        return false;
    }
    *input = preset;
    return true;
}

/* ---- checking ----------------------------------------------------------- */

static enum sqz_status check_input(const struct sqz_input *input, struct sqz_error *err) {
    if (input->channels == 0 || input->height == 0 || input->width == 0)
        return sqz_fail(err, SQZ_SHAPE, "the input of %ux%ux%u is empty", input->channels, input->height, input->width);
    for (uint32_t c = 0; c < 4; c++)
        if (!isfinite(input->mean[c]) || !isfinite(input->std[c]) || input->std[c] == 0)
            return sqz_fail(err, SQZ_MALFORMED, "mean or std of input channel %u is not usable", c);
    if (!isfinite(input->scale)) return sqz_fail(err, SQZ_MALFORMED, "the input scale is not finite");
    return SQZ_OK;
}

static bool takes_kernel(enum sqz_op op) {
    return op == SQZ_OP_CONV || op == SQZ_OP_DENSE || op == SQZ_OP_SCALE;
}

static enum sqz_status check_node(const struct sqz_model *model, size_t index, struct sqz_error *err) {
    const struct sqz_node *node = &model->nodes[index];
    if ((unsigned)node->op >= SQZ_OP_COUNT)
        return sqz_fail(err, SQZ_MALFORMED, "node %s has unknown operator %u", node->name, (unsigned)node->op);
    if ((index == 0) != (node->op == SQZ_OP_INPUT))
        return sqz_fail(err, SQZ_MALFORMED, "node %s: only node 0 is the input", node->name);
    uint32_t low = 1, high = 1;
    if (node->op == SQZ_OP_INPUT) low = high = 0;
    if (node->op == SQZ_OP_CONCAT) high = UINT32_MAX;
    if (node->op == SQZ_OP_ADD || node->op == SQZ_OP_MUL) low = high = 2;
    if (node->n_inputs < low || node->n_inputs > high)
        return sqz_fail(err, SQZ_MALFORMED, "%s node %s has %u inputs", sqz_op_name(node->op), node->name,
                        node->n_inputs);
    for (uint32_t i = 0; i < node->n_inputs; i++)
        if (node->inputs[i] >= index)
            return sqz_fail(err, SQZ_MALFORMED, "node %s uses a value that is not computed before it", node->name);
    if (takes_kernel(node->op) && node->kernel == SQZ_NO_WEIGHT)
        return sqz_fail(err, SQZ_MISSING_WEIGHT, "layer %s has no weights", node->name);
    if (!takes_kernel(node->op) && (node->kernel != SQZ_NO_WEIGHT || node->bias != SQZ_NO_WEIGHT))
        return sqz_fail(err, SQZ_MALFORMED, "%s node %s cannot have weights", sqz_op_name(node->op), node->name);
    if ((node->kernel != SQZ_NO_WEIGHT && node->kernel >= model->n_weights) ||
        (node->bias != SQZ_NO_WEIGHT && node->bias >= model->n_weights))
        return sqz_fail(err, SQZ_MALFORMED, "node %s refers to a weight that does not exist", node->name);
    return SQZ_OK;
}

static enum sqz_status check_weight(const struct sqz_model *model, size_t index, struct sqz_error *err) {
    const struct sqz_weight *weight = &model->weights[index];
    if (!weight->data && !weight->packed)
        return sqz_fail(err, SQZ_MISSING_WEIGHT, "weight %s has no values", weight->name);
    if (weight->packed) SQZ_TRY(sqz_packed_check(weight->packed, &weight->shape, weight->name, err));
    if (!weight->data) return SQZ_OK;
    for (size_t i = 0; i < weight->count; i++)
        if (!isfinite(weight->data[i]))
            return sqz_fail(err, SQZ_NONFINITE, "weight %s of layer %s holds %s at index %zu", weight->name,
                            sqz_model_layer_name(model, index), isnan(weight->data[i]) ? "NaN" : "infinity", i);
    return SQZ_OK;
}

/* The first weight, in the model's order, that is not as it should be. */
struct weight_check {
    const struct sqz_model *model;
    atomic_size_t first_bad;
};

static void find_bad_weight(void *context, size_t index, int thread) {
    (void)thread;
    struct weight_check *check = context;
    if (check_weight(check->model, index, NULL) == SQZ_OK) return;
    size_t first = atomic_load(&check->first_bad);
    while (index < first && !atomic_compare_exchange_weak(&check->first_bad, &first, index)) continue;
}

static enum sqz_status check_weights(const struct sqz_model *model, struct sqz_error *err) {
    struct weight_check check = {.model = model, .first_bad = model->n_weights};
    sqz_parallel_for(model->n_weights, find_bad_weight, &check);
    /* Once more on this thread, for the message. */
    return check.first_bad < model->n_weights ? check_weight(model, check.first_bad, err) : SQZ_OK;
}

enum sqz_status sqz_model_check(const struct sqz_model *model, struct sqz_error *err) {
    SQZ_TRY(check_input(&model->input, err));
    if (model->output >= model->n_nodes) return sqz_fail(err, SQZ_MALFORMED, "the output node does not exist");
    for (size_t i = 0; i < model->n_nodes; i++) SQZ_TRY(check_node(model, i, err));
    struct sqz_shape *shapes = sqz_alloc(model->n_nodes, sizeof *shapes);
    if (!shapes) return no_memory(err);
    enum sqz_status status = sqz_infer_shapes(model, 1, 0, 0, shapes, err);
    sqz_free(shapes);
    return status == SQZ_OK ? check_weights(model, err) : status;
}
