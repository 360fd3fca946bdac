/* cmd_prune.c - sqz-prune: sets the least important weights to zero. */
#include <string.h>

#include "cmd/calibrated.h"
#include "cmd/commands.h"
#include "cmd/model_facts.h"
#include "cmd/model_io.h"
#include "cmd/read_options.h"
#include "cmd/report.h"
#include "cmd/rules_text.h"
#include "lib/prune.h"

enum { SCOPE_LAYER, SCOPE_GLOBAL };

struct prune {
    struct cmd_common common;
    struct sqz_read_options read;
    struct cmd_rules density, threshold, sensitivity;
    int scope;
    long min_per_layer;
    bool min_given;
    struct cmd_calibrated calibrated;
    enum sqz_prune_rule rule; /* the one of the three that was given */
    const struct cmd_rules *rules;
};

static const char *const rule_names[] = {"density", "threshold", "sensitivity"};

static int choose_rule(struct prune *prune) {
    const struct cmd_rules *all[] = {&prune->density, &prune->threshold, &prune->sensitivity};
    int given = 0;
    for (int i = 0; i < 3; i++) {
        if (all[i]->n == 0) continue;
        prune->rule = (enum sqz_prune_rule)i;
        prune->rules = all[i];
        given++;
    }
    const char *command = prune->common.command;
    if (given != 1) return cmd_usage(command, "give exactly one of --density, --threshold and --sensitivity");
    if (prune->scope == SCOPE_GLOBAL && prune->rule != SQZ_PRUNE_DENSITY)
        return cmd_usage(command, "--scope global goes with --density only");
    if (prune->scope != SCOPE_GLOBAL && prune->min_given)
        return cmd_usage(command, "--min-per-layer goes with --scope global only");
    if (!prune->calibrated.folder && cmd_calibrated_wanted(&prune->calibrated))
        return cmd_usage(command, "the options about images need --calib");
    if (prune->calibrated.folder && (prune->rule != SQZ_PRUNE_DENSITY || prune->scope == SCOPE_GLOBAL))
        return cmd_usage(command, "--calib goes with --density in the scope of a layer only");
    return CMD_CONTINUE;
}

static void print_table(const struct sqz_model *model, const struct sqz_prune_stats *stats, size_t n, FILE *stream) {
    static const char *const titles[] = {"<layer", "weights", "density before", "after", "threshold", "max |dw|"};
    struct cmd_table table;
    cmd_table_begin(&table, titles, 6);
    for (size_t i = 0; i < n; i++) {
        double count = stats[i].count ? (double)stats[i].count : 1;
        cmd_table_cell(&table, "%s", sqz_model_layer_name(model, stats[i].weight));
        cmd_table_cell(&table, "%zu", stats[i].count);
        cmd_table_cell(&table, "%.4f", (double)stats[i].nonzero_before / count);
        cmd_table_cell(&table, "%.4f", (double)stats[i].nonzero_after / count);
        cmd_table_cell(&table, "%.6g", (double)stats[i].threshold);
        cmd_table_cell(&table, "%.6g", (double)stats[i].max_change);
    }
    cmd_table_print(&table, stream);
    cmd_table_free(&table);
}

static json_t *layers_json(const struct sqz_model *model, const struct sqz_prune_stats *stats, size_t n) {
    json_t *layers = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            layers,
            json_pack("{s:o, s:I, s:I, s:I, s:o, s:o, s:b}", "layer",
                      cmd_json_text(sqz_model_layer_name(model, stats[i].weight)), "weights",
                      (json_int_t)stats[i].count, "nonzero_before", (json_int_t)stats[i].nonzero_before, "nonzero",
                      (json_int_t)stats[i].nonzero_after, "threshold", cmd_json_real((double)stats[i].threshold),
                      "max_change", cmd_json_real((double)stats[i].max_change), "floored", stats[i].floored));
    return layers;
}

static void warn_floored(const struct prune *prune, const struct sqz_model *model, const struct sqz_prune_stats *stats,
                         size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *layer = sqz_model_layer_name(model, stats[i].weight);
        if (stats[i].floored)
            cmd_warn(&prune->common,
                     "layer %s: the global threshold alone would have left fewer than %ld weights; %zu kept", layer,
                     prune->min_per_layer, stats[i].nonzero_after);
        else if (stats[i].nonzero_after == 0 && stats[i].count > 0)
            cmd_warn(&prune->common, "layer %s has no weights left", layer);
    }
}

static int report(const struct prune *prune, const struct sqz_model *model, const struct sqz_prune_stats *stats,
                  size_t n, const char *output, size_t output_nbytes) {
    FILE *stream = cmd_report_stream(output);
    struct cmd_facts facts = cmd_model_facts(model);
    if (prune->common.json) {
        json_t *json = json_pack("{s:o, s:I, s:I, s:I, s:o, s:o}", "output", cmd_json_text(output), "output_nbytes",
                                 (json_int_t)output_nbytes, "weights", (json_int_t)facts.weights, "nonzero",
                                 (json_int_t)facts.nonzero, "density", cmd_json_real(facts.density), "layers",
                                 layers_json(model, stats, n));
        return cmd_json_print(&prune->common, json, stream);
    }
    if (prune->common.quiet) return CMD_DONE;
    print_table(model, stats, n, stream);
    fprintf(stream, "density %.4f (%zu of %zu kernel weights), wrote %s, %zu bytes\n", facts.density,
            facts.kernel_nonzero, facts.kernel_weights, cmd_output_name(output), output_nbytes);
    return CMD_DONE;
}

static enum sqz_status prune_and_note(const struct prune *prune, struct sqz_model *model, struct sqz_prune_stats *stats,
                                      size_t *n_stats, struct sqz_error *err) {
    const struct sqz_prune_options options = {
        .rule = prune->rule,
        .values = prune->rules->rule,
        .n_values = prune->rules->n,
        .global = prune->scope == SCOPE_GLOBAL,
        .min_per_layer = (size_t)prune->min_per_layer,
    };
    SQZ_TRY(sqz_prune(model, &options, stats, n_stats, err));
    char text[CMD_RULES_TEXT];
    return sqz_model_note(model, err, "prune by %s %s, scope %s", rule_names[prune->rule],
                          cmd_rules_text(prune->rules, text), prune->scope == SCOPE_GLOBAL ? "global" : "layer");
}

static int prune_model(const struct prune *prune, struct cmd_model *input, const char *output) {
    struct sqz_model *model = input->model;
    struct sqz_prune_stats *stats = sqz_alloc(model->n_weights + 1, sizeof *stats);
    struct sqz_error err = {0};
    size_t n = 0, output_nbytes = 0;
    enum sqz_status status =
        stats ? prune_and_note(prune, model, stats, &n, &err) : sqz_fail(&err, SQZ_OUT_OF_MEMORY, "not enough memory");
    int code;
    if (status != SQZ_OK) {
        sqz_error_set_file(&err, input->path);
        code = cmd_failure(&prune->common, &err);
    } else {
        warn_floored(prune, model, stats, n);
        code = cmd_write_model(&prune->common, sqz_format_find("hdf5", NULL), model, output, &output_nbytes);
        if (code == CMD_DONE) code = report(prune, model, stats, n, output, output_nbytes);
    }
    sqz_free(stats);
    return code;
}

/* ---- calibrated ----------------------------------------------------------- */

static int report_calibrated(const struct prune *prune, const struct sqz_model *model,
                             const struct sqz_layer_result *results, size_t n, const char *output,
                             size_t output_nbytes) {
    FILE *stream = cmd_report_stream(output);
    struct cmd_facts facts = cmd_model_facts(model);
    if (prune->common.json) {
        json_t *json = json_pack("{s:o, s:I, s:I, s:I, s:o, s:o}", "output", cmd_json_text(output), "output_nbytes",
                                 (json_int_t)output_nbytes, "weights", (json_int_t)facts.weights, "nonzero",
                                 (json_int_t)facts.nonzero, "density", cmd_json_real(facts.density), "layers",
                                 cmd_calibrated_json(model, results, n));
        return cmd_json_print(&prune->common, json, stream);
    }
    if (prune->common.quiet) return CMD_DONE;
    cmd_calibrated_print(model, results, n, stream);
    fprintf(stream, "density %.4f (%zu of %zu kernel weights), wrote %s, %zu bytes\n", facts.density,
            facts.kernel_nonzero, facts.kernel_weights, cmd_output_name(output), output_nbytes);
    return CMD_DONE;
}

static int prune_calibrated(const struct prune *prune, struct cmd_model *input, const char *output) {
    struct sqz_model *model = input->model;
    struct sqz_error err = {0};
    struct sqz_layer_setting *settings = sqz_alloc0(model->n_weights + 1, sizeof *settings);
    enum sqz_status status = settings ? sqz_layer_value_check(prune->rules->rule, prune->rules->n, model, &err)
                                      : sqz_fail(&err, SQZ_OUT_OF_MEMORY, "not enough memory");
    struct sqz_layer_result *results = NULL;
    size_t n = 0, output_nbytes = 0;
    int code = CMD_CONTINUE;
    for (size_t i = 0; status == SQZ_OK && i < model->n_weights; i++) {
        if (model->weights[i].role != SQZ_ROLE_KERNEL) continue;
        double density =
            sqz_layer_value_get(prune->rules->rule, prune->rules->n, sqz_model_layer_name(model, i), 0);
        /* A layer that no rule matches is left alone. */
        if (density > 0) settings[i] = (struct sqz_layer_setting){.method = SQZ_LAYER_PRUNE, .density = density};
    }
    if (status == SQZ_OK)
        code = cmd_calibrated_run(&prune->common, &prune->calibrated, settings, "prune", input, &results, &n);
    if (status == SQZ_OK && code == CMD_CONTINUE) {
        char rules[CMD_RULES_TEXT], calibration[CMD_CALIBRATED_TEXT];
        status = sqz_model_note(model, &err, "prune by density %s, %s", cmd_rules_text(prune->rules, rules),
                                cmd_calibrated_text(&prune->calibrated, calibration));
    }
    if (status != SQZ_OK) {
        sqz_error_set_file(&err, input->path);
        code = cmd_failure(&prune->common, &err);
    } else if (code == CMD_CONTINUE) {
        code = cmd_write_model(&prune->common, sqz_format_find("hdf5", NULL), model, output, &output_nbytes);
        if (code == CMD_DONE) code = report_calibrated(prune, model, results, n, output, output_nbytes);
    }
    sqz_free(settings);
    sqz_free(results);
    return code;
}

static int prune_file(struct prune *prune, const char *path) {
    const char *output;
    int code = choose_rule(prune);
    if (code == CMD_CONTINUE) code = cmd_choose_output(&prune->common, &path, 1, &output);
    if (code != CMD_CONTINUE) return code;
    struct cmd_model input;
    code = cmd_read_model(&prune->common, path, &prune->read, &input);
    if (code != CMD_CONTINUE) return code;
    code = prune->calibrated.folder ? prune_calibrated(prune, &input, output) : prune_model(prune, &input, output);
    cmd_model_free(&input);
    return code;
}

int cmd_prune(int argc, char **argv) {
    struct prune prune = {.min_per_layer = 1, .calibrated = CMD_CALIBRATED_DEFAULTS};
    const struct cmd_option options[] = {
        {.name = "density",
         .letter = 'd',
         .kind = CMD_RULES,
         .value = "[PATTERN=]D",
         .target = &prune.density,
         .high = 1,
         .open_low = true,
         .help =
             "Keep this part of the weights, greater than 0 and at most 1. With a pattern: of the layers it matches; "
             "may be repeated, the last match wins."},
        {.name = "threshold",
         .kind = CMD_RULES,
         .value = "[PATTERN=]T",
         .target = &prune.threshold,
         .high = 1e30,
         .help = "Keep the weights whose magnitude is greater than T."},
        {.name = "sensitivity",
         .kind = CMD_RULES,
         .value = "[PATTERN=]S",
         .target = &prune.sensitivity,
         .high = 1e6,
         .help = "Keep the weights whose magnitude is greater than S times the standard deviation of their layer."},
        {.name = "scope",
         .kind = CMD_CHOICE,
         .value = "SCOPE",
         .choices = "layer global",
         .target = &prune.scope,
         .help =
             "Where the density is reached: layer, the default (in each layer by itself), or global (one threshold for "
             "all layers that no pattern matches)."},
        {.name = "min-per-layer",
         .kind = CMD_INTEGER,
         .value = "N",
         .target = &prune.min_per_layer,
         .given = &prune.min_given,
         .high = 1e9,
         .help = "With --scope global: leave each layer at least N of its weights, 1 by default."},
        CMD_CALIBRATED_OPTIONS(prune.calibrated),
        {.name = "seed",
         .kind = CMD_INTEGER,
         .value = "N",
         .target = &prune.calibrated.seed,
         .given = &prune.calibrated.given,
         .high = 4294967295.0,
         .help = "With --calib: seed of the draw of images, 0 by default."},
        CMD_READ_OPTIONS(prune.read),
        {0},
    };
    const struct cmd_page page = {
        .command = "sqz-prune",
        .summary = "Set the least important weights of a model to zero",
        .operands = "[MODEL]",
        .max_operands = 1,
        .shared = CMD_HAS_OUTPUT | CMD_HAS_JSON | CMD_HAS_THREADS | CMD_HAS_PROGRESS,
        .output_help = "The working file to write; - or none: standard output.",
        .description =
            "Importance is magnitude. The kernels of convolutions and dense layers are pruned; biases, scales and "
            "shifts never are. A density is reached exactly: among equal magnitudes the weight that comes later goes "
            "first. A layer that is sparser already stays as it is.\n\n"
            "With --calib importance is the effect on the layer's output over the images, the remaining weights are "
            "updated to make up for those removed, and biases are corrected (Optimal Brain Compression, arXiv "
            "2208.11580).\n\n"
            "Prints for each layer the density before and after, the threshold and the largest change of a weight; on "
            "standard error when the model itself goes to standard output.\n\n"
            "A pattern is a shell pattern for the names that sqz-info lists: 'fire*' or 'classifier.[16]'.",
        .example = "sqz-prune squeezenet1_1.pth --density 0.6 --density 'features.0=1' -o pruned.h5\n"
                   "sqz-prune alexnet.onnx --scope global --density 0.11 | sqz-quantize | sqz-encode -o alexnet.sqz\n"
                   "sqz-prune squeezenet1_1.pth --density 0.5 --calib photos/ -o pruned.h5",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &prune.common, &operands, &n);
    const char *path;
    if (code == CMD_CONTINUE) code = cmd_model_operand(&prune.common, operands, n, &path);
    return code == CMD_CONTINUE ? prune_file(&prune, path) : code;
}
