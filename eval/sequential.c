/* sequential.c - compresses a whole model layer after layer, each calibrated on the net as compressed so far. */
#include "eval/sequential.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eval/engine.h"
#include "eval/metrics.h"
#include "eval/model_part.h"
#include "lib/infer.h"
#include "lib/kernel_list.h"

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory to calibrate a model");
}

/* A layer is a kernel, and the node at which it is calibrated. */
struct layer {
    uint32_t node;
    uint32_t weight;
    bool reached;
};

struct compression {
    struct sqz_model *model;
    const struct sqz_model *reference;
    const struct sqz_sequential_options *options;
    struct sqz_collector *collector;
    size_t n_layers;
    struct layer *layers; /* in topological order */
};

/* ---- layers ------------------------------------------------------------------- */

static bool has_kernel(const struct sqz_model *model, size_t node) {
    const struct sqz_node *n = &model->nodes[node];
    return (n->op == SQZ_OP_CONV || n->op == SQZ_OP_DENSE) && n->kernel != SQZ_NO_WEIGHT;
}

/* Each kernel once, at its first node that is reached, or else at its first. */
static void list_layers(struct compression *compression, const bool *live) {
    const struct sqz_model *model = compression->reference;
    for (int reached = 1; reached >= 0; reached--)
        for (uint32_t i = 0; i < model->n_nodes; i++) {
            if (!has_kernel(model, i) || live[i] != (reached == 1)) continue;
            uint32_t weight = model->nodes[i].kernel;
            if (compression->options->settings[weight].method == SQZ_LAYER_SKIP) continue;
            bool known = false;
            for (size_t k = 0; k < compression->n_layers; k++) known |= compression->layers[k].weight == weight;
            if (!known) compression->layers[compression->n_layers++] = (struct layer){i, weight, reached == 1};
        }
}

/* Moments that know nothing: inputs of equal power that are independent. */
static enum sqz_status plain_moments(const struct sqz_weight *kernel, struct sqz_moments **out, struct sqz_error *err) {
    size_t n = kernel->count / (size_t)kernel->shape.dim[0];
    SQZ_TRY(sqz_moments_new(1, n, false, 0, out, err));
    for (size_t b = 0; b < (*out)->n_blocks; b++) {
        struct sqz_moments_block *block = &(*out)->blocks[b];
        for (size_t i = 0; i < block->n; i++) block->own[i * block->n + i] = 1;
    }
    (*out)->n_positions = 1;
    return sqz_moments_finish(*out, err);
}

static enum sqz_status layer_moments(const struct compression *compression, const struct layer *layer,
                                     struct sqz_moments **out, struct sqz_error *err) {
    *out = NULL;
    enum sqz_status status;
    if (!layer->reached) {
        status = plain_moments(&compression->reference->weights[layer->weight], out, err);
        if (status != SQZ_OK) {
            sqz_moments_free(*out);
            *out = NULL;
        }
        return status;
    }
    const struct sqz_model *compressed = compression->options->one_pass ? NULL : compression->model;
    return sqz_collector_moments(compression->collector, compressed, layer->node, out, err);
}

/* ---- compressing one layer ------------------------------------------------------ */

static enum sqz_status run_method(const struct sqz_compensator *compensator, const struct sqz_layer_setting *setting,
                                  const struct sqz_weight *kernel, struct sqz_compensated *out, struct sqz_error *err) {
    if (setting->method == SQZ_LAYER_CODEBOOK) {
        const struct sqz_codebook_options options = {
            .bits = setting->bits, .lambda = setting->lambda, .prune = setting->may_prune};
        return sqz_compensate_codebook(compensator, &options, out, err);
    }
    if (setting->method == SQZ_LAYER_PRUNE) {
        const struct sqz_prune_target target = {.density = setting->density};
        return sqz_compensate_prune(compensator, &target, out, err);
    }
    struct sqz_uniform_options options = {
        .step = setting->step * sqz_compensator_weight_std(compensator),
        .lambda = setting->lambda,
        .per_channel = setting->per_channel,
        .trellis_states = setting->trellis_states,
    };
    if (setting->step == 0) {
        float largest = 0;
        for (size_t i = 0; i < kernel->count; i++) largest = fmaxf(largest, fabsf(kernel->data[i]));
        options.step = (double)largest / fmax((double)((1u << (setting->bits - 1)) - 1), 1);
    }
    if (options.step == 0) options.step = 1; /* nothing but zeros: any step will do */
    return sqz_compensate_uniform(compensator, &options, out, err);
}

/* Whether any node but `node` takes this bias: it must then stay as it is. */
static bool bias_is_shared(const struct sqz_model *model, uint32_t node, uint32_t bias) {
    for (uint32_t i = 0; i < model->n_nodes; i++)
        if (i != node && (model->nodes[i].bias == bias || model->nodes[i].kernel == bias)) return true;
    return false;
}

static bool kernel_is_shared(const struct sqz_model *model, uint32_t node) {
    for (uint32_t i = 0; i < model->n_nodes; i++)
        if (i != node && model->nodes[i].kernel == model->nodes[node].kernel) return true;
    return false;
}

static bool weight_name_taken(const struct sqz_model *model, const char *name) {
    for (size_t i = 0; i < model->n_weights; i++)
        if (strcmp(model->weights[i].name, name) == 0) return true;
    return false;
}

static enum sqz_status add_bias(struct sqz_model *model, uint32_t node, size_t rows, struct sqz_error *err) {
    char name[512];
    snprintf(name, sizeof name, "%.480s.bias", model->nodes[node].name);
    for (size_t n = 2; weight_name_taken(model, name); n++)
        snprintf(name, sizeof name, "%.480s.bias_%zu", model->nodes[node].name, n);
    float *data = sqz_alloc0(rows, sizeof *data);
    if (!data) return no_memory(err);
    struct sqz_shape shape = sqz_shape1(rows);
    return sqz_model_add_weight(model, name, SQZ_ROLE_BIAS, &shape, data, &model->nodes[node].bias, err);
}

static enum sqz_status correct_bias(struct sqz_model *model, uint32_t node, const float *change, size_t rows,
                                    struct sqz_error *err) {
    bool any = false;
    for (size_t r = 0; r < rows; r++) any |= change[r] != 0;
    uint32_t bias = model->nodes[node].bias;
    if (!any || kernel_is_shared(model, node) || (bias != SQZ_NO_WEIGHT && bias_is_shared(model, node, bias)))
        return SQZ_OK;
    if (bias == SQZ_NO_WEIGHT) SQZ_TRY(add_bias(model, node, rows, err));
    struct sqz_weight *weight = &model->weights[model->nodes[node].bias];
    SQZ_TRY(sqz_weight_need_data(weight, err));
    sqz_packed_free(weight->packed);
    weight->packed = NULL;
    for (size_t r = 0; r < rows; r++) weight->data[r] += change[r];
    return SQZ_OK;
}

/* Put a result into the model; takes what it needs out of it. */
static enum sqz_status install(struct compression *compression, const struct layer *layer,
                               struct sqz_compensated *result, struct sqz_error *err) {
    struct sqz_weight *kernel = &compression->model->weights[layer->weight];
    size_t rows = (size_t)kernel->shape.dim[0];
    if (result->packed) SQZ_TRY(sqz_packed_check(result->packed, &kernel->shape, kernel->name, err));
    sqz_packed_free(kernel->packed);
    sqz_free(kernel->data);
    kernel->packed = result->packed;
    result->packed = NULL;
    kernel->data = NULL;
    if (!kernel->packed) {
        kernel->data = result->weights;
        result->weights = NULL;
    }
    if (compression->options->keep_bias || !layer->reached) return SQZ_OK;
    return correct_bias(compression->model, layer->node, result->bias_change, rows, err);
}

static enum sqz_status compress_layer(struct compression *compression, const struct layer *layer,
                                      struct sqz_layer_result *result, struct sqz_error *err) {
    const struct sqz_weight *kernel = &compression->reference->weights[layer->weight];
    const struct sqz_layer_setting *setting = &compression->options->settings[layer->weight];
    *result = (struct sqz_layer_result){
        .node = layer->node, .weight = layer->weight, .setting = *setting, .reached = layer->reached};
    struct sqz_moments *moments;
    SQZ_TRY(layer_moments(compression, layer, &moments, err));
    result->n_inputs = moments->n_inputs;
    result->n_blocks = moments->n_blocks;
    result->n_positions = layer->reached ? moments->n_positions : 0;
    const struct sqz_compensator_options options = {
        .damping = compression->options->damping, .keep_zeros = true, .keep_target = compression->options->keep_target};
    struct sqz_compensator *compensator;
    struct sqz_compensated compensated = {0};
    enum sqz_status status =
        sqz_compensator_new(moments, kernel->data, (size_t)kernel->shape.dim[0], &options, &compensator, err);
    if (status == SQZ_OK) status = run_method(compensator, setting, kernel, &compensated, err);
    if (status == SQZ_OK) {
        result->damping = sqz_compensator_damping(compensator);
        result->stats = compensated.stats;
        status = install(compression, layer, &compensated, err);
    }
    sqz_compensated_free(&compensated);
    sqz_compensator_free(compensator);
    sqz_moments_free(moments);
    return status;
}

/* ---- the whole model ------------------------------------------------------------ */

static enum sqz_status check_setting(const struct sqz_model *model, size_t weight,
                                     const struct sqz_layer_setting *setting, struct sqz_error *err) {
    const char *layer = sqz_model_layer_name(model, weight);
    bool uniform = setting->method == SQZ_LAYER_UNIFORM, codebook = setting->method == SQZ_LAYER_CODEBOOK;
    if (uniform && (!(setting->step >= 0) || !isfinite(setting->step)))
        return sqz_fail(err, SQZ_ARGUMENT, "layer %s: the step %g is not a number above 0", layer, setting->step);
    if ((codebook || (uniform && setting->step == 0)) &&
        (setting->bits < 1 || setting->bits > (codebook ? SQZ_MAX_BITS : 13)))
        return sqz_fail(err, SQZ_ARGUMENT, "layer %s: %u bits are outside 1..%d", layer, setting->bits,
                        codebook ? SQZ_MAX_BITS : 13);
    if (!model->weights[weight].data)
        return sqz_fail(err, SQZ_ARGUMENT, "layer %s: the float net's weights are not at hand", layer);
    return sqz_kernel_check_finite(model, weight, err);
}

static enum sqz_status compress_all(struct compression *compression, struct sqz_layer_result *results,
                                    size_t *n_results, struct sqz_error *err) {
    const struct sqz_sequential_options *options = compression->options;
    for (size_t i = 0; i < compression->n_layers; i++)
        SQZ_TRY(check_setting(compression->reference, compression->layers[i].weight,
                              &options->settings[compression->layers[i].weight], err));
    for (size_t i = 0; i < compression->n_layers; i++) {
        SQZ_TRY(compress_layer(compression, &compression->layers[i], &results[i], err));
        *n_results = i + 1;
        if (options->progress &&
            !options->progress(options->progress_context, i + 1, compression->n_layers, &results[i]))
            break;
    }
    return SQZ_OK;
}

enum sqz_status sqz_sequential_compress(struct sqz_model *model, const struct sqz_model *reference,
                                        const struct sqz_calibration *calibration,
                                        const struct sqz_sequential_options *options, struct sqz_layer_result *results,
                                        size_t *n_results, struct sqz_error *err) {
    *n_results = 0;
    if (model->n_nodes != reference->n_nodes || model->n_weights < reference->n_weights)
        return sqz_fail(err, SQZ_ARGUMENT, "the model and its float reference have different graphs");
    struct compression compression = {.model = model, .reference = reference, .options = options};
    compression.layers = sqz_alloc(reference->n_weights ? reference->n_weights : 1, sizeof *compression.layers);
    bool *live = sqz_alloc(reference->n_nodes, 2 * sizeof *live);
    struct sqz_shape *shapes = sqz_alloc(reference->n_nodes, sizeof *shapes);
    enum sqz_status status = compression.layers && live && shapes ? SQZ_OK : no_memory(err);
    if (status == SQZ_OK)
        status = sqz_infer_shapes(reference, 1, calibration->input.height, calibration->input.width, shapes, err);
    if (status == SQZ_OK)
        status = sqz_collector_new(calibration, reference, &options->collector, &compression.collector, err);
    if (status == SQZ_OK) {
        sqz_part_cuts(reference, shapes, live, live + reference->n_nodes);
        list_layers(&compression, live);
        status = compress_all(&compression, results, n_results, err);
    }
    sqz_collector_free(compression.collector);
    sqz_free(compression.layers);
    sqz_free(live);
    sqz_free(shapes);
    return status;
}

/* ---- comparing ------------------------------------------------------------------ */

/* Images for each run: enough to keep every thread busy. */
#define OUTPUT_BATCH 16

enum sqz_status sqz_calibration_outputs(const struct sqz_calibration *calibration, const struct sqz_model *model,
                                        float **outputs, size_t *output_count, struct sqz_error *err) {
    *outputs = NULL;
    const struct sqz_session_options options = {
        .max_batch = OUTPUT_BATCH, .height = calibration->input.height, .width = calibration->input.width};
    struct sqz_session *session;
    SQZ_TRY(sqz_session_new(model, &options, &session, err));
    size_t count = sqz_session_output_count(session), total;
    float *out = NULL;
    if (sqz_mul_size(count, calibration->n_images, &total)) out = sqz_alloc_aligned(total, sizeof *out);
    for (size_t begin = 0; out && begin < calibration->n_images; begin += OUTPUT_BATCH) {
        size_t n = calibration->n_images - begin < OUTPUT_BATCH ? calibration->n_images - begin : OUTPUT_BATCH;
        sqz_session_run(session, calibration->images + begin * calibration->image_count, n, out + begin * count);
    }
    sqz_session_free(session);
    if (!out) return no_memory(err);
    *outputs = out;
    *output_count = count;
    return SQZ_OK;
}

struct sqz_output_distance sqz_output_distance(const float *reference, const float *outputs, size_t n_images,
                                               size_t output_count, bool probabilities) {
    struct sqz_output_distance distance = {0, 0};
    size_t same = 0;
    for (size_t i = 0; i < n_images; i++) {
        const float *a = reference + i * output_count, *b = outputs + i * output_count;
        double kl = sqz_kl_divergence(a, b, output_count, probabilities);
        distance.mean_kl += isfinite(kl) ? kl : INFINITY;
        uint32_t best = sqz_best_class(a, output_count);
        same += best != SQZ_NO_CLASS && best == sqz_best_class(b, output_count);
    }
    distance.mean_kl /= n_images ? (double)n_images : 1;
    distance.agreement = n_images ? (double)same / (double)n_images : 0;
    return distance;
}
