/* eval_report.c - what sqz-eval prints. */
#include "cmd/eval_report.h"

#include <math.h>
#include <string.h>

#include "lib/files.h"
#include "lib/parallel.h"

static double part(size_t n, size_t total) {
    return total ? (double)n / (double)total : 0;
}

double cmd_top1(const struct cmd_eval_result *result, size_t subject) {
    return part(result->evaluation->score[subject].top1_correct, result->evaluation->n_images);
}

double cmd_top5(const struct cmd_eval_result *result, size_t subject) {
    return part(result->evaluation->score[subject].top5_correct, result->evaluation->n_images);
}

/* ---- layers ------------------------------------------------------------- */

static const struct sqz_weight *same_weight(const struct sqz_model *baseline, const struct sqz_weight *weight) {
    for (size_t i = 0; baseline && i < baseline->n_weights; i++)
        if (strcmp(baseline->weights[i].name, weight->name) == 0 &&
            sqz_shape_equal(&baseline->weights[i].shape, &weight->shape))
            return &baseline->weights[i];
    return NULL;
}

static enum sqz_status float_copy(const struct sqz_weight *weight, float **out, struct sqz_error *err) {
    *out = sqz_alloc(weight->count, sizeof **out);
    if (!*out) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for weight %s", weight->name);
    if (weight->packed)
        sqz_packed_unpack(weight->packed, (size_t)weight->shape.dim[0], *out);
    else
        memcpy(*out, weight->data, weight->count * sizeof **out);
    return SQZ_OK;
}

static enum sqz_status compare_weights(const struct sqz_weight *weight, const struct sqz_weight *before,
                                       struct cmd_layer_change *change, struct sqz_error *err) {
    float *after_values = NULL, *before_values = NULL;
    enum sqz_status status = float_copy(weight, &after_values, err);
    if (status == SQZ_OK) status = float_copy(before, &before_values, err);
    double error = 0, energy = 0;
    for (size_t i = 0; status == SQZ_OK && i < weight->count; i++) {
        double w = before_values[i], d = (double)after_values[i] - w;
        if (fabs(d) > change->max_change) change->max_change = fabs(d);
        error += d * d;
        energy += w * w;
    }
    change->relative_error = energy > 0 ? sqrt(error / energy) : 0;
    change->compared = status == SQZ_OK;
    sqz_free(after_values);
    sqz_free(before_values);
    return status;
}

enum sqz_status cmd_layer_changes(struct sqz_model *model, struct sqz_model *baseline, struct cmd_layer_change **out,
                                  size_t *out_n, struct sqz_error *err) {
    *out_n = 0;
    *out = sqz_alloc0(model->n_weights + 1, sizeof **out);
    if (!*out) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct sqz_weight *weight = &model->weights[i];
        if (weight->role != SQZ_ROLE_KERNEL) continue;
        struct cmd_layer_change *change = &(*out)[(*out_n)++];
        *change = (struct cmd_layer_change){
            .layer = sqz_model_layer_name(model, i), .count = weight->count, .nonzero = cmd_weight_nonzero(weight)};
        const struct sqz_weight *before = same_weight(baseline, weight);
        if (before) SQZ_TRY(compare_weights(weight, before, change, err));
    }
    return SQZ_OK;
}

static void print_layers(const struct cmd_eval_result *result) {
    static const char *const titles[] = {"<layer", "weights", "density", "max |dw|", "relative error"};
    struct cmd_table table;
    cmd_table_begin(&table, titles, result->baseline ? 5 : 3);
    for (size_t i = 0; i < result->n_layers; i++) {
        const struct cmd_layer_change *layer = &result->layers[i];
        cmd_table_cell(&table, "%s", layer->layer);
        cmd_table_cell(&table, "%zu", layer->count);
        cmd_table_cell(&table, "%.4f", part(layer->nonzero, layer->count));
        if (!result->baseline) continue;
        if (layer->compared) {
            cmd_table_cell(&table, "%.5g", layer->max_change);
            cmd_table_cell(&table, "%.5f", layer->relative_error);
        } else {
            cmd_table_cell(&table, "-");
            cmd_table_cell(&table, "-");
        }
    }
    printf("\n");
    cmd_table_print(&table, stdout);
    cmd_table_free(&table);
}

/* ---- text --------------------------------------------------------------- */

static void print_accuracy(const char *title, size_t correct, size_t total) {
    struct sqz_interval interval = sqz_wilson95(correct, total);
    printf("%-12s %zu of %zu, %.2f%% (95%% interval %.2f to %.2f)\n", title, correct, total, 100 * part(correct, total),
           100 * interval.low, 100 * interval.high);
}

static void print_against_baseline(const struct cmd_eval_result *result) {
    const struct sqz_evaluation *evaluation = result->evaluation;
    const struct cmd_subject *baseline = result->baseline;
    size_t model_nbytes = result->model->model.file_nbytes;
    printf("baseline     %s: top-1 %zu, top-5 %zu\n", baseline->model.path, evaluation->score[1].top1_correct,
           evaluation->score[1].top5_correct);
    printf("drop         %.2f points of top-1, McNemar p = %.3g (%zu right with the model alone, %zu with the baseline "
           "alone)\n",
           100 * (cmd_top1(result, 1) - cmd_top1(result, 0)),
           sqz_mcnemar_exact(evaluation->only_model, evaluation->only_baseline), evaluation->only_model,
           evaluation->only_baseline);
    printf("agreement    %.4f of the best classes, mean KL %.5f nats\n", evaluation->agreement, evaluation->mean_kl);
    printf("size         %.2f times smaller than the baseline's file (%zu bytes)\n",
           cmd_ratio(baseline->model.file_nbytes, model_nbytes), baseline->model.file_nbytes);
}

void cmd_eval_print_text(const struct cmd_eval_result *result) {
    const struct sqz_evaluation *evaluation = result->evaluation;
    const struct sqz_score *score = &evaluation->score[0];
    const struct cmd_subject *model = result->model;
    char text[CMD_INPUT_TEXT];
    printf("model        %s: %s, %s\n", model->model.path, model->model.model->arch, model->stage);
    printf("images       %s\n", sqz_dataset_description(result->dataset));
    printf("input        %s\n", cmd_input_text(&model->model.model->input, text));
    print_accuracy("top-1", score->top1_correct, evaluation->n_images);
    print_accuracy("top-5", score->top5_correct, evaluation->n_images);
    if (evaluation->n_bad) printf("broken       %zu images, counted as wrong\n", evaluation->n_bad);
    if (score->n_nan) printf("NaN          %zu results, counted as wrong\n", score->n_nan);
    if (result->baseline) print_against_baseline(result);
    printf("bytes        %zu, %.2f times smaller than float32 (%zu), %.3f bits per weight, density %.4f\n",
           model->model.file_nbytes, cmd_ratio(model->float_nbytes, model->model.file_nbytes), model->float_nbytes,
           cmd_bits_per_weight(model), model->facts.density);
    printf("time         %.1f ms to decode, %.2f ms per image (median; batch %u, %d threads, %s)\n", model->decode_ms,
           score->run_ms_median, result->batch, sqz_threads(), sqz_isa_name(sqz_isa_detect()));
    printf("memory       %.1f MB at the peak\n", (double)cmd_peak_nbytes() / 1e6);
    if (result->layers) print_layers(result);
}

/* ---- JSON --------------------------------------------------------------- */

static json_t *interval_json(size_t correct, size_t total) {
    struct sqz_interval interval = sqz_wilson95(correct, total);
    return json_pack("[o, o]", cmd_json_real(interval.low), cmd_json_real(interval.high));
}

static void add_baseline_json(json_t *json, const struct cmd_eval_result *result) {
    const struct sqz_evaluation *evaluation = result->evaluation;
    const struct cmd_subject *baseline = result->baseline;
    json_t *more = json_pack(
        "{s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "baseline", cmd_json_text(baseline->model.path),
        "baseline_nbytes", (json_int_t)baseline->model.file_nbytes, "baseline_top1_correct",
        (json_int_t)evaluation->score[1].top1_correct, "baseline_top5_correct",
        (json_int_t)evaluation->score[1].top5_correct, "agreement", cmd_json_real(evaluation->agreement), "mean_kl",
        cmd_json_real(evaluation->mean_kl), "top1_drop", cmd_json_real(cmd_top1(result, 1) - cmd_top1(result, 0)),
        "ratio_to_baseline", cmd_json_real(cmd_ratio(baseline->model.file_nbytes, result->model->model.file_nbytes)),
        "mcnemar_p", cmd_json_real(sqz_mcnemar_exact(evaluation->only_model, evaluation->only_baseline)),
        "only_model_correct", (json_int_t)evaluation->only_model, "only_baseline_correct",
        (json_int_t)evaluation->only_baseline);
    json_object_update(json, more);
    json_decref(more);
}

static json_t *layers_json(const struct cmd_eval_result *result) {
    json_t *layers = json_array();
    for (size_t i = 0; i < result->n_layers; i++) {
        const struct cmd_layer_change *layer = &result->layers[i];
        json_t *object = json_pack("{s:o, s:I, s:I, s:o}", "layer", cmd_json_text(layer->layer), "weights",
                                   (json_int_t)layer->count, "nonzero", (json_int_t)layer->nonzero, "density",
                                   cmd_json_real(part(layer->nonzero, layer->count)));
        if (layer->compared) {
            json_object_set_new(object, "max_change", cmd_json_real(layer->max_change));
            json_object_set_new(object, "relative_error", cmd_json_real(layer->relative_error));
        }
        json_array_append_new(layers, object);
    }
    return layers;
}

int cmd_eval_print_json(const struct cmd_common *common, const struct cmd_eval_result *result) {
    const struct sqz_evaluation *evaluation = result->evaluation;
    const struct sqz_score *score = &evaluation->score[0];
    const struct cmd_subject *model = result->model;
    size_t n = evaluation->n_images;
    char text[CMD_INPUT_TEXT];
    json_t *json = json_pack(
        "{s:o, s:o, s:s, s:I, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o}",
        "model", cmd_json_text(model->model.path), "arch", cmd_json_text(model->model.model->arch), "stage",
        model->stage, "file_nbytes", (json_int_t)model->model.file_nbytes, "float_nbytes",
        (json_int_t)model->float_nbytes, "ratio",
        cmd_json_real(cmd_ratio(model->float_nbytes, model->model.file_nbytes)), "density",
        cmd_json_real(model->facts.density), "bits_per_weight", cmd_json_real(cmd_bits_per_weight(model)), "images",
        (json_int_t)n, "bad_images", (json_int_t)evaluation->n_bad, "nan_images", (json_int_t)score->n_nan,
        "top1_correct", (json_int_t)score->top1_correct, "top5_correct", (json_int_t)score->top5_correct, "top1",
        cmd_json_real(cmd_top1(result, 0)), "top5", cmd_json_real(cmd_top5(result, 0)), "top1_interval95",
        interval_json(score->top1_correct, n), "top5_interval95", interval_json(score->top5_correct, n), "decode_ms",
        cmd_json_real(model->decode_ms), "ms_per_image", cmd_json_real(score->run_ms_median), "peak_nbytes",
        (json_int_t)cmd_peak_nbytes(), "preprocessing",
        cmd_json_text(cmd_input_text(&model->model.model->input, text)));
    if (json)
        json_object_set_new(json, "calibration_images",
                            cmd_json_size(result->overlap.convicted ? result->overlap.n_likely : 0));
    if (json && result->baseline) add_baseline_json(json, result);
    if (json && result->layers) json_object_set_new(json, "layers", layers_json(result));
    return cmd_json_print(common, json, stdout);
}

/* ---- predictions -------------------------------------------------------- */

enum sqz_status cmd_eval_write_predictions(const struct cmd_eval_result *result, const char *path,
                                           struct sqz_error *err) {
    const struct sqz_evaluation *evaluation = result->evaluation;
    const struct sqz_score *score = &evaluation->score[0];
    struct sqz_output out;
    SQZ_TRY(sqz_output_begin(path, &out, err));
    for (size_t i = 0; i < evaluation->n_images; i++) {
        fputs(sqz_dataset_name(result->dataset, i), out.stream);
        for (int k = 0; k < SQZ_TOP && score->top[i][k] != SQZ_NO_CLASS; k++)
            fprintf(out.stream, " %u", score->top[i][k]);
        fprintf(out.stream, "\t%d %.6f\n", evaluation->labels[i], (double)score->confidence[i]);
    }
    return sqz_output_commit(&out, NULL, err);
}
