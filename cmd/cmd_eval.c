/* cmd_eval.c - sqz-eval: measures accuracy, size and speed on labelled images, and speed alone on any. */
#include <string.h>

#include "cmd/bench.h"
#include "cmd/calibration_notice.h"
#include "cmd/commands.h"
#include "cmd/data_options.h"
#include "cmd/engine_options.h"
#include "cmd/eval_report.h"
#include "cmd/progress.h"
#include "cmd/read_options.h"

struct evaluate {
    struct cmd_common common;
    struct sqz_read_options read;
    struct cmd_preprocess preprocess;
    struct cmd_data data;
    struct cmd_engine engine;
    long bench; /* timed runs; 0 without --bench */
    bool explain;
    const char *baseline, *predictions;
    bool per_layer;
    double min_top1, max_drop;
    bool min_top1_given, max_drop_given;
};

/* --bench and --explain run images without looking at what comes out. */
static bool is_bench(const struct evaluate *evaluate) {
    return evaluate->bench || evaluate->explain;
}

static int check_usage(const struct evaluate *evaluate) {
    const char *command = evaluate->common.command;
    const bool asks_accuracy = evaluate->baseline || evaluate->predictions || evaluate->per_layer ||
                               evaluate->min_top1_given || evaluate->max_drop_given;
    if (is_bench(evaluate) && asks_accuracy)
        return cmd_usage(command, "--bench and --explain measure speed alone: leave out --baseline, --predictions, "
                                  "--per-layer, --min-top1 and --max-drop");
    if (is_bench(evaluate)) return CMD_CONTINUE;
    if (!evaluate->data.path)
        return cmd_usage(command,
                         "--data is missing: a folder of labelled images (only --bench and --explain do without)");
    if (evaluate->max_drop_given && !evaluate->baseline) return cmd_usage(command, "--max-drop needs --baseline");
    if (evaluate->predictions && strcmp(evaluate->predictions, "-") == 0)
        return cmd_usage(command, "--predictions needs a file; the report takes standard output");
    return CMD_CONTINUE;
}

static int open_dataset(const struct evaluate *evaluate, const struct cmd_subject *model, struct sqz_dataset **out) {
    struct sqz_dataset_options options = cmd_data_dataset(&evaluate->data, model->n_classes);
    options.need_labels = !is_bench(evaluate);
    struct sqz_error err = {0};
    if (sqz_dataset_open(evaluate->data.path, &options, out, &err) == SQZ_OK) return CMD_CONTINUE;
    sqz_error_set_file(&err, evaluate->data.path);
    return cmd_failure(&evaluate->common, &err);
}

static void name_bad_image(void *context, const char *name, const char *reason) {
    cmd_warn(context, "%s: %s", name, reason);
}

static int run_evaluation(const struct evaluate *evaluate, const struct sqz_dataset *dataset,
                          const struct cmd_subject *model, const struct cmd_subject *baseline,
                          struct sqz_evaluation *out) {
    struct cmd_progress progress;
    cmd_progress_begin(&progress, &evaluate->common, "evaluate");
    const struct sqz_evaluate_options options = {
        .limit = (size_t)evaluate->data.limit,
        .batch = (uint32_t)evaluate->data.batch,
        .label_offset = (int)evaluate->data.label_offset,
        .progress = cmd_progress_update,
        .progress_context = &progress,
        .bad_image = name_bad_image,
        .bad_context = (void *)&evaluate->common,
    };
    struct sqz_subject subjects[2] = {cmd_subject_view(model)};
    if (baseline) subjects[1] = cmd_subject_view(baseline);
    struct sqz_error err = {0};
    enum sqz_status status = sqz_evaluate(dataset, subjects, baseline ? 2 : 1, &options, out, &err);
    cmd_progress_end(&progress);
    if (status == SQZ_OK) return CMD_CONTINUE;
    sqz_error_set_file(&err, evaluate->data.path);
    return cmd_failure(&evaluate->common, &err);
}

/* Sets below this many images are too small for chance to be told from skill. */
#define HINT_IMAGES 200

static void hint_about_labels(const struct evaluate *evaluate, const struct cmd_eval_result *result) {
    size_t n = result->evaluation->n_images, classes = result->model->n_classes;
    if (n < HINT_IMAGES || cmd_top1(result, 0) >= 2.0 / (double)classes) return;
    cmd_warn(&evaluate->common,
             "top-1 is no better than chance: are the labels in the order of the net's classes (see --one-based, "
             "--label-offset, --labels), and is the preprocessing right (--preprocess)?");
}

/* The quality limits of the command line. A limit of at most 1 for top-1 is a fraction, above it is percent. */
static int check_gates(const struct evaluate *evaluate, const struct cmd_eval_result *result) {
    const struct cmd_common *common = &evaluate->common;
    const struct sqz_evaluation *evaluation = result->evaluation;
    struct sqz_error err = {0};
    double percent = 100 * cmd_top1(result, 0);
    double wanted = evaluate->min_top1 <= 1 ? 100 * evaluate->min_top1 : evaluate->min_top1;
    double drop = result->baseline ? 100 * (cmd_top1(result, 1) - cmd_top1(result, 0)) : 0;
    if (evaluation->n_bad > (size_t)evaluate->data.max_bad) {
        sqz_fail(&err, SQZ_BAD_IMAGE, "%zu of %zu images are broken, more than --max-bad %ld", evaluation->n_bad,
                 evaluation->n_images, evaluate->data.max_bad);
        sqz_error_set_file(&err, evaluate->data.path);
    } else if (evaluate->min_top1_given && percent < wanted) {
        sqz_fail(&err, SQZ_GATE, "top-1 is %.2f%%, below --min-top1 %g", percent, evaluate->min_top1);
        sqz_error_set_file(&err, result->model->model.path);
    } else if (evaluate->max_drop_given && drop > evaluate->max_drop) {
        sqz_fail(&err, SQZ_GATE, "top-1 dropped by %.2f points, more than --max-drop %g", drop, evaluate->max_drop);
        sqz_error_set_file(&err, result->model->model.path);
    } else {
        return CMD_DONE;
    }
    return cmd_failure(common, &err);
}

static int report(const struct evaluate *evaluate, const struct cmd_eval_result *result) {
    struct sqz_error err = {0};
    if (evaluate->predictions && cmd_eval_write_predictions(result, evaluate->predictions, &err) != SQZ_OK) {
        sqz_error_set_file(&err, evaluate->predictions);
        return cmd_failure(&evaluate->common, &err);
    }
    int code = CMD_DONE;
    if (evaluate->common.json)
        code = cmd_eval_print_json(&evaluate->common, result);
    else
        cmd_eval_print_text(result);
    hint_about_labels(evaluate, result);
    return code == CMD_DONE ? check_gates(evaluate, result) : code;
}

static int evaluate_subjects(const struct evaluate *evaluate, struct cmd_subject *model, struct cmd_subject *baseline) {
    struct cmd_eval_result result = {.model = model, .baseline = baseline, .batch = (uint32_t)evaluate->data.batch};
    struct sqz_error err = {0};
    if (evaluate->per_layer && cmd_layer_changes(model->model.model, baseline ? baseline->model.model : NULL,
                                                 &result.layers, &result.n_layers, &err) != SQZ_OK) {
        sqz_free(result.layers);
        return cmd_failure(&evaluate->common, &err);
    }
    cmd_subject_drop_weights(model);
    if (baseline) cmd_subject_drop_weights(baseline);
    struct sqz_dataset *dataset = NULL;
    struct sqz_evaluation evaluation = {0};
    int code = open_dataset(evaluate, model, &dataset);
    if (code == CMD_CONTINUE) {
        size_t n = sqz_dataset_count(dataset), limit = (size_t)evaluate->data.limit;
        code = cmd_notice_calibration(&evaluate->common, model->model.model, dataset, limit && limit < n ? limit : n,
                                      evaluate->data.path, &result.overlap);
    }
    if (code == CMD_CONTINUE) code = run_evaluation(evaluate, dataset, model, baseline, &evaluation);
    if (code == CMD_CONTINUE) {
        result.dataset = dataset;
        result.evaluation = &evaluation;
        code = report(evaluate, &result);
    }
    sqz_evaluation_free(&evaluation);
    if (dataset) sqz_dataset_close(dataset);
    sqz_free(result.layers);
    return code;
}

/* Runs that --explain takes the profile of when --bench does not say: enough to see through a few interruptions. */
#define EXPLAIN_RUNS 50

static int bench_file(const struct evaluate *evaluate, const char *path) {
    struct cmd_subject subject;
    struct sqz_dataset *dataset = NULL;
    struct cmd_bench bench = {.subject = &subject,
                              .dataset_path = evaluate->data.path,
                              .runs = evaluate->bench ? (size_t)evaluate->bench : EXPLAIN_RUNS,
                              .batch = evaluate->data.batch ? (size_t)evaluate->data.batch : 1,
                              .timed = evaluate->bench > 0,
                              .explain = evaluate->explain};
    struct sqz_session_options session = cmd_session_options(&evaluate->engine, (uint32_t)bench.batch);
    session.profile = evaluate->explain;
    int code = cmd_subject_open(&evaluate->common, path, &evaluate->read, &evaluate->preprocess, &session, &subject);
    if (code != CMD_CONTINUE) return code;
    cmd_subject_drop_weights(&subject);
    if (evaluate->data.path) code = open_dataset(evaluate, &subject, &dataset);
    bench.dataset = dataset;
    if (code == CMD_CONTINUE) code = cmd_bench_run(&evaluate->common, &bench);
    if (dataset) sqz_dataset_close(dataset);
    cmd_subject_close(&subject);
    return code;
}

/* 16 images at a time keep two cores busy while one image still fits its share of the cache. */
#define DEFAULT_BATCH 16

static int evaluate_file(struct evaluate *evaluate, const char *path) {
    int code = check_usage(evaluate);
    if (code != CMD_CONTINUE) return code;
    if (is_bench(evaluate)) return bench_file(evaluate, path);
    if (evaluate->data.batch == 0) evaluate->data.batch = DEFAULT_BATCH;
    struct cmd_subject model, baseline;
    const struct sqz_session_options session = cmd_session_options(&evaluate->engine, (uint32_t)evaluate->data.batch);
    code =
        cmd_subject_open_classifier(&evaluate->common, path, &evaluate->read, &evaluate->preprocess, &session, &model);
    if (code != CMD_CONTINUE) return code;
    if (!evaluate->baseline) {
        code = evaluate_subjects(evaluate, &model, NULL);
        cmd_subject_close(&model);
        return code;
    }
    code = cmd_subject_open_classifier(&evaluate->common, evaluate->baseline, NULL, &evaluate->preprocess, &session,
                                       &baseline);
    if (code == CMD_CONTINUE) {
        code = evaluate_subjects(evaluate, &model, &baseline);
        cmd_subject_close(&baseline);
    }
    cmd_subject_close(&model);
    return code;
}

int cmd_eval(int argc, char **argv) {
    struct evaluate evaluate = {0};
    const struct cmd_option options[] = {
        CMD_DATA_OPTIONS(evaluate.data),
        {.name = "baseline",
         .kind = CMD_TEXT,
         .value = "MODEL2",
         .target = &evaluate.baseline,
         .help = "Compare with this model: agreement, KL divergence, drop, a paired test."},
        {.name = "min-top1",
         .kind = CMD_REAL,
         .value = "X",
         .target = &evaluate.min_top1,
         .high = 100,
         .given = &evaluate.min_top1_given,
         .help = "End with 3 when top-1 is below X percent; a value up to 1 is a fraction."},
        {.name = "max-drop",
         .kind = CMD_REAL,
         .value = "X",
         .target = &evaluate.max_drop,
         .low = -100,
         .high = 100,
         .given = &evaluate.max_drop_given,
         .help = "End with 3 when top-1 is more than X percentage points below the baseline's."},
        {.name = "per-layer",
         .kind = CMD_FLAG,
         .target = &evaluate.per_layer,
         .help = "Add a table of layers: weights, density and, with --baseline, how far the weights moved."},
        {.name = "predictions",
         .kind = CMD_TEXT,
         .value = "FILE",
         .target = &evaluate.predictions,
         .help = "Write a line for each image: its name, the five best classes and, behind a tab, the label and the "
                 "probability of the best class."},
        {.name = "bench",
         .kind = CMD_INTEGER,
         .value = "N",
         .target = &evaluate.bench,
         .low = 1,
         .high = 1e9,
         .help = "Measure speed alone: run the same batch N times, of images of --data or, without it, of random "
                 "numbers. Here --batch is 1 unless given."},
        {.name = "explain",
         .kind = CMD_FLAG,
         .target = &evaluate.explain,
         .help = "Print the plan: for each layer its kernel and why, operations, bytes, measured time and share, and "
                 "the part of the processor's measured speed it reaches. Alone, or with --bench."},
        CMD_ENGINE_OPTIONS(evaluate.engine),
        CMD_READ_OPTIONS(evaluate.read),
        CMD_PREPROCESS_OPTIONS(evaluate.preprocess),
        {0},
    };
    const struct cmd_page page = {
        .command = "sqz-eval",
        .summary = "Measure accuracy, size and speed of a model on labelled images",
        .operands = "[MODEL] --data DIR | --bench N | --explain",
        .max_operands = 1,
        .shared = CMD_HAS_JSON | CMD_HAS_THREADS | CMD_HAS_PROGRESS,
        .description =
            "Decodes the model, runs it over the images and prints top-1 and top-5 with 95% intervals (Wilson), bytes, "
            "ratio, density of the kernels and bits per weight, the time to decode (from opening the file to the first "
            "image), the median time for one image, and the peak memory.\n\n"
            "Accuracy is the number of correct images over the number of all images asked for. A broken image is named "
            "on standard error, not run, and stays in that denominator as a wrong one; so does an image whose result "
            "holds NaN. Agreement and KL divergence are over the images that are not broken.\n\n"
            "With --bench, prints the minimum, the median and the 95th percentile of the time of a run for one image, "
            "images per second, the time from the start of the process to the first result, and memory. --explain "
            "adds the plan; operations are those of the plain loops, two for each multiply-add, so that a kernel "
            "that needs fewer can exceed 100% of the peak.",
        .example = "sqz-eval squeezenet.sqz --data val/ --baseline squeezenet1_1.pth --max-drop 0.5\n"
                   "sqz-eval squeezenet.sqz --bench 200 --threads 1 --explain\n"
                   "sqz-eval alexnet.onnx --data ILSVRC2012_img_val --labels ground_truth.txt --one-based --json",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &evaluate.common, &operands, &n);
    const char *path;
    if (code == CMD_CONTINUE) code = cmd_model_operand(&evaluate.common, operands, n, &path);
    return code == CMD_CONTINUE ? evaluate_file(&evaluate, path) : code;
}
