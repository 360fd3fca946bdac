/* cmd_compare.c - sqz-compare: tabulates size and accuracy of several models. */
#include <string.h>

#include "cmd/commands.h"
#include "cmd/data_options.h"
#include "cmd/engine_options.h"
#include "cmd/progress.h"
#include "cmd/report.h"
#include "cmd/subject.h"

struct compare {
    struct cmd_common common;
    struct cmd_preprocess preprocess;
    struct cmd_data data;
    struct cmd_engine engine;
    bool csv;
    json_t *references; /* architecture -> top-1 of its first model, which the others of it are compared with */
    struct cmd_table table;
    json_t *rows;
};

/* Text for people and CSV have the same columns; JSON uses the keys of sqz-eval. */
static const char *const titles[] = {"<model",          "<stage", "bytes", "ratio", "density",
                                     "bits per weight", "top-1",  "top-5", "drop",  "ms per image"};

/* Percentage points that top1 lies below that of the first model of the same architecture. */
static double drop_of(struct compare *compare, const char *arch, double top1) {
    json_t *reference = json_object_get(compare->references, arch);
    if (reference) return json_real_value(reference) - top1;
    json_object_set_new(compare->references, arch, json_real(top1));
    return 0;
}

static void add_row(struct compare *compare, const struct cmd_subject *subject,
                    const struct sqz_evaluation *evaluation) {
    const struct sqz_score *score = &evaluation->score[0];
    double n = (double)evaluation->n_images;
    double top1 = (double)score->top1_correct / n, top5 = (double)score->top5_correct / n;
    double ratio = cmd_ratio(subject->float_nbytes, subject->model.file_nbytes);
    double drop = drop_of(compare, subject->model.model->arch, top1);
    struct cmd_table *table = &compare->table;
    cmd_table_cell(table, "%s", subject->model.path);
    cmd_table_cell(table, "%s", subject->stage);
    cmd_table_cell(table, "%zu", subject->model.file_nbytes);
    cmd_table_cell(table, "%.2f", ratio);
    cmd_table_cell(table, "%.4f", subject->facts.density);
    cmd_table_cell(table, "%.3f", cmd_bits_per_weight(subject));
    cmd_table_cell(table, "%.2f", 100 * top1);
    cmd_table_cell(table, "%.2f", 100 * top5);
    cmd_table_cell(table, "%.2f", 100 * drop);
    cmd_table_cell(table, "%.3f", score->run_ms_median);
    json_array_append_new(
        compare->rows,
        json_pack("{s:o, s:s, s:I, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "model",
                  cmd_json_text(subject->model.path), "stage", subject->stage, "file_nbytes",
                  (json_int_t)subject->model.file_nbytes, "float_nbytes", (json_int_t)subject->float_nbytes, "ratio",
                  cmd_json_real(ratio), "density", cmd_json_real(subject->facts.density), "bits_per_weight",
                  cmd_json_real(cmd_bits_per_weight(subject)), "images", (json_int_t)evaluation->n_images, "bad_images",
                  (json_int_t)evaluation->n_bad, "top1_correct", (json_int_t)score->top1_correct, "top5_correct",
                  (json_int_t)score->top5_correct, "top1", cmd_json_real(top1), "top5", cmd_json_real(top5),
                  "top1_drop", cmd_json_real(drop), "ms_per_image", cmd_json_real(score->run_ms_median)));
}

static void name_bad_image(void *context, const char *name, const char *reason) {
    cmd_warn(context, "%s: %s", name, reason);
}

static enum sqz_status evaluate(const struct compare *compare, const struct cmd_subject *subject,
                                struct sqz_evaluation *out, struct sqz_error *err) {
    const struct sqz_dataset_options dataset_options = cmd_data_dataset(&compare->data, subject->n_classes);
    struct cmd_progress progress;
    cmd_progress_begin(&progress, &compare->common, subject->model.path);
    const struct sqz_evaluate_options options = {
        .limit = (size_t)compare->data.limit,
        .batch = (uint32_t)compare->data.batch,
        .label_offset = (int)compare->data.label_offset,
        .progress = cmd_progress_update,
        .progress_context = &progress,
        .bad_image = name_bad_image,
        .bad_context = (void *)&compare->common,
    };
    struct sqz_dataset *dataset;
    SQZ_TRY(sqz_dataset_open(compare->data.path, &dataset_options, &dataset, err));
    struct sqz_subject view = cmd_subject_view(subject);
    enum sqz_status status = sqz_evaluate(dataset, &view, 1, &options, out, err);
    cmd_progress_end(&progress);
    sqz_dataset_close(dataset);
    if (status == SQZ_OK && out->n_bad > (size_t)compare->data.max_bad) {
        status = sqz_fail(err, SQZ_BAD_IMAGE, "%zu of %zu images are broken, more than --max-bad %ld", out->n_bad,
                          out->n_images, compare->data.max_bad);
        sqz_evaluation_free(out);
    }
    return status;
}

static int compare_model(struct compare *compare, const char *path) {
    struct cmd_subject subject;
    const struct sqz_session_options session = cmd_session_options(&compare->engine, (uint32_t)compare->data.batch);
    int code = cmd_subject_open_classifier(&compare->common, path, NULL, &compare->preprocess, &session, &subject);
    if (code != CMD_CONTINUE) return code;
    cmd_subject_drop_weights(&subject);
    struct sqz_evaluation evaluation;
    struct sqz_error err = {0};
    if (evaluate(compare, &subject, &evaluation, &err) == SQZ_OK) {
        add_row(compare, &subject, &evaluation);
        sqz_evaluation_free(&evaluation);
    } else {
        sqz_error_set_file(&err, compare->data.path);
        code = cmd_failure(&compare->common, &err);
    }
    cmd_subject_close(&subject);
    return code;
}

static int print_rows(struct compare *compare) {
    if (compare->common.json) {
        json_t *json = json_pack("{s:o, s:O}", "data", cmd_json_text(compare->data.path), "models", compare->rows);
        return cmd_json_print(&compare->common, json, stdout);
    }
    if (compare->csv)
        cmd_table_print_csv(&compare->table, stdout);
    else
        cmd_table_print(&compare->table, stdout);
    return CMD_DONE;
}

static int compare_models(struct compare *compare, char **paths, size_t n) {
    if (!compare->data.path)
        return cmd_usage(compare->common.command, "--data is missing: a folder of labelled images");
    if (compare->csv && compare->common.json) return cmd_usage(compare->common.command, "choose --csv or --json");
    cmd_table_begin(&compare->table, titles, sizeof titles / sizeof *titles);
    compare->rows = json_array();
    compare->references = json_object();
    int code = CMD_CONTINUE;
    for (size_t i = 0; i < n && code == CMD_CONTINUE; i++) code = compare_model(compare, paths[i]);
    if (code == CMD_CONTINUE) code = print_rows(compare);
    json_decref(compare->rows);
    json_decref(compare->references);
    cmd_table_free(&compare->table);
    return code;
}

int cmd_compare(int argc, char **argv) {
    struct compare compare = {.data = CMD_DATA_DEFAULTS};
    const struct cmd_option options[] = {
        CMD_DATA_OPTIONS(compare.data),
        {.name = "csv", .kind = CMD_FLAG, .target = &compare.csv, .help = "Print comma-separated values."},
        CMD_ENGINE_OPTIONS(compare.engine),
        CMD_PREPROCESS_OPTIONS(compare.preprocess),
        {0},
    };
    const struct cmd_page page = {
        .command = "sqz-compare",
        .summary = "Tabulate size and accuracy of several models on the same images",
        .operands = "MODEL... --data DIR",
        .min_operands = 1,
        .max_operands = 1000,
        .shared = CMD_HAS_JSON | CMD_HAS_THREADS | CMD_HAS_PROGRESS,
        .description =
            "One row for each model: its stage (float, pruned, quantized, encoded), the bytes of its file, their "
            "ratio to its weights as float32, density of the kernels, bits per weight, top-1 and top-5 in "
            "percent, the drop of top-1 in points against the first model of the same architecture, and the median "
            "time for one "
            "image. Accuracy is counted as by sqz-eval.",
        .example = "sqz-compare net.pth pruned.h5 quantized.h5 net.sqz --data val/\n"
                   "sqz-compare *.sqz --data val/ --csv > curve.csv",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &compare.common, &operands, &n);
    return code == CMD_CONTINUE ? compare_models(&compare, operands, n) : code;
}
