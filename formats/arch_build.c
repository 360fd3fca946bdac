/* arch_build.c - turns an architecture's table of steps and a set of weights into a model. */
#include <stdio.h>
#include <string.h>

#include "formats/arch_steps.h"
#include "formats/archs.h"

/* LRN of the AlexNet paper as Caffe and PyTorch write it; alpha is divided by the size. */
#define LRN_SIZE 5
#define LRN_ALPHA 1e-4f
#define LRN_BETA 0.75f
#define LRN_K 1.0f

struct builder {
    struct sqz_model *model;
    struct sqz_named_tensor *tensors;
    size_t n_tensors;
    uint32_t value; /* node whose value the next step takes */
    struct sqz_error *err;
};

static enum sqz_status add_node(struct builder *b, enum sqz_op op, const char *name, struct sqz_node **out) {
    uint32_t index;
    SQZ_TRY(sqz_model_add_node(b->model, op, name, &b->value, 1, &index, b->err));
    b->value = index;
    *out = &b->model->nodes[index];
    return SQZ_OK;
}

/* Hand a tensor over to the model. */
static enum sqz_status take(struct builder *b, const char *layer, const char *what, enum sqz_role role, uint32_t *out) {
    size_t length = strlen(layer);
    for (size_t i = 0; i < b->n_tensors; i++) {
        struct sqz_named_tensor *tensor = &b->tensors[i];
        if (strncmp(tensor->name, layer, length) != 0 || strcmp(tensor->name + length, what) != 0) continue;
        if (!tensor->data) return sqz_fail(b->err, SQZ_MISSING_WEIGHT, "%s has no values", tensor->name);
        float *data = tensor->data;
        tensor->data = NULL;
        return sqz_model_add_weight(b->model, tensor->name, role, &tensor->shape, data, out, b->err);
    }
    return sqz_fail(b->err, SQZ_MISSING_WEIGHT, "%s%s is missing", layer, what);
}

/* A Conv or Dense node under the first of the layer's names that has a weight. */
static enum sqz_status add_layer(struct builder *b, enum sqz_op op, const struct sqz_arch_layer *layer,
                                 struct sqz_node **out) {
    char name[SQZ_ARCH_NAME];
    uint32_t kernel, bias;
    enum sqz_status status = SQZ_MISSING_WEIGHT;
    for (size_t i = 0; status == SQZ_MISSING_WEIGHT && sqz_arch_layer_name(layer, i, name); i++)
        status = take(b, name, ".weight", SQZ_ROLE_KERNEL, &kernel);
    if (status != SQZ_OK) return status;
    SQZ_TRY(take(b, name, ".bias", SQZ_ROLE_BIAS, &bias));
    SQZ_TRY(add_node(b, op, name, out));
    (*out)->kernel = kernel;
    (*out)->bias = bias;
    return SQZ_OK;
}

static struct sqz_window square_window(uint32_t kernel, uint32_t stride, uint32_t pad) {
    return (struct sqz_window){kernel, kernel, stride, stride, 1, 1, pad, pad, pad, pad};
}

static enum sqz_status add_conv(struct builder *b, const struct sqz_arch_layer *layer, uint32_t stride, uint32_t pad,
                                uint32_t groups) {
    struct sqz_node *node;
    SQZ_TRY(add_layer(b, SQZ_OP_CONV, layer, &node));
    node->params.conv.window = square_window((uint32_t)layer->kernel.dim[2], stride, pad);
    node->params.conv.groups = groups;
    return SQZ_OK;
}

static enum sqz_status add_relu(struct builder *b, const char *name) {
    struct sqz_node *node;
    return add_node(b, SQZ_OP_RELU, name, &node);
}

/* A convolution of a Fire module and its ReLU, which torchvision calls NAME_activation. */
static enum sqz_status add_fire_part(struct builder *b, const struct sqz_arch_layer *layer, uint32_t pad) {
    char name[SQZ_ARCH_NAME], relu[SQZ_ARCH_NAME + sizeof "_activation"];
    sqz_arch_layer_name(layer, 0, name);
    snprintf(relu, sizeof relu, "%s_activation", name);
    SQZ_TRY(add_conv(b, layer, 1, pad, 1));
    return add_relu(b, relu);
}

static enum sqz_status add_fire(struct builder *b, const struct sqz_arch_step *step,
                                const struct sqz_arch_layer *layers) {
    uint32_t expanded[2], squeezed, index;
    SQZ_TRY(add_fire_part(b, &layers[0], 0));
    squeezed = b->value;
    for (int i = 0; i < 2; i++) {
        b->value = squeezed;
        SQZ_TRY(add_fire_part(b, &layers[1 + i], (uint32_t)i));
        expanded[i] = b->value;
    }
    SQZ_TRY(sqz_model_add_node(b->model, SQZ_OP_CONCAT, step->names, expanded, 2, &index, b->err));
    b->model->nodes[index].params.concat.axis = 1;
    b->value = index;
    return SQZ_OK;
}

static enum sqz_status add_max_pool(struct builder *b, const struct sqz_arch_step *step) {
    struct sqz_node *node;
    SQZ_TRY(add_node(b, SQZ_OP_MAX_POOL, step->names, &node));
    node->params.pool.window = square_window(step->kernel, step->stride, 0);
    node->params.pool.ceil_mode = step->ceil_mode;
    return SQZ_OK;
}

static enum sqz_status add_lrn(struct builder *b, const struct sqz_arch_step *step) {
    struct sqz_node *node;
    SQZ_TRY(add_node(b, SQZ_OP_LRN, step->names, &node));
    node->params.lrn.size = LRN_SIZE;
    node->params.lrn.alpha = LRN_ALPHA;
    node->params.lrn.beta = LRN_BETA;
    node->params.lrn.k = LRN_K;
    return SQZ_OK;
}

static enum sqz_status add_adaptive_pool(struct builder *b, const struct sqz_arch_step *step) {
    struct sqz_node *node;
    SQZ_TRY(add_node(b, SQZ_OP_ADAPTIVE_AVERAGE_POOL, step->names, &node));
    node->params.adaptive_pool.out_h = node->params.adaptive_pool.out_w = step->kernel;
    return SQZ_OK;
}

/* One step; *layer moves on over the layers it uses. */
static enum sqz_status add_step(struct builder *b, const struct sqz_arch_step *step,
                                const struct sqz_arch_layer **layer) {
    struct sqz_node *node;
    switch (step->kind) {
    case SQZ_STEP_CONV:
        return add_conv(b, (*layer)++, step->stride, step->pad, step->groups);
    case SQZ_STEP_DENSE:
        return add_layer(b, SQZ_OP_DENSE, (*layer)++, &node);
    case SQZ_STEP_FIRE:
        *layer += 3;
        return add_fire(b, step, *layer - 3);
    case SQZ_STEP_RELU:
        return add_relu(b, step->names);
    case SQZ_STEP_MAX_POOL:
        return add_max_pool(b, step);
    case SQZ_STEP_LRN:
        return add_lrn(b, step);
    case SQZ_STEP_ADAPTIVE_AVERAGE_POOL:
        return add_adaptive_pool(b, step);
    case SQZ_STEP_GLOBAL_AVERAGE_POOL:
        return add_node(b, SQZ_OP_GLOBAL_AVERAGE_POOL, step->names, &node);
    case SQZ_STEP_FLATTEN:
        return add_node(b, SQZ_OP_FLATTEN, step->names, &node);
    case SQZ_STEP_END:
        break;
    }
    return SQZ_OK;
}

static enum sqz_status add_steps(struct builder *b, const struct sqz_arch *arch) {
    struct sqz_arch_layer layers[SQZ_ARCH_MAX_LAYERS];
    const struct sqz_arch_layer *layer = layers;
    sqz_arch_layers(arch, layers);
    for (const struct sqz_arch_step *step = arch->steps; step->kind != SQZ_STEP_END; step++)
        SQZ_TRY(add_step(b, step, &layer));
    b->model->output = b->value;
    return SQZ_OK;
}

enum sqz_status sqz_arch_build(const char *arch, struct sqz_named_tensor *tensors, size_t n, struct sqz_model **out,
                               struct sqz_error *err) {
    const char *name;
    *out = NULL;
    SQZ_TRY(sqz_arch_match(arch, tensors, n, &name, err));
    const struct sqz_arch *const *found = sqz_archs;
    while (strcmp((*found)->name, name) != 0) found++;
    struct sqz_input input = {.channels = (*found)->channels, .height = (*found)->height, .width = (*found)->width};
    sqz_input_preset((*found)->preset, &input);
    struct builder b = {.model = sqz_model_new(&input), .tensors = tensors, .n_tensors = n, .err = err};
    if (!b.model) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the model");
    b.model->arch = (*found)->name;
    enum sqz_status status = add_steps(&b, *found);
    if (status == SQZ_OK)
        *out = b.model;
    else
        sqz_model_free(b.model);
    return status;
}
