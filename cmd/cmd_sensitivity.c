/* cmd_sensitivity.c - sqz-sensitivity: what each layer costs the net when it alone is made coarser. */
#include <string.h>

#include "cmd/commands.h"
#include "cmd/read_options.h"
#include "cmd/report.h"
#include "cmd/search_options.h"

struct sensitivity {
    struct cmd_common common;
    struct cmd_search search;
};

static void add_setting(struct cmd_table *table, const struct sqz_layer_setting *setting) {
    if (setting->method == SQZ_LAYER_UNIFORM)
        cmd_table_cell(table, "step %g", setting->step);
    else if (setting->density > 0 && setting->density < 1)
        cmd_table_cell(table, "%u bits of %g", setting->bits, setting->density);
    else if (setting->lambda > 0)
        cmd_table_cell(table, "%u bits at %g", setting->bits, setting->lambda);
    else
        cmd_table_cell(table, "%u bits", setting->bits);
}

static void fill_table(const struct sqz_model *model, const struct sqz_sensitivity *sweep, struct cmd_table *table) {
    static const char *const titles[] = {"<layer",    "weights", "setting",    "bits/weight", "coded bytes",
                                         "density", "relative error", "KL", "agreement"};
    cmd_table_begin(table, titles, sizeof titles / sizeof *titles);
    for (size_t i = 0; i < sweep->n_layers; i++)
        for (size_t k = 0; k < sweep->layers[i].n_points; k++) {
            const struct sqz_layer_sensitivity *layer = &sweep->layers[i];
            const struct sqz_sensitivity_point *p = &layer->points[k];
            cmd_table_cell(table, "%s", sqz_model_layer_name(model, layer->weight));
            cmd_table_cell(table, "%zu", layer->count);
            add_setting(table, &p->setting);
            cmd_table_cell(table, "%.4f", layer->count ? p->nbits / (double)layer->count : 0);
            cmd_table_cell(table, "%.0f", p->nbits / 8);
            cmd_table_cell(table, "%.4f", p->density);
            cmd_table_cell(table, "%.5g", p->output_power > 0 ? p->error / p->output_power : 0);
            cmd_table_cell(table, "%.6g", p->kl);
            cmd_table_cell(table, "%.4f", p->agreement);
        }
}

static json_t *point_json(const struct sqz_layer_sensitivity *layer, const struct sqz_sensitivity_point *p) {
    return json_pack("{s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "step", cmd_json_real(p->setting.step), "bits",
                     (int)p->setting.bits, "lambda", cmd_json_real(p->setting.lambda), "bits_per_weight",
                     cmd_json_real(layer->count ? p->nbits / (double)layer->count : 0), "coded_nbytes",
                     cmd_json_real(p->nbits / 8), "density", cmd_json_real(p->density), "relative_error",
                     cmd_json_real(p->output_power > 0 ? p->error / p->output_power : 0), "mean_kl",
                     cmd_json_real(p->kl), "agreement", cmd_json_real(p->agreement));
}

static int print_json(const struct sensitivity *sensitivity, const struct cmd_search_state *state) {
    const struct sqz_sensitivity *sweep = sqz_compressor_sensitivity(state->compressor);
    struct sqz_compressor_facts facts = sqz_compressor_facts(state->compressor);
    json_t *layers = json_array();
    for (size_t i = 0; i < sweep->n_layers; i++) {
        const struct sqz_layer_sensitivity *layer = &sweep->layers[i];
        json_t *points = json_array();
        for (size_t k = 0; k < layer->n_points; k++) json_array_append_new(points, point_json(layer, &layer->points[k]));
        json_array_append_new(layers, json_pack("{s:o, s:I, s:b, s:o}", "layer",
                                                cmd_json_text(sqz_model_layer_name(state->model.model, layer->weight)),
                                                "weights", (json_int_t)layer->count, "reached", (int)layer->reached,
                                                "points", points));
    }
    json_t *json = json_pack("{s:o, s:I, s:I, s:I, s:o}", "model", cmd_json_text(state->model.path), "images",
                             (json_int_t)facts.n_images, "probe_images", (json_int_t)facts.n_probe, "bad_images",
                             (json_int_t)facts.n_bad, "layers", layers);
    return cmd_json_print(&sensitivity->common, json, stdout);
}

static int write_csv(const struct sensitivity *sensitivity, const struct cmd_table *table, const char *path) {
    struct sqz_output out;
    struct sqz_error err = {0};
    enum sqz_status status = sqz_output_begin(path, &out, &err);
    if (status == SQZ_OK) {
        cmd_table_print_csv(table, out.stream);
        status = sqz_output_commit(&out, NULL, &err);
    }
    if (status == SQZ_OK) return CMD_DONE;
    sqz_error_set_file(&err, path);
    return cmd_write_failure(&sensitivity->common, &err);
}

static int report(const struct sensitivity *sensitivity, const struct cmd_search_state *state) {
    const struct cmd_common *common = &sensitivity->common;
    struct cmd_table table;
    fill_table(state->model.model, sqz_compressor_sensitivity(state->compressor), &table);
    int code = common->output ? write_csv(sensitivity, &table, common->output) : CMD_DONE;
    bool to_stdout = common->output && strcmp(common->output, "-") == 0;
    if (code == CMD_DONE && common->json) code = print_json(sensitivity, state);
    if (code == CMD_DONE && !common->json && !common->quiet && !to_stdout) cmd_table_print(&table, stdout);
    cmd_table_free(&table);
    return code;
}

static int measure_file(const struct sensitivity *sensitivity, const char *path) {
    const struct sqz_encode_options encode = {0};
    struct cmd_search_state state;
    if (sensitivity->common.json && sensitivity->common.output && strcmp(sensitivity->common.output, "-") == 0)
        return cmd_usage(sensitivity->common.command, "--json and -o - both want standard output");
    int code = cmd_search_open(&sensitivity->common, &sensitivity->search, &encode, path, &state);
    if (code != CMD_CONTINUE) return code;
    code = report(sensitivity, &state);
    cmd_search_close(&state);
    return code;
}

int cmd_sensitivity(int argc, char **argv) {
    struct sensitivity sensitivity = {.search = CMD_SEARCH_DEFAULTS};
    const struct cmd_option options[] = {CMD_SEARCH_OPTIONS(sensitivity.search), {0}};
    const struct cmd_page page = {
        .command = "sqz-sensitivity",
        .summary = "Measure what each layer costs the net when it alone is made coarser",
        .operands = "[MODEL] --calib DIR",
        .max_operands = 1,
        .shared = CMD_HAS_OUTPUT | CMD_HAS_JSON | CMD_HAS_THREADS | CMD_HAS_PROGRESS,
        .output_help = "A CSV file with the same table; -: on standard output, instead of it.",
        .description =
            "Compresses one layer at a time in a few ways, leaves the others as they are, and prints for each the coded "
            "size (order-0 entropy), the density, the squared error of the layer's output relative to its variance, and "
            "the Kullback-Leibler divergence (mean, in nats) and agreement of the best class of the net's result with "
            "the float net's, on images that the statistics did not see. sqz-compress begins with the same sweep and "
            "shares its cache.\n\n"
            "A step is in units of the standard deviation of the layer's weights.",
        .example = "sqz-sensitivity squeezenet1_1.pth --calib photographs/ -o sweep.csv\n"
                   "sqz-sensitivity m.onnx --calib photographs/ --levels codebook --cache sweeps/",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &sensitivity.common, &operands, &n);
    const char *path;
    if (code == CMD_CONTINUE) code = cmd_model_operand(&sensitivity.common, operands, n, &path);
    return code == CMD_CONTINUE ? measure_file(&sensitivity, path) : code;
}
