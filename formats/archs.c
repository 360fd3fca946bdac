/* archs.c - the list of known architectures and which of them a set of weights or a model is. */
#include "formats/archs.h"

#include <stdio.h>
#include <string.h>

#include "formats/arch_steps.h"

const struct sqz_arch *const sqz_archs[] = {
    &sqz_arch_squeezenet1_0,      &sqz_arch_squeezenet1_1,   &sqz_arch_alexnet,
    &sqz_arch_alexnet_caffe,      &sqz_arch_caffenet,        &sqz_arch_vgg16,
    &sqz_arch_fashion_squeezenet, &sqz_arch_fashion_alexnet, NULL,
};

const char *sqz_arch_list(void) {
    return "squeezenet1_0, squeezenet1_1, alexnet, alexnet-caffe, caffenet, vgg16, fashion_squeezenet, fashion_alexnet";
}

/* ---- the layers of an architecture -------------------------------------- */

static struct sqz_arch_layer conv_layer(const char *names, const char *part, uint32_t out, uint32_t in,
                                        uint32_t kernel) {
    return (struct sqz_arch_layer){names, part, sqz_shape4(out, in, kernel, kernel)};
}

size_t sqz_arch_layers(const struct sqz_arch *arch, struct sqz_arch_layer *layers) {
    size_t n = 0;
    for (const struct sqz_arch_step *step = arch->steps; step->kind != SQZ_STEP_END; step++) {
        if (step->kind == SQZ_STEP_CONV) {
            layers[n++] = conv_layer(step->names, "", step->out, step->in / step->groups, step->kernel);
        } else if (step->kind == SQZ_STEP_DENSE) {
            layers[n++] = (struct sqz_arch_layer){step->names, "", sqz_shape2(step->out, step->in)};
        } else if (step->kind == SQZ_STEP_FIRE) {
            layers[n++] = conv_layer(step->names, ".squeeze", step->squeeze, step->in, 1);
            layers[n++] = conv_layer(step->names, ".expand1x1", step->out, step->squeeze, 1);
            layers[n++] = conv_layer(step->names, ".expand3x3", step->out, step->squeeze, 3);
        }
    }
    return n;
}

bool sqz_arch_layer_name(const struct sqz_arch_layer *layer, size_t i, char buffer[SQZ_ARCH_NAME]) {
    const char *name = layer->names;
    for (; i > 0; i--) {
        name = strchr(name, ' ');
        if (!name) return false;
        name++;
    }
    snprintf(buffer, SQZ_ARCH_NAME, "%.*s%s", (int)strcspn(name, " "), name, layer->part);
    return true;
}

bool sqz_arch_shape_fits(const struct sqz_shape *shape, const struct sqz_shape *wanted) {
    if (shape->rank != wanted->rank) return false;
    for (uint32_t i = 0; i < shape->rank; i++)
        if (wanted->dim[i] ? shape->dim[i] != wanted->dim[i] : shape->dim[i] == 0) return false;
    return true;
}

/* ---- weights ------------------------------------------------------------ */

/* How far a set of tensors is an architecture; the first of each kind of misfit, for messages. */
struct fit {
    size_t n_fitting;
    size_t n_layers;
    const struct sqz_named_tensor *used[2 * SQZ_ARCH_MAX_LAYERS]; /* found under a layer's name */
    size_t n_used;
    const struct sqz_named_tensor *misshapen; /* under a layer's name, but of another shape */
    struct sqz_shape wanted;
    const struct sqz_named_tensor *stranger; /* under no layer's name */
    bool missing;
    char missing_name[SQZ_ARCH_NAME + 8];
};

static const struct sqz_named_tensor *find_tensor(const struct sqz_named_tensor *tensors, size_t n, const char *layer,
                                                  const char *what) {
    size_t length = strlen(layer);
    for (size_t i = 0; i < n; i++)
        if (strncmp(tensors[i].name, layer, length) == 0 && strcmp(tensors[i].name + length, what) == 0)
            return &tensors[i];
    return NULL;
}

/* The layer's name that occurs among the tensors, else PyTorch's. */
static void choose_name(const struct sqz_arch_layer *layer, const struct sqz_named_tensor *tensors, size_t n,
                        char name[SQZ_ARCH_NAME]) {
    for (size_t i = 0; sqz_arch_layer_name(layer, i, name); i++)
        if (find_tensor(tensors, n, name, ".weight") || find_tensor(tensors, n, name, ".bias")) return;
    sqz_arch_layer_name(layer, 0, name);
}

static void fit_one(struct fit *fit, const struct sqz_named_tensor *tensors, size_t n, const char *name,
                    const char *what, const struct sqz_shape *wanted) {
    const struct sqz_named_tensor *tensor = find_tensor(tensors, n, name, what);
    if (!tensor) {
        if (!fit->missing) snprintf(fit->missing_name, sizeof fit->missing_name, "%s%s", name, what);
        fit->missing = true;
        return;
    }
    fit->used[fit->n_used++] = tensor;
    if (sqz_arch_shape_fits(&tensor->shape, wanted)) {
        fit->n_fitting++;
    } else if (!fit->misshapen) {
        fit->misshapen = tensor;
        fit->wanted = *wanted;
    }
}

static bool is_used(const struct fit *fit, const struct sqz_named_tensor *tensor) {
    for (size_t i = 0; i < fit->n_used; i++)
        if (fit->used[i] == tensor) return true;
    return false;
}

static struct fit measure(const struct sqz_arch *arch, const struct sqz_named_tensor *tensors, size_t n) {
    struct sqz_arch_layer layers[SQZ_ARCH_MAX_LAYERS];
    struct fit fit = {.n_layers = sqz_arch_layers(arch, layers)};
    for (size_t i = 0; i < fit.n_layers; i++) {
        char name[SQZ_ARCH_NAME];
        choose_name(&layers[i], tensors, n, name);
        struct sqz_shape bias = sqz_shape1(layers[i].kernel.dim[0]);
        fit_one(&fit, tensors, n, name, ".weight", &layers[i].kernel);
        fit_one(&fit, tensors, n, name, ".bias", &bias);
    }
    for (size_t i = 0; i < n && !fit.stranger; i++)
        if (!is_used(&fit, &tensors[i])) fit.stranger = &tensors[i];
    return fit;
}

static bool is_exact(const struct fit *fit) {
    return !fit->missing && !fit->misshapen && !fit->stranger;
}

/* The architecture with the most fitting tensors; among equals the one whose number of layers is closest. */
static const struct sqz_arch *nearest(const struct sqz_named_tensor *tensors, size_t n, struct fit *out) {
    const struct sqz_arch *best = NULL;
    size_t kernels = 0, best_distance = 0;
    for (size_t i = 0; i < n; i++) kernels += tensors[i].shape.rank >= 2;
    for (size_t i = 0; sqz_archs[i]; i++) {
        struct fit fit = measure(sqz_archs[i], tensors, n);
        size_t distance = fit.n_layers > kernels ? fit.n_layers - kernels : kernels - fit.n_layers;
        if (is_exact(&fit)) {
            *out = fit;
            return sqz_archs[i];
        }
        if (best && (fit.n_fitting < out->n_fitting || (fit.n_fitting == out->n_fitting && distance >= best_distance)))
            continue;
        best = sqz_archs[i];
        best_distance = distance;
        *out = fit;
    }
    return best;
}

/* What is wrong with a fit: the first misshapen tensor, else the first that is too many or missing. */
static void describe(const struct fit *fit, char *text, size_t capacity) {
    char have[SQZ_SHAPE_TEXT], want[SQZ_SHAPE_TEXT];
    if (fit->misshapen)
        snprintf(text, capacity, "%.128s is %s instead of %s", fit->misshapen->name,
                 sqz_shape_format(&fit->misshapen->shape, have), sqz_shape_format(&fit->wanted, want));
    else if (fit->stranger)
        snprintf(text, capacity, "%.128s has no place in it", fit->stranger->name);
    else
        snprintf(text, capacity, "%s is missing", fit->missing_name);
}

static enum sqz_status refuse_nearest(const struct sqz_arch *arch, const struct fit *fit, struct sqz_error *err) {
    char what[512];
    describe(fit, what, sizeof what);
    if (fit->missing && !fit->misshapen && !fit->stranger)
        return sqz_fail(err, SQZ_MISSING_WEIGHT, "the weights are those of %s, but %s", arch->name, what);
    if (fit->stranger && !fit->missing && !fit->misshapen)
        return sqz_fail(err, SQZ_UNSUPPORTED, "the weights are those of %s, but %s", arch->name, what);
    return sqz_fail(
        err, SQZ_UNSUPPORTED,
        "the weights fit no known architecture; the nearest is %s (%zu of its %zu tensors fit): %s (known: %s)",
        arch->name, fit->n_fitting, 2 * fit->n_layers, what, sqz_arch_list());
}

/* The user named the architecture: say what does not fit, and which one would. */
static enum sqz_status refuse_chosen(const struct sqz_arch *arch, const struct fit *fit,
                                     const struct sqz_named_tensor *tensors, size_t n, struct sqz_error *err) {
    char what[512];
    struct fit other_fit;
    const struct sqz_arch *other = nearest(tensors, n, &other_fit);
    describe(fit, what, sizeof what);
    if (is_exact(&other_fit))
        return sqz_fail(err, SQZ_UNSUPPORTED, "the weights are those of %s, not of %s: %s", other->name, arch->name,
                        what);
    if (fit->missing && !fit->misshapen && !fit->stranger)
        return sqz_fail(err, SQZ_MISSING_WEIGHT, "the weights are not complete for %s: %s", arch->name, what);
    return sqz_fail(err, SQZ_UNSUPPORTED, "the weights do not fit %s (%zu of its %zu tensors do): %s", arch->name,
                    fit->n_fitting, 2 * fit->n_layers, what);
}

static const struct sqz_arch *find_arch(const char *name) {
    for (size_t i = 0; sqz_archs[i]; i++)
        if (strcmp(sqz_archs[i]->name, name) == 0) return sqz_archs[i];
    return NULL;
}

enum sqz_status sqz_arch_match(const char *arch, const struct sqz_named_tensor *tensors, size_t n, const char **out,
                               struct sqz_error *err) {
    struct fit fit;
    const struct sqz_arch *found = arch ? find_arch(arch) : nearest(tensors, n, &fit);
    if (!found) return sqz_fail(err, SQZ_ARGUMENT, "unknown architecture %s; known are %s", arch, sqz_arch_list());
    if (arch) fit = measure(found, tensors, n);
    *out = found->name;
    if (is_exact(&fit)) return SQZ_OK;
    return arch ? refuse_chosen(found, &fit, tensors, n, err) : refuse_nearest(found, &fit, err);
}

/* ---- models ------------------------------------------------------------- */

/* What decides between architectures in a finished graph: kernels' shapes, and the order of pools and LRN. */
static bool is_significant(enum sqz_op op) {
    return op == SQZ_OP_CONV || op == SQZ_OP_DENSE || op == SQZ_OP_LRN || op == SQZ_OP_MAX_POOL;
}

static bool next_significant(const struct sqz_model *model, size_t *node) {
    while (*node < model->n_nodes && !is_significant(model->nodes[*node].op)) ++*node;
    return *node < model->n_nodes;
}

static bool node_is(const struct sqz_model *model, size_t *node, enum sqz_op op, const struct sqz_shape *kernel) {
    if (!next_significant(model, node) || model->nodes[*node].op != op) return false;
    if (kernel) {
        uint32_t weight = model->nodes[*node].kernel;
        if (weight >= model->n_weights || !sqz_arch_shape_fits(&model->weights[weight].shape, kernel)) return false;
    }
    ++*node;
    return true;
}

static bool is_arch(const struct sqz_model *model, const struct sqz_arch *arch) {
    struct sqz_arch_layer layers[SQZ_ARCH_MAX_LAYERS];
    sqz_arch_layers(arch, layers);
    size_t node = 0, layer = 0;
    bool good = true;
    for (const struct sqz_arch_step *step = arch->steps; step->kind != SQZ_STEP_END && good; step++) {
        size_t n_convs = step->kind == SQZ_STEP_FIRE ? 3 : step->kind == SQZ_STEP_CONV;
        for (size_t i = 0; i < n_convs && good; i++) good = node_is(model, &node, SQZ_OP_CONV, &layers[layer++].kernel);
        if (step->kind == SQZ_STEP_DENSE) good = node_is(model, &node, SQZ_OP_DENSE, &layers[layer++].kernel);
        if (step->kind == SQZ_STEP_LRN) good = node_is(model, &node, SQZ_OP_LRN, NULL);
        if (step->kind == SQZ_STEP_MAX_POOL) good = node_is(model, &node, SQZ_OP_MAX_POOL, NULL);
    }
    return good && !next_significant(model, &node);
}

const char *sqz_arch_name(const struct sqz_model *model) {
    for (size_t i = 0; sqz_archs[i]; i++)
        if (is_arch(model, sqz_archs[i])) return sqz_archs[i]->name;
    return "custom";
}
