/* cmd_quantize.c - sqz-quantize: lets the weights of each layer share a few values. */
#include <math.h>
#include <string.h>

#include "cmd/calibrated.h"
#include "cmd/commands.h"
#include "cmd/model_facts.h"
#include "cmd/model_io.h"
#include "cmd/progress.h"
#include "cmd/read_options.h"
#include "cmd/report.h"
#include "cmd/rules_text.h"
#include "lib/quantize.h"
#include "lib/trellis.h"

struct quantize {
    struct cmd_common common;
    struct sqz_read_options read;
    struct cmd_rules bits;
    int method, init; /* enum sqz_kmeans_method, enum sqz_kmeans_init */
    long seed, iterations;
    double rate_weight;
    bool method_given;
    bool lloyd_only; /* an option that only Lloyd's method knows was given */
    bool seed_given, rate_given;
    struct cmd_calibrated calibrated;
    struct cmd_rules step;
    int levels;   /* enum levels */
    long trellis; /* states */
    bool per_channel, uniform_only;
    double lambda;
    bool lambda_given;
};

enum levels { LEVELS_CODEBOOK, LEVELS_UNIFORM };

/* Price of a bit that lowers the error at equal size the most, over SqueezeNet's layers at 2 to 3 bits for each weight.
 */
#define DEFAULT_LAMBDA 0.05

/* Step of uniform levels when neither --step nor --bits is given: about 2.8 bits for each weight before coding. */
#define DEFAULT_STEP 0.6

static const char *const init_names[] = {"linear", "density", "kmeans++"};

static void print_table(const struct sqz_model *model, const struct sqz_quantize_stats *stats, size_t n, FILE *stream) {
    static const char *const titles[] = {"<layer", "weights", "nonzero", "bits", "values", "rms error", "max |dw|"};
    struct cmd_table table;
    cmd_table_begin(&table, titles, 7);
    for (size_t i = 0; i < n; i++) {
        cmd_table_cell(&table, "%s", sqz_model_layer_name(model, stats[i].weight));
        cmd_table_cell(&table, "%zu", stats[i].count);
        cmd_table_cell(&table, "%zu", stats[i].nonzero);
        cmd_table_cell(&table, "%u", stats[i].bits);
        cmd_table_cell(&table, "%u", stats[i].n_codebook);
        cmd_table_cell(&table, "%.4g", sqrt(stats[i].mse));
        cmd_table_cell(&table, "%.4g", (double)stats[i].max_change);
    }
    cmd_table_print(&table, stream);
    cmd_table_free(&table);
}

static json_t *layers_json(const struct sqz_model *model, const struct sqz_quantize_stats *stats, size_t n) {
    json_t *layers = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(layers, json_pack("{s:o, s:I, s:I, s:i, s:i, s:o, s:o}", "layer",
                                                cmd_json_text(sqz_model_layer_name(model, stats[i].weight)), "weights",
                                                (json_int_t)stats[i].count, "nonzero", (json_int_t)stats[i].nonzero,
                                                "bits", (int)stats[i].bits, "codebook", (int)stats[i].n_codebook, "mse",
                                                cmd_json_real(stats[i].mse), "max_change",
                                                cmd_json_real((double)stats[i].max_change)));
    return layers;
}

static int report(const struct quantize *quantize, const struct sqz_model *model,
                  const struct sqz_quantize_stats *stats, size_t n, const char *output, size_t output_nbytes) {
    FILE *stream = cmd_report_stream(output);
    struct cmd_facts facts = cmd_model_facts(model);
    if (quantize->common.json) {
        json_t *json = json_pack("{s:o, s:I, s:I, s:I, s:o, s:o}", "output", cmd_json_text(output), "output_nbytes",
                                 (json_int_t)output_nbytes, "weights", (json_int_t)facts.weights, "nonzero",
                                 (json_int_t)facts.nonzero, "density", cmd_json_real(facts.density), "layers",
                                 layers_json(model, stats, n));
        return cmd_json_print(&quantize->common, json, stream);
    }
    if (quantize->common.quiet) return CMD_DONE;
    print_table(model, stats, n, stream);
    fprintf(stream, "%zu layers share their values, wrote %s, %zu bytes\n", n, cmd_output_name(output), output_nbytes);
    return CMD_DONE;
}

static enum sqz_status quantize_and_note(const struct quantize *quantize, struct sqz_model *model,
                                         struct sqz_quantize_stats *stats, size_t *n_stats, struct sqz_error *err) {
    struct cmd_progress progress;
    cmd_progress_begin(&progress, &quantize->common, "quantize");
    const struct sqz_quantize_options options = {
        .bits = quantize->bits.rule,
        .n_bits = quantize->bits.n,
        .method = (enum sqz_kmeans_method)quantize->method,
        .init = (enum sqz_kmeans_init)quantize->init,
        .seed = (uint64_t)quantize->seed,
        .max_iterations = (uint32_t)quantize->iterations,
        .rate_weight = quantize->rate_weight,
        .progress = cmd_progress_update,
        .progress_context = &progress,
    };
    enum sqz_status status = sqz_quantize(model, &options, stats, n_stats, err);
    cmd_progress_end(&progress);
    if (status != SQZ_OK) return status;
    char text[CMD_RULES_TEXT];
    cmd_rules_text(&quantize->bits, text);
    const char *bits = *text ? text : "8 and 5";
    if (quantize->method == SQZ_KMEANS_OPTIMAL)
        return sqz_model_note(model, err, "quantize to bits %s, method optimal, rate weight %g", bits,
                              quantize->rate_weight);
    return sqz_model_note(model, err, "quantize to bits %s, method lloyd from %s, seed %ld, rate weight %g", bits,
                          init_names[quantize->init], quantize->seed, quantize->rate_weight);
}

static int quantize_model(const struct quantize *quantize, struct cmd_model *input, const char *output) {
    struct sqz_model *model = input->model;
    struct sqz_quantize_stats *stats = sqz_alloc(model->n_weights + 1, sizeof *stats);
    struct sqz_error err = {0};
    size_t n = 0, output_nbytes = 0;
    enum sqz_status status = stats ? quantize_and_note(quantize, model, stats, &n, &err)
                                   : sqz_fail(&err, SQZ_OUT_OF_MEMORY, "not enough memory");
    int code;
    if (status != SQZ_OK) {
        sqz_error_set_file(&err, input->path);
        code = cmd_failure(&quantize->common, &err);
    } else {
        code = cmd_write_model(&quantize->common, sqz_format_find("hdf5", NULL), model, output, &output_nbytes);
        if (code == CMD_DONE) code = report(quantize, model, stats, n, output, output_nbytes);
    }
    sqz_free(stats);
    return code;
}

/* ---- calibrated ----------------------------------------------------------- */

static void fill_settings(const struct quantize *quantize, const struct sqz_model *model,
                          struct sqz_layer_setting *settings) {
    bool uniform = quantize->levels == LEVELS_UNIFORM;
    for (size_t i = 0; i < model->n_weights; i++) {
        settings[i] = (struct sqz_layer_setting){0};
        if (model->weights[i].role != SQZ_ROLE_KERNEL) continue;
        const char *layer = sqz_model_layer_name(model, i);
        bool dense = model->weights[i].shape.rank == 2;
        double bits = sqz_layer_value_get(quantize->bits.rule, quantize->bits.n, layer, uniform ? 0 : dense ? 5 : 8);
        double step = sqz_layer_value_get(quantize->step.rule, quantize->step.n, layer, 0);
        settings[i].method = uniform ? SQZ_LAYER_UNIFORM : SQZ_LAYER_CODEBOOK;
        settings[i].bits = (unsigned)bits;
        settings[i].step = uniform && step == 0 && bits == 0 ? DEFAULT_STEP : step;
        settings[i].lambda = quantize->lambda;
        settings[i].per_channel = quantize->per_channel;
        settings[i].trellis_states = uniform ? (uint32_t)quantize->trellis : 0;
    }
}

static int report_calibrated(const struct quantize *quantize, const struct sqz_model *model,
                             const struct sqz_layer_result *results, size_t n, const char *output,
                             size_t output_nbytes) {
    FILE *stream = cmd_report_stream(output);
    struct cmd_facts facts = cmd_model_facts(model);
    if (quantize->common.json) {
        json_t *json = json_pack("{s:o, s:I, s:I, s:I, s:o, s:o}", "output", cmd_json_text(output), "output_nbytes",
                                 (json_int_t)output_nbytes, "weights", (json_int_t)facts.weights, "nonzero",
                                 (json_int_t)facts.nonzero, "density", cmd_json_real(facts.density), "layers",
                                 cmd_calibrated_json(model, results, n));
        return cmd_json_print(&quantize->common, json, stream);
    }
    if (quantize->common.quiet) return CMD_DONE;
    cmd_calibrated_print(model, results, n, stream);
    double nbits = 0;
    for (size_t i = 0; i < n; i++) nbits += results[i].stats.nbits;
    fprintf(stream, "%zu layers hold %s, %.0f bytes by order-0 entropy, wrote %s, %zu bytes\n", n,
            quantize->levels == LEVELS_UNIFORM ? "uniform levels" : "shared values", nbits / 8, cmd_output_name(output),
            output_nbytes);
    return CMD_DONE;
}

static enum sqz_status note_calibrated(const struct quantize *quantize, struct sqz_model *model,
                                       struct sqz_error *err) {
    char bits[CMD_RULES_TEXT], step[CMD_RULES_TEXT], calibration[CMD_CALIBRATED_TEXT];
    cmd_rules_text(&quantize->bits, bits);
    cmd_rules_text(&quantize->step, step);
    cmd_calibrated_text(&quantize->calibrated, calibration);
    char trellis[40] = "";
    if (quantize->trellis) snprintf(trellis, sizeof trellis, ", trellis of %ld states", quantize->trellis);
    if (quantize->levels == LEVELS_UNIFORM)
        return sqz_model_note(model, err, "quantize to uniform levels, step %s bits %s, lambda %g%s%s, %s",
                              *step || *bits ? step : "0.6", *bits ? bits : "-", quantize->lambda,
                              quantize->per_channel ? ", per channel" : "", trellis, calibration);
    return sqz_model_note(model, err, "quantize to codebooks of bits %s, lambda %g, %s", *bits ? bits : "8 and 5",
                          quantize->lambda, calibration);
}

static int quantize_calibrated(struct quantize *quantize, struct cmd_model *input, const char *output) {
    struct sqz_model *model = input->model;
    struct sqz_error err = {0};
    quantize->calibrated.seed = quantize->seed;
    if (!quantize->lambda_given) quantize->lambda = quantize->levels == LEVELS_UNIFORM ? DEFAULT_LAMBDA : 0;
    enum sqz_status status = sqz_layer_value_check(quantize->bits.rule, quantize->bits.n, model, &err);
    if (status == SQZ_OK) status = sqz_layer_value_check(quantize->step.rule, quantize->step.n, model, &err);
    if (status != SQZ_OK) {
        sqz_error_set_file(&err, input->path);
        return cmd_failure(&quantize->common, &err);
    }
    struct sqz_layer_setting *settings = sqz_alloc(model->n_weights + 1, sizeof *settings);
    struct sqz_layer_result *results = NULL;
    size_t n = 0, output_nbytes = 0;
    int code = CMD_CONTINUE;
    if (settings) {
        fill_settings(quantize, model, settings);
        code = cmd_calibrated_run(&quantize->common, &quantize->calibrated, settings, "quantize", input, &results, &n);
    }
    if (code == CMD_CONTINUE) {
        status =
            settings ? note_calibrated(quantize, model, &err) : sqz_fail(&err, SQZ_OUT_OF_MEMORY, "not enough memory");
        code = status == SQZ_OK
                   ? cmd_write_model(&quantize->common, sqz_format_find("hdf5", NULL), model, output, &output_nbytes)
                   : cmd_failure(&quantize->common, &err);
        if (code == CMD_DONE) code = report_calibrated(quantize, model, results, n, output, output_nbytes);
    }
    sqz_free(settings);
    sqz_free(results);
    return code;
}

/* CMD_CONTINUE, or CMD_USAGE for options that do not go together. */
static int check_options(const struct quantize *quantize) {
    const char *command = quantize->common.command;
    bool uniform = quantize->levels == LEVELS_UNIFORM;
    if (!quantize->calibrated.folder) {
        if (uniform) return cmd_usage(command, "--levels uniform needs --calib");
        if (cmd_calibrated_wanted(&quantize->calibrated) || quantize->uniform_only || quantize->lambda_given)
            return cmd_usage(command, "--step, --lambda, --per-channel, --trellis and the options about images need "
                                      "--calib");
        return CMD_CONTINUE;
    }
    if (quantize->method_given || quantize->lloyd_only || quantize->rate_given)
        return cmd_usage(command, "--method, --init, --iterations and --rate-weight do not go with --calib");
    if (quantize->uniform_only && !uniform)
        return cmd_usage(command, "--step, --per-channel and --trellis go with --levels uniform only");
    if (quantize->trellis != 0 && !sqz_trellis_is_valid((uint32_t)quantize->trellis))
        return cmd_usage(command, "--trellis takes 0, 4, 8, 16, 32, 64, 128 or 256");
    return CMD_CONTINUE;
}

static int quantize_file(struct quantize *quantize, const char *path) {
    const char *output;
    int code = check_options(quantize);
    if (code != CMD_CONTINUE) return code;
    quantize->lloyd_only |= quantize->seed_given && !quantize->calibrated.folder;
    if (!quantize->method_given && quantize->lloyd_only) quantize->method = SQZ_KMEANS_LLOYD;
    if (quantize->method == SQZ_KMEANS_OPTIMAL && quantize->lloyd_only)
        return cmd_usage(quantize->common.command, "--method optimal takes no --init, --seed or --iterations");
    code = cmd_choose_output(&quantize->common, &path, 1, &output);
    if (code != CMD_CONTINUE) return code;
    struct cmd_model input;
    code = cmd_read_model(&quantize->common, path, &quantize->read, &input);
    if (code != CMD_CONTINUE) return code;
    code = quantize->calibrated.folder ? quantize_calibrated(quantize, &input, output)
                                       : quantize_model(quantize, &input, output);
    cmd_model_free(&input);
    return code;
}

int cmd_quantize(int argc, char **argv) {
    struct quantize quantize = {.method = SQZ_KMEANS_OPTIMAL, .calibrated = CMD_CALIBRATED_DEFAULTS};
    const struct cmd_option options[] = {
        {.name = "bits",
         .letter = 'b',
         .kind = CMD_RULES,
         .value = "[PATTERN=]B",
         .target = &quantize.bits,
         .low = 1,
         .high = SQZ_MAX_BITS,
         .whole = true,
         .help = "At most 2^B shared values for the weights that are not zero, B from 1 to 8; by default 8 for "
                 "convolutions and 5 for dense layers. With a pattern: for the layers it matches; may be repeated, the "
                 "last match wins."},
        {.name = "method",
         .kind = CMD_CHOICE,
         .value = "METHOD",
         .choices = "lloyd optimal",
         .target = &quantize.method,
         .given = &quantize.method_given,
         .help = "optimal, the default: the exact one-dimensional k-means. lloyd: Lloyd's iteration, which --init, "
                 "--seed and --iterations imply."},
        {.name = "init",
         .kind = CMD_CHOICE,
         .value = "INIT",
         .choices = "linear density kmeans++",
         .target = &quantize.init,
         .given = &quantize.lloyd_only,
         .help =
             "Where Lloyd's iteration starts: linear, the default (evenly over the range), density (evenly over the "
             "distribution) or kmeans++ (random, see --seed)."},
        {.name = "seed",
         .kind = CMD_INTEGER,
         .value = "N",
         .target = &quantize.seed,
         .high = 4294967295.0,
         .given = &quantize.seed_given,
         .help = "Seed of kmeans++ or, with --calib, of the draw of images; 0 by default."},
        {.name = "iterations",
         .kind = CMD_INTEGER,
         .value = "N",
         .target = &quantize.iterations,
         .high = 1e6,
         .given = &quantize.lloyd_only,
         .help = "Bound on Lloyd's iterations; 0, the default: until nothing moves."},
        {.name = "rate-weight",
         .kind = CMD_REAL,
         .value = "X",
         .target = &quantize.rate_weight,
         .given = &quantize.rate_given,
         .high = 1e6,
         .help = "Weigh the error of a weight against the length of its code, so that the encoded file gets smaller: "
                 "one bit is worth X times the mean squared error of the clusters. 0, the default, looks at the error "
                 "alone; 1.4 is the exchange rate of a fine quantiser."},
        CMD_CALIBRATED_OPTIONS(quantize.calibrated),
        {.name = "levels",
         .kind = CMD_CHOICE,
         .value = "KIND",
         .choices = "codebook uniform",
         .target = &quantize.levels,
         .help = "codebook, the default: shared values. uniform, with --calib: integer levels and a step for each "
                 "layer; zero is a level, so that weights are pruned as well."},
        {.name = "step",
         .kind = CMD_RULES,
         .value = "[PATTERN=]S",
         .target = &quantize.step,
         .high = 1e6,
         .open_low = true,
         .given = &quantize.uniform_only,
         .help = "With --levels uniform: the step, in units of the standard deviation of the layer's weights; 0.6 by "
                 "default. With --bits B instead the largest weight takes level 2^(B-1) - 1."},
        {.name = "per-channel",
         .kind = CMD_FLAG,
         .target = &quantize.per_channel,
         .given = &quantize.uniform_only,
         .help = "With --levels uniform: a step for each output channel."},
        {.name = "trellis",
         .kind = CMD_INTEGER,
         .value = "N",
         .target = &quantize.trellis,
         .high = SQZ_TRELLIS_MAX_STATES,
         .given = &quantize.uniform_only,
         .help =
             "With --levels uniform: choose the levels of a column together, along a trellis of N states: 4, 8, 16, "
             "32, 64, 128 or 256. A file of the same size is closer to the float net; 8 states save about 4.5% at "
             "equal error, 256 about 6%. 0, the default: each level by itself."},
        {.name = "lambda",
         .kind = CMD_REAL,
         .value = "X",
         .target = &quantize.lambda,
         .given = &quantize.lambda_given,
         .high = 100,
         .help = "With --calib: the price of a bit in rounding decisions, relative to the squared step; 0 rounds to "
                 "the nearest level. 0.05 by default for uniform levels, 0 for codebooks."},
        CMD_READ_OPTIONS(quantize.read),
        {0},
    };
    const struct cmd_page page = {
        .command = "sqz-quantize",
        .summary = "Let the weights of each layer share a few values",
        .operands = "[MODEL]",
        .max_operands = 1,
        .shared = CMD_HAS_OUTPUT | CMD_HAS_JSON | CMD_HAS_THREADS | CMD_HAS_PROGRESS,
        .output_help = "The working file to write; - or none: standard output.",
        .description =
            "Replaces the weights of each convolution and dense layer by the nearest of a few shared values, found by "
            "one-dimensional k-means (weight sharing of the Deep Compression paper). Zero stays zero and is not one of "
            "the 2^B values; no other weight becomes zero. A layer with fewer distinct values keeps them exactly. "
            "Biases, scales and shifts stay as they are.\n\n"
            "With --calib weights are not rounded each by itself: layer after layer, the weights that are still free "
            "make up for the errors of those already rounded, as measured on the images in the net as compressed so "
            "far, and biases are corrected (GPTQ, arXiv 2210.17323). The images used are recorded in the file, and "
            "sqz-eval warns when it is run on them.\n\n"
            "Prints for each layer the number of shared values, the root mean square error over the weights that are "
            "not "
            "zero, and the largest change of a weight; on standard error when the model itself goes to standard "
            "output.",
        .example = "sqz-quantize pruned.h5 --bits 5 --bits 'features.0=8' -o quantized.h5\n"
                   "sqz-quantize squeezenet1_1.pth --method optimal --bits 6 | sqz-encode -o squeezenet.sqz\n"
                   "sqz-quantize squeezenet1_1.pth --calib photos/ --levels uniform --step 0.6 | sqz-encode -o "
                   "squeezenet.sqz",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &quantize.common, &operands, &n);
    const char *path;
    if (code == CMD_CONTINUE) code = cmd_model_operand(&quantize.common, operands, n, &path);
    return code == CMD_CONTINUE ? quantize_file(&quantize, path) : code;
}
