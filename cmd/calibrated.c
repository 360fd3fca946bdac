/* calibrated.c - what sqz-quantize and sqz-prune share when weights are compressed on calibration images. */
#include "cmd/calibrated.h"

#include <math.h>
#include <string.h>

#include "cmd/progress.h"

bool cmd_calibrated_wanted(const struct cmd_calibrated *options) {
    const struct cmd_preprocess *p = &options->preprocess;
    return options->given || p->preset || p->scale || p->resize || p->crop || p->mean.n > 0 || p->std.n > 0 ||
           p->order_given || p->filter_given;
}

struct run {
    const struct cmd_common *common;
    struct cmd_progress progress;
};

static void name_bad_image(void *context, const char *name, const char *reason) {
    struct run *run = context;
    cmd_progress_end(&run->progress);
    cmd_warn(run->common, "%s: %s", name, reason);
}

static bool show_layer(void *context, size_t done, size_t total, const struct sqz_layer_result *result) {
    (void)result;
    struct run *run = context;
    cmd_progress_update(&run->progress, done, total);
    return true;
}

/* The images, drawn and prepared; errors name the folder. */
static enum sqz_status load_images(struct run *run, const struct cmd_calibrated *options, const struct sqz_input *input,
                                   struct sqz_calibration **out, struct sqz_error *err) {
    const struct sqz_dataset_options dataset_options = {.apply_exif = options->exif};
    struct sqz_dataset *dataset;
    enum sqz_status status = sqz_dataset_open(options->folder, &dataset_options, &dataset, err);
    if (status == SQZ_OK) {
        cmd_progress_begin(&run->progress, run->common, "read images");
        const struct sqz_calibration_options calibration_options = {
            .n_images = (size_t)options->n_images,
            .seed = (uint64_t)options->seed,
            .apply_exif = options->exif,
            .progress = cmd_progress_update,
            .progress_context = &run->progress,
            .bad_image = name_bad_image,
            .bad_context = run,
        };
        status = sqz_calibration_load(dataset, input, &calibration_options, out, err);
        cmd_progress_end(&run->progress);
        sqz_dataset_close(dataset);
    }
    /* Too few images are a fault of the folder, not of the command line. */
    if (status == SQZ_ARGUMENT) err->status = status = SQZ_BAD_IMAGE;
    if (status != SQZ_OK) sqz_error_set_file(err, options->folder);
    return status;
}

static enum sqz_status need_kernels(struct sqz_model *model, struct sqz_error *err) {
    for (size_t i = 0; i < model->n_weights; i++)
        if (model->weights[i].role == SQZ_ROLE_KERNEL) SQZ_TRY(sqz_weight_need_data(&model->weights[i], err));
    return SQZ_OK;
}

static enum sqz_status compress(struct run *run, const struct cmd_calibrated *options,
                                const struct sqz_layer_setting *settings, const char *title, struct sqz_model *model,
                                const struct sqz_calibration *calibration, struct sqz_layer_result *results,
                                size_t *n_results, struct sqz_error *err) {
    SQZ_TRY(need_kernels(model, err));
    struct sqz_model *reference;
    SQZ_TRY(sqz_model_clone(model, &reference, err));
    cmd_progress_begin(&run->progress, run->common, title);
    const struct sqz_sequential_options sequential = {
        .settings = settings,
        .damping = options->damping,
        .one_pass = options->one_pass,
        .collector = {.seed = (uint64_t)options->seed},
        .progress = show_layer,
        .progress_context = run,
    };
    enum sqz_status status =
        sqz_sequential_compress(model, reference, calibration, &sequential, results, n_results, err);
    cmd_progress_end(&run->progress);
    sqz_model_free(reference);
    if (status == SQZ_OK) status = sqz_calibration_record(calibration, model, err);
    return status;
}

static void warn_of_layers(const struct cmd_common *common, const struct sqz_model *model,
                           const struct sqz_layer_result *results, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *layer = sqz_model_layer_name(model, results[i].weight);
        if (!results[i].reached)
            cmd_warn(common, "layer %s: the result does not depend on it; compressed without calibration", layer);
        if (results[i].n_blocks > 1)
            cmd_note(common, "layer %s: %zu inputs taken in %zu blocks", layer, results[i].n_inputs,
                     results[i].n_blocks);
    }
}

int cmd_calibrated_run(const struct cmd_common *common, const struct cmd_calibrated *options,
                       const struct sqz_layer_setting *settings, const char *title, struct cmd_model *input,
                       struct sqz_layer_result **results, size_t *n_results) {
    struct run run = {.common = common};
    struct sqz_error err = {0};
    struct sqz_calibration *calibration = NULL;
    *results = NULL;
    int code = cmd_preprocess_apply(common, &options->preprocess, &input->model->input);
    if (code != CMD_CONTINUE) return code;
    enum sqz_status status = load_images(&run, options, &input->model->input, &calibration, &err);
    if (status == SQZ_OK) {
        *results = sqz_alloc(input->model->n_weights + 1, sizeof **results);
        status = *results
                     ? compress(&run, options, settings, title, input->model, calibration, *results, n_results, &err)
                     : sqz_fail(&err, SQZ_OUT_OF_MEMORY, "not enough memory");
    }
    sqz_calibration_free(calibration);
    if (status != SQZ_OK) {
        sqz_free(*results);
        *results = NULL;
        sqz_error_set_file(&err, input->path);
        return cmd_failure(common, &err);
    }
    warn_of_layers(common, input->model, *results, *n_results);
    return CMD_CONTINUE;
}

const char *cmd_calibrated_text(const struct cmd_calibrated *options, char buffer[CMD_CALIBRATED_TEXT]) {
    snprintf(buffer, CMD_CALIBRATED_TEXT, "calibrated on %ld images, seed %ld, damping %g, %s", options->n_images,
             options->seed, options->damping, options->one_pass ? "one pass" : "sequential");
    return buffer;
}

/* ---- reports -------------------------------------------------------------- */

/* The layer's error relative to its output's variance. */
static double relative(double error, const struct sqz_compensate_stats *stats) {
    return stats->output_power > 0 ? error / stats->output_power : NAN;
}

static double bits_per_weight(const struct sqz_compensate_stats *stats) {
    return stats->count > 0 ? stats->nbits / (double)stats->count : 0;
}

void cmd_calibrated_print(const struct sqz_model *model, const struct sqz_layer_result *results, size_t n,
                          FILE *stream) {
    static const char *const titles[] = {"<layer", "weights", "nonzero", "inputs", "bits/weight", "error %", "plain %"};
    struct cmd_table table;
    cmd_table_begin(&table, titles, 7);
    for (size_t i = 0; i < n; i++) {
        const struct sqz_compensate_stats *stats = &results[i].stats;
        cmd_table_cell(&table, "%s", sqz_model_layer_name(model, results[i].weight));
        cmd_table_cell(&table, "%zu", stats->count);
        cmd_table_cell(&table, "%zu", stats->nonzero);
        cmd_table_cell(&table, "%zu", results[i].n_inputs);
        cmd_table_cell(&table, "%.3f", bits_per_weight(stats));
        cmd_table_cell(&table, "%.3g", 100 * relative(stats->error, stats));
        cmd_table_cell(&table, "%.3g", 100 * relative(stats->plain_error, stats));
    }
    cmd_table_print(&table, stream);
    cmd_table_free(&table);
}

json_t *cmd_calibrated_json(const struct sqz_model *model, const struct sqz_layer_result *results, size_t n) {
    json_t *layers = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct sqz_compensate_stats *stats = &results[i].stats;
        json_array_append_new(layers,
                              json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:o, s:o, s:I}", "layer",
                                        cmd_json_text(sqz_model_layer_name(model, results[i].weight)), "weights",
                                        (json_int_t)stats->count, "nonzero", (json_int_t)stats->nonzero, "inputs",
                                        (json_int_t)results[i].n_inputs, "blocks", (json_int_t)results[i].n_blocks,
                                        "positions", (json_int_t)results[i].n_positions, "reached", results[i].reached,
                                        "entropy_nbits", cmd_json_real(stats->nbits), "relative_error",
                                        cmd_json_real(relative(stats->error, stats)), "plain_relative_error",
                                        cmd_json_real(relative(stats->plain_error, stats)), "damping",
                                        cmd_json_real(results[i].damping), "dead_inputs", (json_int_t)stats->n_dead));
    }
    return layers;
}
