/* cmd_compress.c - sqz-compress: finds the best .sqz file of a net within a size or a loss. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/model_facts.h"
#include "cmd/read_options.h"
#include "cmd/report.h"
#include "cmd/search_options.h"
#include "lib/trellis.h"

struct compress {
    struct cmd_common common;
    struct cmd_search search;
    const char *target_text, *holdout, *labels, *front;
    size_t target_nbytes;
    double max_kl, max_drop;
    bool max_kl_given, max_drop_given, trellis_given, best_effort, one_based;
    int coder; /* enum sqz_coder */
    int bias;  /* position in BIAS_CHOICES */
};

/* Points of --front. */
#define FRONT_POINTS 10

/* Words of --bias and what they mean. */
#define BIAS_CHOICES "10 8 fp16 fp32"
static const enum sqz_bias_kind bias_kinds[] = {SQZ_BIAS_10BIT, SQZ_BIAS_8BIT, SQZ_BIAS_FP16, SQZ_BIAS_FP32};

/*
 * States of the trellis where nothing is said. SqueezeNet v1.1 at 400,000 bytes, mean divergence on 400 images of its
 * own, two draws of positions (an error of 5% each): none 0.043, 8 states 0.039, 64 states 0.036. On the probe images,
 * 256 states diverge 4% less than 64 in the mean over files of 480,000 to 240,000 bytes, for the same time.
 */
#define DEFAULT_TRELLIS 256

/* ---- usage -------------------------------------------------------------- */

/* "400000", "400KB", "0.4MB", "390KiB": bytes; 0 when the text is no size. */
static size_t parse_size(const char *text) {
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1},          {"B", 1},     {"K", 1e3},      {"KB", 1e3}, {"KIB", 1024},
                 {"M", 1e6},       {"MB", 1e6},  {"MIB", 1048576}, {"G", 1e9},  {"GB", 1e9}};
    char *end;
    double v = strtod(text, &end);
    if (end == text || !(v > 0)) return 0;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcasecmp(end, units[i].unit) != 0) continue;
        double nbytes = floor(v * units[i].factor + 0.5);
        return nbytes < 1e15 ? (size_t)nbytes : 0;
    }
    return 0;
}

/* The trellis is one for calibrated uniform levels, and the range coder's. */
static int choose_trellis(struct compress *compress) {
    struct cmd_search *search = &compress->search;
    bool possible = search->method == 0 && search->levels == SQZ_COMPRESS_UNIFORM && compress->coder != SQZ_CODER_HUFFMAN;
    if (!compress->trellis_given) search->trellis = possible ? DEFAULT_TRELLIS : 0;
    if (search->trellis == 0) return CMD_CONTINUE;
    if (!possible)
        return cmd_usage(compress->common.command,
                         "--trellis goes with calibrated uniform levels and the range coder only");
    if (!sqz_trellis_is_valid((uint32_t)search->trellis))
        return cmd_usage(compress->common.command, "--trellis takes 0, 4, 8, 16, 32, 64, 128 or 256");
    return CMD_CONTINUE;
}

static int check_usage(struct compress *compress) {
    const char *command = compress->common.command;
    int code = choose_trellis(compress);
    if (code != CMD_CONTINUE) return code;
    int goals = (compress->target_text != NULL) + compress->max_kl_given + compress->max_drop_given +
                (compress->front != NULL);
    if (goals != 1)
        return cmd_usage(command, "give one goal: --target-size, --max-kl, --max-drop or --front");
    if (compress->max_drop_given && !compress->holdout)
        return cmd_usage(command, "--max-drop needs --holdout: a folder of labelled images");
    if (compress->holdout && !compress->max_drop_given && !compress->front)
        return cmd_usage(command, "--holdout goes with --max-drop or --front");
    if (compress->front && compress->common.output)
        return cmd_usage(command, "--front writes a table and no model, so it takes no -o");
    if (compress->front && strcmp(compress->front, "-") == 0 && compress->common.json)
        return cmd_usage(command, "--json and --front - both want standard output");
    if (!compress->target_text) return CMD_CONTINUE;
    compress->target_nbytes = parse_size(compress->target_text);
    if (compress->target_nbytes == 0)
        return cmd_usage(command, "--target-size %s: expected bytes, such as 400000, 400KB or 0.4MB",
                         compress->target_text);
    return CMD_CONTINUE;
}

/* ---- the holdout set -------------------------------------------------------- */

static int open_holdout(const struct compress *compress, struct cmd_search_state *state, struct sqz_dataset **out) {
    if (!compress->holdout) return CMD_CONTINUE;
    const struct sqz_dataset_options options = {
        .labels = compress->labels,
        .need_labels = true,
        .one_based = compress->one_based,
        .apply_exif = compress->search.exif,
        .n_classes = cmd_model_classes(state->model.model),
    };
    struct sqz_error err = {0};
    enum sqz_status status = sqz_dataset_open(compress->holdout, &options, out, &err);
    if (status == SQZ_OK) status = sqz_compressor_set_holdout(state->compressor, *out, &err);
    cmd_search_quiet(state);
    if (status == SQZ_OK) return CMD_CONTINUE;
    sqz_error_set_file(&err, compress->holdout);
    return cmd_failure(&compress->common, &err);
}

/* ---- one file ---------------------------------------------------------------- */

static enum sqz_status search(const struct compress *compress, struct sqz_compressor *compressor,
                              struct sqz_candidate *best, bool *met, struct sqz_error *err) {
    if (compress->max_kl_given) return sqz_compress_to_kl(compressor, compress->max_kl, best, met, err);
    if (compress->max_drop_given) return sqz_compress_to_drop(compressor, compress->max_drop, best, met, err);
    return sqz_compress_to_size(compressor, compress->target_nbytes, best, met, err);
}

static double drop_of(const struct sqz_candidate *candidate) {
    if (candidate->n_holdout == 0) return NAN;
    return 100 * ((double)candidate->top1_float - (double)candidate->top1_correct) / (double)candidate->n_holdout;
}

/* Why the limit was not kept. */
static int fail_gate(const struct compress *compress, const struct sqz_candidate *best, const char *path) {
    struct sqz_error err = {0};
    if (compress->max_kl_given)
        sqz_fail(&err, SQZ_GATE, "the least divergence found is %.5g, above --max-kl %g (a file of %zu bytes)", best->kl,
                 compress->max_kl, best->file.nbytes);
    else if (compress->max_drop_given)
        sqz_fail(&err, SQZ_GATE, "the smallest loss found is %.2f points, above --max-drop %g (a file of %zu bytes)",
                 drop_of(best), compress->max_drop, best->file.nbytes);
    else
        sqz_fail(&err, SQZ_GATE, "the smallest file found has %zu bytes, more than --target-size %zu",
                 best->file.nbytes, compress->target_nbytes);
    sqz_error_set_file(&err, path);
    return cmd_failure(&compress->common, &err);
}

static int report(const struct compress *compress, const struct cmd_search_state *state,
                  const struct sqz_candidate *best, const char *output, bool met) {
    FILE *stream = cmd_report_stream(output);
    size_t float_nbytes = sqz_model_float_nbytes(state->model.model);
    double ratio = cmd_ratio(float_nbytes, best->file.nbytes), weights = (double)float_nbytes / sizeof(float);
    double bits = weights > 0 ? 8.0 * (double)best->file.nbytes / weights : 0;
    struct sqz_compressor_facts facts = sqz_compressor_facts(state->compressor);
    if (compress->common.json) {
        json_t *json = json_pack(
            "{s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:b, s:I, s:I, s:I, s:I, s:o, s:o}", "output", cmd_json_text(output),
            "output_nbytes", (json_int_t)best->file.nbytes, "float_nbytes", (json_int_t)float_nbytes, "ratio",
            cmd_json_real(ratio), "bits_per_weight", cmd_json_real(bits), "mean_kl", cmd_json_real(best->kl),
            "agreement", cmd_json_real(best->agreement), "met", (int)met, "calibration_images",
            (json_int_t)facts.n_images, "probe_images", (json_int_t)facts.n_probe, "bad_images", (json_int_t)facts.n_bad,
            "layers_cached", (json_int_t)facts.n_cached, "top1_drop", cmd_json_real(drop_of(best) / 100), "seconds",
            cmd_json_real(cmd_now() - state->start));
        return cmd_json_print(&compress->common, json, stream);
    }
    if (compress->common.quiet) return CMD_DONE;
    fprintf(stream, "wrote %s, %zu bytes: %.2f times smaller than its %zu bytes as float32, %.3f bits per weight\n",
            cmd_output_name(output), best->file.nbytes, ratio, float_nbytes, bits);
    fprintf(stream, "on %zu calibration images beside the %zu of the statistics: divergence %.4f nats, agreement %.3f\n",
            facts.n_probe, facts.n_images, best->kl, best->agreement);
    if (best->n_holdout)
        fprintf(stream, "on %zu held-out images: %zu correct, %zu with the float net, %.2f points lost\n",
                best->n_holdout, best->top1_correct, best->top1_float, drop_of(best));
    return CMD_DONE;
}

static int find_one(const struct compress *compress, struct cmd_search_state *state, const char *output) {
    struct sqz_candidate best = {0};
    struct sqz_error err = {0};
    bool met = false;
    enum sqz_status status = search(compress, state->compressor, &best, &met, &err);
    cmd_search_quiet(state);
    if (status != SQZ_OK) {
        sqz_error_set_file(&err, state->model.path);
        return cmd_failure(&compress->common, &err);
    }
    int code = CMD_CONTINUE;
    if (met || compress->best_effort) {
        code = CMD_DONE;
        if (sqz_write_file(output, best.file.data, best.file.nbytes, &err) != SQZ_OK)
            code = cmd_write_failure(&compress->common, &err);
        if (code == CMD_DONE) code = report(compress, state, &best, output, met);
    }
    if (!met && (code == CMD_CONTINUE || code == CMD_DONE)) code = fail_gate(compress, &best, state->model.path);
    sqz_candidate_free(&best);
    return code;
}

/* ---- the front ---------------------------------------------------------------- */

struct front {
    struct cmd_search_state *state;
    struct cmd_table table;
    json_t *points;
    bool holdout;
    size_t float_nbytes;
};

static void add_point(void *context, struct sqz_candidate *candidate) {
    struct front *front = context;
    double ratio = cmd_ratio(front->float_nbytes, candidate->file.nbytes);
    cmd_table_cell(&front->table, "%zu", candidate->file.nbytes);
    cmd_table_cell(&front->table, "%.3f", ratio);
    cmd_table_cell(&front->table, "%.6f", candidate->kl);
    cmd_table_cell(&front->table, "%.4f", candidate->agreement);
    if (front->holdout) {
        cmd_table_cell(&front->table, "%zu", candidate->top1_correct);
        cmd_table_cell(&front->table, "%.3f", drop_of(candidate));
    }
    json_array_append_new(front->points,
                          json_pack("{s:I, s:o, s:o, s:o, s:o}", "nbytes", (json_int_t)candidate->file.nbytes, "ratio",
                                    cmd_json_real(ratio), "mean_kl", cmd_json_real(candidate->kl), "agreement",
                                    cmd_json_real(candidate->agreement), "top1_drop",
                                    cmd_json_real(drop_of(candidate) / 100)));
    sqz_candidate_free(candidate);
}

static int write_front(const struct compress *compress, struct front *front) {
    struct sqz_output out;
    struct sqz_error err = {0};
    size_t nbytes = 0;
    enum sqz_status status = sqz_output_begin(compress->front, &out, &err);
    if (status == SQZ_OK) {
        cmd_table_print_csv(&front->table, out.stream);
        status = sqz_output_commit(&out, &nbytes, &err);
    }
    if (status != SQZ_OK) {
        sqz_error_set_file(&err, compress->front);
        return cmd_write_failure(&compress->common, &err);
    }
    if (compress->common.json) {
        json_t *json = json_pack("{s:o, s:I, s:O}", "output", cmd_json_text(compress->front), "output_nbytes",
                                 (json_int_t)nbytes, "points", front->points);
        return cmd_json_print(&compress->common, json, stdout);
    }
    if (!compress->common.quiet && strcmp(compress->front, "-") != 0) cmd_table_print(&front->table, stdout);
    return CMD_DONE;
}

static int find_front(const struct compress *compress, struct cmd_search_state *state) {
    static const char *const titles[] = {"bytes", "ratio", "kl", "agreement", "top1_correct", "drop"};
    struct front front = {.state = state, .points = json_array(), .holdout = compress->holdout != NULL};
    front.float_nbytes = sqz_model_float_nbytes(state->model.model);
    cmd_table_begin(&front.table, titles, front.holdout ? 6 : 4);
    struct sqz_error err = {0};
    enum sqz_status status = sqz_compress_front(state->compressor, FRONT_POINTS, add_point, &front, &err);
    cmd_search_quiet(state);
    int code;
    if (status == SQZ_OK) {
        code = write_front(compress, &front);
    } else {
        sqz_error_set_file(&err, state->model.path);
        code = cmd_failure(&compress->common, &err);
    }
    json_decref(front.points);
    cmd_table_free(&front.table);
    return code;
}

/* ---- the command ---------------------------------------------------------------- */

static int compress_file(struct compress *compress, const char *path) {
    int code = check_usage(compress);
    const char *output = NULL;
    if (code == CMD_CONTINUE && !compress->front) code = cmd_choose_output(&compress->common, &path, 1, &output);
    if (code != CMD_CONTINUE) return code;
    const struct sqz_encode_options encode = {.coder = (enum sqz_coder)compress->coder,
                                              .bias = bias_kinds[compress->bias]};
    struct cmd_search_state state;
    struct sqz_dataset *holdout = NULL;
    code = cmd_search_open(&compress->common, &compress->search, &encode, path, &state);
    if (code != CMD_CONTINUE) return code;
    code = open_holdout(compress, &state, &holdout);
    if (code == CMD_CONTINUE) code = compress->front ? find_front(compress, &state) : find_one(compress, &state, output);
    cmd_search_close(&state);
    if (holdout) sqz_dataset_close(holdout);
    return code;
}

int cmd_compress(int argc, char **argv) {
    struct compress compress = {.search = CMD_SEARCH_DEFAULTS};
    const struct cmd_option options[] = {
        {.name = "target-size", .kind = CMD_TEXT, .value = "BYTES", .target = &compress.target_text,
         .help = "Find the best net whose file, every byte counted, is not larger: 400000, 400KB, 0.4MB, 390KiB."},
        {.name = "max-kl", .kind = CMD_REAL, .value = "X", .target = &compress.max_kl, .high = 100,
         .open_low = true, .given = &compress.max_kl_given,
         .help = "Find the smallest file whose mean divergence from the float net, on calibration images that the "
                 "statistics did not see, is at most X nats."},
        {.name = "max-drop", .kind = CMD_REAL, .value = "X", .target = &compress.max_drop, .low = -100, .high = 100,
         .given = &compress.max_drop_given,
         .help = "Find the smallest file that loses at most X percentage points of top-1 on the images of --holdout."},
        {.name = "front", .kind = CMD_TEXT, .value = "FILE", .target = &compress.front,
         .help = "Write ten points of the curve of divergence against size as CSV, with accuracy when --holdout is "
                 "given; no model is written."},
        {.name = "holdout", .kind = CMD_TEXT, .value = "DIR", .target = &compress.holdout,
         .help = "Labelled images for --max-drop, in any layout that sqz-eval reads. Not those of the final test."},
        {.name = "labels", .kind = CMD_TEXT, .value = "FILE", .target = &compress.labels,
         .help = "List of the labels of --holdout, when it is not labels.txt in the folder."},
        {.name = "one-based", .kind = CMD_FLAG, .target = &compress.one_based, .help = "Labels in lists start at 1."},
        {.name = "best-effort", .kind = CMD_FLAG, .target = &compress.best_effort,
         .help = "When the goal cannot be reached, write what comes nearest; the exit code is 3 all the same."},
        {.name = "coder", .kind = CMD_CHOICE, .value = "CODER", .choices = "auto huffman range",
         .target = &compress.coder, .help = "Entropy coder, as for sqz-encode; auto by default."},
        {.name = "bias", .kind = CMD_CHOICE, .value = "TYPE", .choices = BIAS_CHOICES, .target = &compress.bias,
         .help = "Biases as levels of 10 bits, the default, or 8, or as fp16 or fp32."},
        {.name = "trellis", .kind = CMD_INTEGER, .value = "N", .target = &compress.search.trellis,
         .high = SQZ_TRELLIS_MAX_STATES, .given = &compress.trellis_given,
         .help = "Choose the levels of a column together, along a trellis of N states: 4, 8, 16, 32, 64, 128 or 256; 256 "
                 "by default where levels are uniform, calibrated and range-coded. 0: each level by itself."},
        CMD_SEARCH_OPTIONS(compress.search),
        {0},
    };
    const struct cmd_page page = {
        .command = "sqz-compress",
        .summary = "Find the best small .sqz file of a net, without training",
        .operands = "[MODEL] --calib DIR GOAL",
        .max_operands = 1,
        .shared = CMD_HAS_OUTPUT | CMD_HAS_JSON | CMD_HAS_THREADS | CMD_HAS_PROGRESS,
        .output_help = "The .sqz file to write; - or none: standard output.",
        .description =
            "Measures what each layer costs the net at a few sizes, shares out the bits among the layers so that the "
            "sum costs least, and compresses layer after layer, each one fitted to the float net's output on the net "
            "as compressed so far. The written file is decoded again and measured. Nothing is trained, and no labels "
            "are used but those of --holdout.\n\n"
            "The goal is one of --target-size, --max-kl, --max-drop and --front. A goal out of reach ends with 3, says "
            "what came nearest, and writes nothing unless --best-effort is given. The images are recorded in the "
            "file, so that sqz-eval can warn when it is given the same ones. The same input and options give the same "
            "bytes, whatever the number of threads.",
        .example = "sqz-compress squeezenet1_1.pth --calib photographs/ --target-size 400KB -o squeezenet.sqz\n"
                   "sqz-compress m.onnx --calib photographs/ --max-kl 0.05 --cache sweeps/ -o m.sqz",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &compress.common, &operands, &n);
    const char *path;
    if (code == CMD_CONTINUE) code = cmd_model_operand(&compress.common, operands, n, &path);
    return code == CMD_CONTINUE ? compress_file(&compress, path) : code;
}
