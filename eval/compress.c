/* compress.c - a net with its images and its sweep: building one candidate file. */
#include "eval/compress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "eval/allocate.h"
#include "eval/compress_parts.h"
#include "eval/image_digest.h"

/* ---- settings to try ------------------------------------------------------- */

/* Steps in standard deviations of the layer's weights: from 5 bits for most weights to a few survivors. */
static const double uniform_steps[] = {0.12, 0.25, 0.5, 1, 2, 4};

static size_t uniform_settings(const struct sqz_compress_options *options, struct sqz_layer_setting *settings) {
    const size_t n = sizeof uniform_steps / sizeof *uniform_steps;
    for (size_t i = 0; i < n; i++)
        settings[i] = (struct sqz_layer_setting){.method = SQZ_LAYER_UNIFORM,
                                                 .step = uniform_steps[i],
                                                 .lambda = options->classic ? 0 : options->lambda,
                                                 .per_channel = options->per_channel};
    return n;
}

/* Calibrated codebooks: the price of a bit says how many weights become zero, so two prices serve each size. */
static size_t codebook_settings(struct sqz_layer_setting *settings) {
    static const double prices[] = {0.02, 0.15};
    size_t n = 0;
    for (unsigned bits = 1; bits <= 6; bits++)
        for (size_t k = 0; k < 2; k++)
            settings[n++] = (struct sqz_layer_setting){
                .method = SQZ_LAYER_CODEBOOK, .bits = bits, .lambda = prices[k], .may_prune = true};
    return n;
}

/* As in the Deep Compression paper: pruned by magnitude, then k-means. */
static size_t classic_settings(struct sqz_layer_setting *settings) {
    static const double densities[] = {1, 0.8, 0.6, 0.4};
    static const unsigned bits[] = {2, 3, 4, 5, 6, 8};
    size_t n = 0;
    for (size_t i = 0; i < sizeof densities / sizeof *densities; i++)
        for (size_t k = 0; k < sizeof bits / sizeof *bits; k++)
            settings[n++] = (struct sqz_layer_setting){
                .method = SQZ_LAYER_CODEBOOK, .bits = bits[k], .density = densities[i]};
    return n;
}

static void choose_settings(struct sqz_compressor *c) {
    if (c->options.levels == SQZ_COMPRESS_UNIFORM)
        c->n_settings = uniform_settings(&c->options, c->settings);
    else
        c->n_settings = c->options.classic ? classic_settings(c->settings) : codebook_settings(c->settings);
}

/* ---- images -------------------------------------------------------------- */

struct loading {
    struct sqz_compressor *compressor;
    const char *stage;
};

static void report_loading(void *context, size_t done, size_t total) {
    const struct loading *loading = context;
    sqz_compressor_report(loading->compressor, loading->stage, done, total);
}

/* Below this many images none can be spared for measuring alone. */
#define MIN_FOR_PROBE 64

static enum sqz_status load_images(struct sqz_compressor *c, const struct sqz_dataset *dataset,
                                   struct sqz_error *err) {
    struct loading loading = {c, "read images"};
    const struct sqz_calibration_options options = {
        .n_images = c->options.n_images + c->options.n_probe,
        .seed = c->options.seed,
        .apply_exif = c->options.apply_exif,
        .progress = report_loading,
        .progress_context = &loading,
        .bad_image = c->options.bad_image,
        .bad_context = c->options.context,
    };
    SQZ_TRY(sqz_calibration_load(dataset, &c->model->input, &options, &c->images, err));
    size_t n = c->images->n_images, n_probe = c->options.n_probe;
    if (n < MIN_FOR_PROBE) {
        c->statistics = sqz_calibration_part(c->images, 0, n);
        c->probe_images = c->statistics;
        return SQZ_OK;
    }
    if (n < c->options.n_images + n_probe && n_probe > n / 4) n_probe = n / 4;
    c->statistics = sqz_calibration_part(c->images, 0, n - n_probe);
    c->probe_images = sqz_calibration_part(c->images, n - n_probe, n_probe);
    return SQZ_OK;
}

/* ---- the cache ------------------------------------------------------------ */

/* Positions for the sweep, whose divergences are known to 10% at best, unless the caller says how many. */
#define SWEEP_POSITIONS 160

static size_t sweep_positions(const struct sqz_compressor *c) {
    return c->options.positions_per_image ? c->options.positions_per_image : SWEEP_POSITIONS;
}

static size_t final_positions(const struct sqz_compressor *c) {
    return c->options.positions_per_image ? c->options.positions_per_image : SQZ_COMPRESS_POSITIONS;
}

/* Raise it when the meaning of a sweep's numbers changes. */
#define SWEEP_VERSION 1

static void add_number(struct sqz_sha256 *hash, double v) {
    char text[32];
    int n = snprintf(text, sizeof text, "%.17g;", v);
    sqz_sha256_add(hash, text, (size_t)n);
}

static enum sqz_status make_key(struct sqz_compressor *c, struct sqz_error *err) {
    uint8_t model[SQZ_SHA256_NBYTES];
    struct sqz_sha256 hash;
    SQZ_TRY(sqz_model_digest(c->model, model, err));
    sqz_sha256_begin(&hash);
    sqz_sha256_add(&hash, model, sizeof model);
    add_number(&hash, SWEEP_VERSION);
    add_number(&hash, c->options.classic);
    add_number(&hash, c->options.damping);
    add_number(&hash, (double)sweep_positions(c));
    add_number(&hash, (double)c->options.seed);
    add_number(&hash, (double)c->statistics.n_images);
    add_number(&hash, (double)c->probe_images.n_images);
    for (size_t i = 0; i < c->n_settings; i++) {
        const struct sqz_layer_setting *s = &c->settings[i];
        const double numbers[] = {s->method, s->step, s->bits, s->density, s->lambda, s->per_channel, s->may_prune};
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) add_number(&hash, numbers[k]);
    }
    sqz_sha256_add(&hash, c->images->digests, c->images->n_images * sizeof *c->images->digests);
    sqz_sha256_end(&hash, c->key);
    return SQZ_OK;
}

/* The file that the cache option means; a folder gets one named after the key. */
static enum sqz_status name_cache(struct sqz_compressor *c, struct sqz_error *err) {
    struct stat info;
    if (!c->options.cache) return SQZ_OK;
    size_t length = strlen(c->options.cache);
    c->cache = sqz_alloc(length + 48, 1);
    if (!c->cache) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    memcpy(c->cache, c->options.cache, length + 1);
    if (stat(c->cache, &info) != 0 || !S_ISDIR(info.st_mode)) return SQZ_OK;
    char digits[SQZ_SHA256_TEXT];
    snprintf(c->cache + length, 48, "/sqz-%.16s.sweep", sqz_sha256_format(c->key, digits));
    return SQZ_OK;
}

/* ---- setting up ------------------------------------------------------------- */

void sqz_compressor_report(const struct sqz_compressor *c, const char *stage, size_t done, size_t total) {
    if (c->options.progress) c->options.progress(c->options.context, stage, done, total);
}

static enum sqz_status sweep(struct sqz_compressor *c, struct sqz_error *err) {
    struct loading loading = {c, "measure layers"};
    const struct sqz_sensitivity_options options = {
        .settings = c->settings,
        .n_settings = c->n_settings,
        .classic = c->options.classic,
        .damping = c->options.damping,
        .collector = {.positions_per_image = sweep_positions(c), .seed = c->options.seed},
        .progress = report_loading,
        .progress_context = &loading,
        .cache = c->cache,
        .cache_key = c->key,
    };
    SQZ_TRY(sqz_sensitivity_measure(c->model, &c->statistics, c->probe, &options, &c->sensitivity, &c->n_cached, err));
    return c->sensitivity.n_layers ? SQZ_OK : sqz_fail(err, SQZ_UNSUPPORTED, "the net has no layer with weights");
}

static struct sqz_curve_point curve_point(const struct sqz_sensitivity_point *point, double setting) {
    double error = point->output_power > 0 ? point->error / point->output_power : 0;
    return (struct sqz_curve_point){setting, point->nbits, point->kl, error};
}

/* Curves for the allocation; a layer that is not reached has only its coarsest point. */
static enum sqz_status make_curves(struct sqz_compressor *c, struct sqz_error *err) {
    size_t n = c->sensitivity.n_layers, per_layer = c->n_settings;
    bool smooth = c->options.levels == SQZ_COMPRESS_UNIFORM;
    c->curves = sqz_alloc0(n, sizeof *c->curves);
    c->points = sqz_alloc0(n * per_layer, sizeof *c->points);
    c->choices = sqz_alloc0(n, sizeof *c->choices);
    if (!c->curves || !c->points || !c->choices) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (size_t i = 0; i < n; i++) {
        const struct sqz_layer_sensitivity *layer = &c->sensitivity.layers[i];
        struct sqz_curve_point *points = c->points + i * per_layer;
        for (size_t k = 0; k < per_layer; k++)
            points[k] = curve_point(&layer->points[k], smooth ? layer->points[k].setting.step : (double)(k + 1));
        c->curves[i] = (struct sqz_curve){per_layer, points, smooth};
    }
    struct sqz_allocation smallest;
    SQZ_TRY(sqz_allocate(c->curves, n, 0, c->choices, &smallest, err));
    c->smallest_nbits = smallest.nbits;
    return SQZ_OK;
}

/* All levels zero: what graph, biases and tables take. */
static enum sqz_status measure_fixed(struct sqz_compressor *c, struct sqz_error *err) {
    struct sqz_model *model = NULL;
    struct sqz_buffer file = {0};
    SQZ_TRY(sqz_model_clone(c->model, &model, err));
    enum sqz_status status = sqz_calibration_record(c->images, model, err);
    for (size_t i = 0; status == SQZ_OK && i < c->sensitivity.n_layers; i++) {
        struct sqz_weight *weight = &model->weights[c->sensitivity.layers[i].weight];
        const struct sqz_layer_setting setting = {.method = SQZ_LAYER_UNIFORM, .step = 1};
        memset(weight->data, 0, weight->count * sizeof(float));
        status = sqz_classic_layer(weight, &setting, &weight->packed, err);
    }
    if (status == SQZ_OK) status = sqz_container_encode(model, &c->options.encode, &file, err);
    c->fixed_nbytes = file.nbytes;
    sqz_buffer_free(&file);
    sqz_model_free(model);
    return status;
}

static enum sqz_status set_up(struct sqz_compressor *c, const struct sqz_dataset *dataset, struct sqz_error *err) {
    for (size_t i = 0; i < c->model->n_weights; i++) {
        struct sqz_weight *weight = &c->model->weights[i];
        SQZ_TRY(sqz_weight_need_data(weight, err));
        /* The levels of a net that was compressed before say nothing that the floats do not. */
        sqz_packed_free(weight->packed);
        weight->packed = NULL;
    }
    choose_settings(c);
    SQZ_TRY(load_images(c, dataset, err));
    SQZ_TRY(make_key(c, err));
    SQZ_TRY(name_cache(c, err));
    SQZ_TRY(sqz_probe_new(c->model, c->probe_images.images, c->probe_images.n_images, &c->probe, err));
    SQZ_TRY(sweep(c, err));
    SQZ_TRY(sqz_probe_start_at(c->probe, 0, err));
    SQZ_TRY(make_curves(c, err));
    return measure_fixed(c, err);
}

enum sqz_status sqz_compressor_new(struct sqz_model *model, const struct sqz_dataset *dataset,
                                   const struct sqz_compress_options *options, struct sqz_compressor **out,
                                   struct sqz_error *err) {
    struct sqz_compressor *c = sqz_alloc0(1, sizeof *c);
    if (!c) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    c->model = model;
    c->options = *options;
    if (c->options.n_images == 0) c->options.n_images = SQZ_COMPRESS_IMAGES;
    if (c->options.n_probe == 0) c->options.n_probe = SQZ_COMPRESS_PROBE_IMAGES;
    if (c->options.lambda < 0) c->options.lambda = SQZ_COMPRESS_LAMBDA;
    if (c->options.damping == 0) c->options.damping = SQZ_COMPRESS_DAMPING;
    enum sqz_status status = set_up(c, dataset, err);
    if (status != SQZ_OK) {
        sqz_compressor_free(c);
        return status;
    }
    *out = c;
    return SQZ_OK;
}

void sqz_compressor_free(struct sqz_compressor *c) {
    if (!c) return;
    sqz_sensitivity_free(&c->sensitivity);
    sqz_probe_free(c->probe);
    sqz_calibration_free(c->images);
    sqz_holdout_free(&c->holdout);
    sqz_free(c->curves);
    sqz_free(c->points);
    sqz_free(c->choices);
    sqz_free(c->cache);
    sqz_free(c);
}

const struct sqz_sensitivity *sqz_compressor_sensitivity(const struct sqz_compressor *compressor) {
    return &compressor->sensitivity;
}

struct sqz_compressor_facts sqz_compressor_facts(const struct sqz_compressor *c) {
    return (struct sqz_compressor_facts){
        .n_layers = c->sensitivity.n_layers,
        .n_cached = c->n_cached,
        .n_images = c->statistics.n_images,
        .n_probe = c->probe_images.n_images,
        .n_bad = c->images->n_bad,
        .fixed_nbytes = c->fixed_nbytes,
    };
}

/* ---- one candidate ---------------------------------------------------------- */

void sqz_candidate_free(struct sqz_candidate *candidate) {
    sqz_buffer_free(&candidate->file);
    *candidate = (struct sqz_candidate){0};
}

/* settings[n_weights] as allocated; the layer's own point with the step or the number of the point replaced. */
static void fill_settings(const struct sqz_compressor *c, struct sqz_layer_setting *settings) {
    for (size_t i = 0; i < c->sensitivity.n_layers; i++) {
        const struct sqz_layer_sensitivity *layer = &c->sensitivity.layers[i];
        bool smooth = c->curves[i].smooth;
        size_t point = smooth ? 0 : (size_t)(c->choices[i].setting + 0.5) - 1;
        settings[layer->weight] = layer->points[point].setting;
        if (!smooth) continue;
        settings[layer->weight].step = c->choices[i].setting;
        settings[layer->weight].trellis_states = c->options.trellis_states;
    }
}

static bool report_layer(void *context, size_t done, size_t total, const struct sqz_layer_result *result) {
    const struct sqz_compressor *c = context;
    (void)result;
    sqz_compressor_report(c, c->stage, done, total);
    return true;
}

static enum sqz_status compress_classic(const struct sqz_compressor *c, const struct sqz_layer_setting *settings,
                                        struct sqz_model *model, struct sqz_error *err) {
    for (size_t i = 0; i < c->sensitivity.n_layers; i++) {
        size_t index = c->sensitivity.layers[i].weight;
        struct sqz_weight *weight = &model->weights[index];
        struct sqz_packed *packed = NULL;
        SQZ_TRY(sqz_classic_layer(weight, &settings[index], &packed, err));
        sqz_free(weight->data);
        weight->data = NULL;
        weight->packed = packed;
        sqz_compressor_report(c, c->stage, i + 1, c->sensitivity.n_layers);
    }
    return SQZ_OK;
}

static enum sqz_status compress_calibrated(struct sqz_compressor *c, const struct sqz_layer_setting *settings,
                                           struct sqz_model *model, struct sqz_error *err) {
    const struct sqz_sequential_options options = {
        .settings = settings,
        .damping = c->options.damping,
        .collector = {.positions_per_image = final_positions(c), .seed = c->options.seed},
        .progress = report_layer,
        .progress_context = c,
    };
    struct sqz_layer_result *results = sqz_alloc0(model->n_weights + 1, sizeof *results);
    size_t n_results;
    if (!results) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    enum sqz_status status =
        sqz_sequential_compress(model, c->model, &c->statistics, &options, results, &n_results, err);
    sqz_free(results);
    return status;
}

static enum sqz_status measure(struct sqz_compressor *c, struct sqz_candidate *out, struct sqz_error *err) {
    struct sqz_model *decoded = NULL;
    struct sqz_divergence divergence = {0};
    SQZ_TRY(sqz_container_decode(out->file.data, out->file.nbytes, 0, &decoded, err));
    enum sqz_status status = sqz_probe_measure(c->probe, decoded, &divergence, err);
    out->kl = divergence.kl;
    out->agreement = divergence.agreement;
    if (status == SQZ_OK && c->holdout.dataset) status = sqz_holdout_measure(&c->holdout, decoded, out, err);
    sqz_model_free(decoded);
    return status;
}

static enum sqz_status compress_and_encode(struct sqz_compressor *c, struct sqz_model *model,
                                           struct sqz_candidate *out, struct sqz_error *err) {
    struct sqz_layer_setting *settings = sqz_alloc0(model->n_weights + 1, sizeof *settings);
    if (!settings) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    fill_settings(c, settings);
    enum sqz_status status = c->options.classic ? compress_classic(c, settings, model, err)
                                                : compress_calibrated(c, settings, model, err);
    sqz_free(settings);
    if (status == SQZ_OK) status = sqz_calibration_record(c->images, model, err);
    if (status == SQZ_OK && c->holdout.dataset) status = sqz_holdout_record(&c->holdout, model, err);
    if (status == SQZ_OK) status = sqz_container_encode(model, &c->options.encode, &out->file, err);
    return status;
}

enum sqz_status sqz_compressor_build(struct sqz_compressor *c, double target_nbits, struct sqz_candidate *out,
                                     struct sqz_error *err) {
    struct sqz_allocation allocation;
    size_t n = c->sensitivity.n_layers;
    struct sqz_model *model = NULL;
    *out = (struct sqz_candidate){.target_nbits = target_nbits};
    SQZ_TRY(sqz_allocate(c->curves, n, target_nbits, c->choices, &allocation, err));
    out->nbits = allocation.nbits;
    out->predicted_kl = allocation.kl;
    out->is_smallest = allocation.nbits <= c->smallest_nbits;
    out->is_largest = allocation.lambda <= SQZ_ALLOCATION_FREE;
    snprintf(c->stage, sizeof c->stage, "compress, try %u", ++c->n_tries);
    SQZ_TRY(sqz_model_clone(c->model, &model, err));
    enum sqz_status status = compress_and_encode(c, model, out, err);
    sqz_model_free(model);
    if (status == SQZ_OK) status = measure(c, out, err);
    if (status != SQZ_OK) {
        sqz_candidate_free(out);
        return status;
    }
    char result[80];
    snprintf(result, sizeof result, "try %u gave %zu bytes, divergence %.4f", c->n_tries, out->file.nbytes, out->kl);
    sqz_compressor_report(c, result, 1, 1);
    return SQZ_OK;
}
