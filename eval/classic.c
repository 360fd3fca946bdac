/* classic.c - compressing one layer by its weights alone: rounding, k-means, magnitude. */
#include <math.h>
#include <string.h>

#include "eval/sensitivity.h"
#include "lib/prune.h"
#include "lib/quantize.h"

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory to compress a layer");
}

static double weight_std(const float *data, size_t n) {
    double sum = 0;
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)data[i] * data[i];
        used += data[i] != 0;
    }
    return used ? sqrt(sum / (double)used) : 0;
}

/* The step that a setting means for these weights; at least one that keeps every level within SQZ_MAX_LEVEL. */
static double uniform_step(const float *data, size_t n, const struct sqz_layer_setting *setting) {
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)data[i]));
    if (largest == 0) return 1;
    double step = setting->step > 0 ? setting->step * weight_std(data, n)
                                    : largest / fmax(1, ldexp(1, (int)setting->bits - 1) - 1);
    return fmax(step, largest / SQZ_MAX_LEVEL);
}

static enum sqz_status round_uniform(const struct sqz_weight *weight, const struct sqz_layer_setting *setting,
                                     struct sqz_packed **out, struct sqz_error *err) {
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    if (!packed) return no_memory(err);
    packed->kind = SQZ_LEVELS_UNIFORM;
    packed->n_levels = weight->count;
    packed->n_steps = 1;
    packed->levels = sqz_alloc(weight->count + 1, sizeof *packed->levels);
    packed->steps = sqz_alloc(1, sizeof *packed->steps);
    if (!packed->levels || !packed->steps) {
        sqz_packed_free(packed);
        return no_memory(err);
    }
    double step = uniform_step(weight->data, weight->count, setting);
    packed->steps[0] = (float)step;
    for (size_t i = 0; i < weight->count; i++) packed->levels[i] = (int16_t)lrint((double)weight->data[i] / step);
    *out = packed;
    return SQZ_OK;
}

/* A net of one dense layer, for the functions that work on models. */
static enum sqz_status single_layer(const struct sqz_weight *weight, struct sqz_model **out, struct sqz_error *err) {
    const struct sqz_input input = {.channels = 1, .height = 1, .width = 1};
    const struct sqz_shape shape = sqz_shape2(1, weight->count);
    struct sqz_model *model = sqz_model_new(&input);
    if (!model) return no_memory(err);
    uint32_t node = 0, kernel;
    enum sqz_status status = sqz_model_add_node(model, SQZ_OP_DENSE, "layer", &node, 1, &node, err);
    if (status == SQZ_OK)
        status = sqz_model_add_weight(model, weight->name, SQZ_ROLE_KERNEL, &shape, NULL, &kernel, err);
    if (status != SQZ_OK) {
        sqz_model_free(model);
        return status;
    }
    model->nodes[node].kernel = kernel;
    memcpy(model->weights[kernel].data, weight->data, weight->count * sizeof(float));
    *out = model;
    return SQZ_OK;
}

static enum sqz_status share_weights(const struct sqz_weight *weight, const struct sqz_layer_setting *setting,
                                     struct sqz_packed **out, struct sqz_error *err) {
    struct sqz_model *model = NULL;
    SQZ_TRY(single_layer(weight, &model, err));
    enum sqz_status status = SQZ_OK;
    const struct sqz_layer_value density = {.value = setting->density}, bits = {.value = setting->bits};
    if (setting->density > 0 && setting->density < 1) {
        const struct sqz_prune_options prune = {.rule = SQZ_PRUNE_DENSITY, .values = &density, .n_values = 1};
        struct sqz_prune_stats stats;
        size_t n;
        status = sqz_prune(model, &prune, &stats, &n, err);
    }
    if (status == SQZ_OK) {
        const struct sqz_quantize_options quantize = {.bits = &bits, .n_bits = 1, .init = SQZ_INIT_LINEAR};
        struct sqz_quantize_stats stats;
        size_t n;
        status = sqz_quantize(model, &quantize, &stats, &n, err);
    }
    if (status == SQZ_OK) {
        *out = model->weights[0].packed;
        model->weights[0].packed = NULL;
    }
    sqz_model_free(model);
    return status;
}

enum sqz_status sqz_classic_layer(const struct sqz_weight *weight, const struct sqz_layer_setting *setting,
                                  struct sqz_packed **out, struct sqz_error *err) {
    if (setting->method == SQZ_LAYER_UNIFORM) return round_uniform(weight, setting, out, err);
    if (setting->method == SQZ_LAYER_CODEBOOK) return share_weights(weight, setting, out, err);
    return sqz_fail(err, SQZ_ARGUMENT, "layer %s: neither uniform levels nor a codebook", weight->name);
}
