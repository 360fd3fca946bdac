/* sensitivity.c - what each layer alone costs the whole net, at a few sizes. */
#include "eval/sensitivity.h"

#include <math.h>
#include <string.h>

#include "eval/sweep_cache.h"
#include "lib/graph_code.h"
#include "lib/rate_model.h"

/* Bits that a surviving weight is taken to need after pruning alone, when its values are still float: an 8-bit codebook. */
#define SURVIVOR_NBITS 8

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the sensitivity sweep");
}

struct sweep {
    const struct sqz_model *model;
    const struct sqz_sensitivity_options *options;
    struct sqz_probe *probe;
    struct sqz_collector *collector; /* NULL with classic */
    struct sqz_model *changed;       /* a copy of the model in which one layer at a time is changed */
    size_t done;                     /* points */
};

/* ---- which layers ---------------------------------------------------------- */

static bool has_kernel(const struct sqz_model *model, size_t node) {
    const struct sqz_node *n = &model->nodes[node];
    return (n->op == SQZ_OP_CONV || n->op == SQZ_OP_DENSE) && n->kernel != SQZ_NO_WEIGHT;
}

static bool seen_before(const struct sqz_sensitivity *out, size_t weight) {
    for (size_t i = 0; i < out->n_layers; i++)
        if (out->layers[i].weight == weight) return true;
    return false;
}

static enum sqz_status mark_reached(const struct sqz_model *model, struct sqz_sensitivity *out, struct sqz_error *err) {
    bool *live = sqz_alloc0(model->n_nodes, sizeof *live);
    if (!live) return no_memory(err);
    live[model->output] = true;
    for (size_t i = model->output + 1; i-- > 0;)
        for (uint32_t k = 0; live[i] && k < model->nodes[i].n_inputs; k++) live[model->nodes[i].inputs[k]] = true;
    for (size_t i = 0; i < out->n_layers; i++) out->layers[i].reached = live[out->layers[i].node];
    sqz_free(live);
    return SQZ_OK;
}

static enum sqz_status list_layers(const struct sqz_model *model, const struct sqz_sensitivity_options *options,
                                   struct sqz_sensitivity *out, struct sqz_error *err) {
    size_t total;
    *out = (struct sqz_sensitivity){.layers = sqz_alloc0(model->n_nodes, sizeof *out->layers)};
    if (!out->layers) return no_memory(err);
    for (size_t i = 0; i < model->n_nodes; i++) {
        size_t weight = model->nodes[i].kernel;
        if (!has_kernel(model, i) || seen_before(out, weight)) continue;
        out->layers[out->n_layers++] = (struct sqz_layer_sensitivity){
            .node = i, .weight = weight, .count = model->weights[weight].count, .n_points = options->n_settings};
    }
    if (!sqz_mul_size(out->n_layers, options->n_settings, &total)) return no_memory(err);
    out->memory = sqz_alloc0(total + 1, sizeof *out->memory);
    if (!out->memory) return no_memory(err);
    for (size_t i = 0; i < out->n_layers; i++) {
        out->layers[i].points = out->memory + i * options->n_settings;
        for (size_t k = 0; k < options->n_settings; k++) out->layers[i].points[k].setting = options->settings[k];
    }
    return mark_reached(model, out, err);
}

void sqz_sensitivity_free(struct sqz_sensitivity *sensitivity) {
    sqz_free(sensitivity->layers);
    sqz_free(sensitivity->memory);
    *sensitivity = (struct sqz_sensitivity){0};
}

/* ---- compressing one layer ---------------------------------------------------- */

static enum sqz_status compensate(const struct sqz_compensator *compensator, const struct sqz_layer_setting *setting,
                                  struct sqz_compensated *out, struct sqz_error *err) {
    const struct sqz_uniform_options uniform = {
        .step = setting->step * sqz_compensator_weight_std(compensator),
        .per_channel = setting->per_channel,
        .lambda = setting->lambda,
    };
    const struct sqz_codebook_options codebook = {
        .bits = setting->bits, .lambda = setting->lambda, .prune = setting->may_prune};
    const struct sqz_prune_target prune = {.density = setting->density};
    switch (setting->method) {
    case SQZ_LAYER_UNIFORM: return sqz_compensate_uniform(compensator, &uniform, out, err);
    case SQZ_LAYER_CODEBOOK: return sqz_compensate_codebook(compensator, &codebook, out, err);
    case SQZ_LAYER_PRUNE: return sqz_compensate_prune(compensator, &prune, out, err);
    default: return sqz_fail(err, SQZ_ARGUMENT, "a sweep must do something to its layers");
    }
}

static double pruned_nbits(double density, size_t count) {
    double entropy = density > 0 && density < 1 ? -density * log2(density) - (1 - density) * log2(1 - density) : 0;
    return (double)count * (entropy + SURVIVOR_NBITS * density);
}

static enum sqz_status compress_calibrated(const struct sqz_compensator *compensator, struct sqz_weight *weight,
                                           float *bias, struct sqz_sensitivity_point *point, struct sqz_error *err) {
    struct sqz_compensated result = {0};
    SQZ_TRY(compensate(compensator, &point->setting, &result, err));
    memcpy(weight->data, result.weights, weight->count * sizeof(float));
    for (size_t i = 0; bias && i < weight->shape.dim[0]; i++) bias[i] += result.bias_change[i];
    point->density = weight->count ? (double)result.stats.nonzero / (double)weight->count : 0;
    point->nbits = point->setting.method == SQZ_LAYER_PRUNE ? pruned_nbits(point->density, weight->count)
                                                            : result.stats.nbits;
    point->error = result.stats.error;
    point->output_power = result.stats.output_power;
    sqz_compensated_free(&result);
    return SQZ_OK;
}

static enum sqz_status compress_classic(const struct sqz_weight *original, struct sqz_weight *weight,
                                        struct sqz_sensitivity_point *point, struct sqz_error *err) {
    struct sqz_packed *packed = NULL;
    SQZ_TRY(sqz_classic_layer(original, &point->setting, &packed, err));
    sqz_packed_unpack(packed, (size_t)weight->shape.dim[0], weight->data);
    point->density = weight->count ? (double)sqz_packed_nonzero(packed) / (double)weight->count : 0;
    point->nbits = sqz_rate_entropy_nbits(packed->levels, packed->n_levels);
    for (size_t i = 0; i < weight->count; i++) {
        double w = original->data[i], d = (double)weight->data[i] - w;
        point->error += d * d;
        point->output_power += w * w;
    }
    sqz_packed_free(packed);
    return SQZ_OK;
}

/* The changed copy's layer as it was. */
static void restore(const struct sweep *sweep, const struct sqz_layer_sensitivity *layer) {
    const struct sqz_node *node = &sweep->model->nodes[layer->node];
    const struct sqz_weight *kernel = &sweep->model->weights[layer->weight];
    memcpy(sweep->changed->weights[layer->weight].data, kernel->data, kernel->count * sizeof(float));
    if (node->bias == SQZ_NO_WEIGHT) return;
    const struct sqz_weight *bias = &sweep->model->weights[node->bias];
    memcpy(sweep->changed->weights[node->bias].data, bias->data, bias->count * sizeof(float));
}

static enum sqz_status measure_point(struct sweep *sweep, const struct sqz_compensator *compensator,
                                     struct sqz_layer_sensitivity *layer, size_t i, struct sqz_error *err) {
    const struct sqz_node *node = &sweep->model->nodes[layer->node];
    struct sqz_weight *weights = sweep->changed->weights;
    float *bias = node->bias == SQZ_NO_WEIGHT ? NULL : weights[node->bias].data;
    struct sqz_sensitivity_point *point = &layer->points[i];
    if (compensator)
        SQZ_TRY(compress_calibrated(compensator, &weights[layer->weight], bias, point, err));
    else
        SQZ_TRY(compress_classic(&sweep->model->weights[layer->weight], &weights[layer->weight], point, err));
    struct sqz_divergence divergence = {.agreement = 1};
    if (layer->reached) SQZ_TRY(sqz_probe_measure(sweep->probe, sweep->changed, &divergence, err));
    point->kl = divergence.kl;
    point->agreement = divergence.agreement;
    restore(sweep, layer);
    return SQZ_OK;
}

static enum sqz_status measure_points(struct sweep *sweep, const struct sqz_compensator *compensator,
                                      struct sqz_layer_sensitivity *layer, size_t total, struct sqz_error *err) {
    for (size_t i = 0; i < layer->n_points; i++) {
        SQZ_TRY(measure_point(sweep, compensator, layer, i, err));
        sweep->done++;
        if (sweep->options->progress) sweep->options->progress(sweep->options->progress_context, sweep->done, total);
    }
    return SQZ_OK;
}

static enum sqz_status measure_layer(struct sweep *sweep, struct sqz_layer_sensitivity *layer, size_t total,
                                     struct sqz_error *err) {
    if (layer->reached) SQZ_TRY(sqz_probe_start_at(sweep->probe, (uint32_t)layer->node, err));
    if (!sweep->collector || !layer->reached) return measure_points(sweep, NULL, layer, total, err);
    struct sqz_moments *moments = NULL;
    struct sqz_compensator *compensator = NULL;
    const struct sqz_weight *weight = &sweep->model->weights[layer->weight];
    const struct sqz_compensator_options options = {.damping = sweep->options->damping};
    enum sqz_status status = sqz_collector_moments(sweep->collector, NULL, layer->node, &moments, err);
    if (status == SQZ_OK)
        status = sqz_compensator_new(moments, weight->data, (size_t)weight->shape.dim[0], &options, &compensator, err);
    if (status == SQZ_OK) status = measure_points(sweep, compensator, layer, total, err);
    sqz_compensator_free(compensator);
    sqz_moments_free(moments);
    return status;
}

/* ---- the sweep ------------------------------------------------------------------ */

static enum sqz_status measure_layers(struct sweep *sweep, size_t first, struct sqz_sensitivity *out,
                                      struct sqz_error *err) {
    const struct sqz_sensitivity_options *options = sweep->options;
    size_t total = out->n_layers * options->n_settings;
    sweep->done = first * options->n_settings;
    for (size_t i = first; i < out->n_layers; i++) {
        SQZ_TRY(measure_layer(sweep, &out->layers[i], total, err));
        if (options->cache) SQZ_TRY(sqz_sweep_cache_write(options->cache, options->cache_key, out, i + 1, err));
    }
    return SQZ_OK;
}

static enum sqz_status run_sweep(const struct sqz_model *model, const struct sqz_calibration *statistics,
                                 struct sqz_probe *probe, const struct sqz_sensitivity_options *options, size_t first,
                                 struct sqz_sensitivity *out, struct sqz_error *err) {
    struct sweep sweep = {.model = model, .options = options, .probe = probe};
    SQZ_TRY(sqz_model_clone(model, &sweep.changed, err));
    enum sqz_status status = SQZ_OK;
    if (!options->classic)
        status = sqz_collector_new(statistics, model, &options->collector, &sweep.collector, err);
    if (status == SQZ_OK) status = measure_layers(&sweep, first, out, err);
    sqz_collector_free(sweep.collector);
    sqz_model_free(sweep.changed);
    return status;
}

enum sqz_status sqz_sensitivity_measure(const struct sqz_model *model, const struct sqz_calibration *statistics,
                                        struct sqz_probe *probe, const struct sqz_sensitivity_options *options,
                                        struct sqz_sensitivity *out, size_t *n_cached, struct sqz_error *err) {
    enum sqz_status status = list_layers(model, options, out, err);
    *n_cached = status == SQZ_OK && options->cache ? sqz_sweep_cache_read(options->cache, options->cache_key, out) : 0;
    if (status == SQZ_OK && *n_cached < out->n_layers)
        status = run_sweep(model, statistics, probe, options, *n_cached, out, err);
    if (status != SQZ_OK) sqz_sensitivity_free(out);
    return status;
}

/* ---- digest ------------------------------------------------------------------- */

enum sqz_status sqz_model_digest(const struct sqz_model *model, uint8_t out[SQZ_SHA256_NBYTES],
                                 struct sqz_error *err) {
    struct sqz_buffer graph = {0};
    struct sqz_sha256 hash;
    enum sqz_status status = sqz_graph_encode(model, false, &graph, err);
    sqz_sha256_begin(&hash);
    if (status == SQZ_OK) sqz_sha256_add(&hash, graph.data, graph.nbytes);
    for (size_t i = 0; status == SQZ_OK && i < model->n_weights; i++)
        sqz_sha256_add(&hash, model->weights[i].data, model->weights[i].count * sizeof(float));
    sqz_sha256_end(&hash, out);
    sqz_buffer_free(&graph);
    return status;
}
