/* cmd_info.c - sqz-info: shows a model layer by layer and where its bytes go. */
#include <stdio.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/model_facts.h"
#include "cmd/model_io.h"
#include "cmd/preprocess_options.h"
#include "cmd/read_options.h"
#include "cmd/report.h"
#include "lib/container.h"
#include "lib/infer.h"

struct info {
    struct cmd_common common;
    struct sqz_read_options read;
    struct cmd_preprocess preprocess;
    bool nodes;
};

/* All that is printed, gathered first. */
struct facts_of_file {
    const struct cmd_model *input;
    struct cmd_facts facts;
    struct sqz_shape *shapes; /* [n_nodes] for one image */
    bool has_ledger;          /* a .sqz file */
    struct sqz_ledger ledger;
    struct sqz_tensor_stats *stats; /* [n_weights], with a ledger */
};

static enum sqz_status gather(struct facts_of_file *file, struct sqz_error *err) {
    const struct sqz_model *model = file->input->model;
    file->facts = cmd_model_facts(model);
    file->shapes = sqz_alloc(model->n_nodes, sizeof *file->shapes);
    if (!file->shapes) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    SQZ_TRY(sqz_infer_shapes(model, 1, 0, 0, file->shapes, err));
    file->has_ledger = file->input->source.data != NULL;
    if (!file->has_ledger) return SQZ_OK;
    file->stats = sqz_alloc0(model->n_weights + 1, sizeof *file->stats);
    if (!file->stats) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    const struct sqz_source *source = &file->input->source;
    return sqz_container_ledger(source->data, source->nbytes, model, &file->ledger, file->stats, err);
}

/* ---- the ledger and Table 4 --------------------------------------------- */

#define LEDGER_LINES 8

static void ledger_lines(const struct sqz_ledger *ledger, const char *names[LEDGER_LINES],
                         size_t nbytes[LEDGER_LINES]) {
    static const char *const all[LEDGER_LINES] = {"header", "graph",     "codebooks", "tables",
                                                  "values", "positions", "biases",    "floats"};
    const size_t sizes[LEDGER_LINES] = {ledger->header_nbytes, ledger->graph_nbytes, ledger->codebook_nbytes,
                                        ledger->table_nbytes,  ledger->value_nbytes, ledger->position_nbytes,
                                        ledger->bias_nbytes,   ledger->float_nbytes};
    memcpy(names, all, sizeof all);
    memcpy(nbytes, sizes, sizeof sizes);
}

static void print_ledger(const struct sqz_ledger *ledger, size_t file_nbytes) {
    const char *names[LEDGER_LINES];
    size_t nbytes[LEDGER_LINES], total = 0;
    ledger_lines(ledger, names, nbytes);
    printf("\nwhere the bytes go\n");
    for (int i = 0; i < LEDGER_LINES; i++) {
        printf("  %-10s %10zu  %5.1f%%\n", names[i], nbytes[i],
               file_nbytes ? 100.0 * (double)nbytes[i] / (double)file_nbytes : 0);
        total += nbytes[i];
    }
    printf("  %-10s %10zu\n", "file", total);
}

/* Bits of a number in [0, n]. */
static unsigned bits_for(size_t n) {
    unsigned bits = 0;
    for (; n; n >>= 1) bits++;
    return bits;
}

/* Share of a kernel's float32 size that pruning and quantisation leave, before entropy coding. */
static double rate_pruned_quantized(const struct sqz_tensor_stats *stats, const struct sqz_weight *weight) {
    if (stats->count == 0) return 0;
    double codebook_bits = weight->packed ? 32.0 * (weight->packed->n_codebook + weight->packed->n_steps) : 0;
    double bits = (double)stats->nonzero * (stats->weight_bits + stats->index_bits);
    /* A dense stream has no positions: zero is one more value, and every weight takes its place in the stream. */
    if (strcmp(stats->layout, "dense") == 0 && weight->packed && weight->packed->kind == SQZ_LEVELS_CODEBOOK)
        bits = (double)stats->count * bits_for(weight->packed->n_codebook);
    return (bits + codebook_bits) / (32.0 * (double)stats->count);
}

static double rate_coded(const struct sqz_tensor_stats *stats) {
    return stats->count ? (double)stats->section_nbytes / (4.0 * (double)stats->count) : 0;
}

/* The columns of the Deep Compression paper's Table 4. */
static void print_table4(const struct facts_of_file *file) {
    static const char *const titles[] = {"<layer", "weights", "density", "weight bits", "coded",   "index bits",
                                         "coded",  "P+Q",     "P+Q+H",   "bytes",       "<layout", "<coder"};
    const struct sqz_model *model = file->input->model;
    struct cmd_table table;
    cmd_table_begin(&table, titles, 12);
    for (size_t i = 0; i < model->n_weights; i++) {
        if (model->weights[i].role != SQZ_ROLE_KERNEL) continue;
        const struct sqz_tensor_stats *stats = &file->stats[i];
        cmd_table_cell(&table, "%s", sqz_model_layer_name(model, i));
        cmd_table_cell(&table, "%zu", stats->count);
        cmd_table_cell(&table, "%.3f", stats->count ? (double)stats->nonzero / (double)stats->count : 1);
        cmd_table_cell(&table, "%.2f", stats->weight_bits);
        cmd_table_cell(&table, "%.2f", stats->weight_bits_coded);
        cmd_table_cell(&table, "%.2f", stats->index_bits);
        cmd_table_cell(&table, "%.2f", stats->index_bits_coded);
        cmd_table_cell(&table, "%.2f%%", 100 * rate_pruned_quantized(stats, &model->weights[i]));
        cmd_table_cell(&table, "%.2f%%", 100 * rate_coded(stats));
        cmd_table_cell(&table, "%zu", stats->section_nbytes);
        cmd_table_cell(&table, "%s", stats->layout);
        cmd_table_cell(&table, "%s", stats->coder);
    }
    printf("\nkernels, bits per weight that is left before and after entropy coding, size against float32\n");
    cmd_table_print(&table, stdout);
    cmd_table_free(&table);
}

/* ---- text --------------------------------------------------------------- */

/* Number of different values a kernel can take, zero not counted; 0 for floats. */
static size_t shared_values(const struct sqz_weight *weight) {
    return weight->packed ? weight->packed->n_codebook : 0;
}

static const char *storage(const struct sqz_weight *weight, char buffer[32]) {
    if (!weight->packed) return "float32";
    if (weight->packed->kind == SQZ_LEVELS_UNIFORM)
        return weight->packed->trellis_states ? "uniform, trellis" : "uniform";
    snprintf(buffer, 32, "%zu values", shared_values(weight));
    return buffer;
}

static void print_layers(const struct facts_of_file *file, bool all_nodes) {
    static const char *const titles[] = {"<layer", "<type", "<output", "<kernel", "weights", "density", "<stored as"};
    const struct sqz_model *model = file->input->model;
    struct cmd_table table;
    cmd_table_begin(&table, titles, 7);
    for (size_t i = 0; i < model->n_nodes; i++) {
        const struct sqz_node *node = &model->nodes[i];
        if (node->kernel == SQZ_NO_WEIGHT && !all_nodes) continue;
        char shape[SQZ_SHAPE_TEXT], how[32];
        cmd_table_cell(&table, "%s", node->name);
        cmd_table_cell(&table, "%s", sqz_op_name(node->op));
        cmd_table_cell(&table, "%s", sqz_shape_format(&file->shapes[i], shape));
        if (node->kernel == SQZ_NO_WEIGHT) {
            for (int c = 0; c < 4; c++) cmd_table_cell(&table, "%s", "");
            continue;
        }
        const struct sqz_weight *kernel = &model->weights[node->kernel];
        size_t count = kernel->count + (node->bias == SQZ_NO_WEIGHT ? 0 : model->weights[node->bias].count);
        cmd_table_cell(&table, "%s", sqz_shape_format(&kernel->shape, shape));
        cmd_table_cell(&table, "%zu", count);
        cmd_table_cell(&table, "%.3f", kernel->count ? (double)cmd_weight_nonzero(kernel) / (double)kernel->count : 1);
        cmd_table_cell(&table, "%s", storage(kernel, how));
    }
    cmd_table_print(&table, stdout);
    cmd_table_free(&table);
}

static void print_text(const struct facts_of_file *file, bool all_nodes) {
    const struct cmd_model *input = file->input;
    const struct sqz_model *model = input->model;
    size_t float_nbytes = sqz_model_float_nbytes(model);
    char text[CMD_INPUT_TEXT], shape[SQZ_SHAPE_TEXT];
    printf("%s: %s, read as %s, first from %s\n", input->path, model->arch, input->format, model->source);
    printf("input: %s\n", cmd_input_text(&model->input, text));
    printf("output: %s", sqz_shape_format(&file->shapes[model->output], shape));
    if (model->n_classes_named) printf(", %zu class names", model->n_classes_named);
    printf("\n%zu weights, %zu of them not zero; density of the kernels %.4f; stage: %s\n", file->facts.weights,
           file->facts.nonzero, file->facts.density, file->has_ledger ? "encoded" : file->facts.stage);
    printf("%zu bytes, %zu as float32: ratio %.2f, %.3f bits per weight\n", input->file_nbytes, float_nbytes,
           cmd_ratio(float_nbytes, input->file_nbytes),
           file->facts.weights ? 8.0 * (double)input->file_nbytes / (double)file->facts.weights : 0);
    for (size_t i = 0; i < model->n_history; i++) {
        printf("%s", i ? "" : "history:\n");
        printf("  %zu. ", i + 1);
        for (const char *p = model->history[i]; *p; p++) putchar((unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p);
        printf("\n");
    }
    printf("\n");
    print_layers(file, all_nodes);
    if (!file->has_ledger) return;
    print_table4(file);
    print_ledger(&file->ledger, input->file_nbytes);
}

/* ---- JSON --------------------------------------------------------------- */

static json_t *shape_json(const struct sqz_shape *shape) {
    json_t *list = json_array();
    for (uint32_t d = 0; d < shape->rank; d++) json_array_append_new(list, json_integer((json_int_t)shape->dim[d]));
    return list;
}

static json_t *reals_json(const float *values, uint32_t n) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < n && i < 4; i++) json_array_append_new(list, cmd_json_real((double)values[i]));
    return list;
}

static json_t *input_json(const struct sqz_input *input) {
    static const char *const orders[] = {"rgb", "bgr", "grey"};
    static const char *const filters[] = {"pil", "bilinear"};
    return json_pack("{s:i, s:i, s:i, s:i, s:b, s:s, s:s, s:o, s:o, s:o}", "channels", (int)input->channels, "height",
                     (int)input->height, "width", (int)input->width, "resize_short", (int)input->resize_short, "squash",
                     input->squash, "order", orders[input->order], "filter", filters[input->filter], "scale",
                     cmd_json_real((double)input->scale), "mean", reals_json(input->mean, input->channels), "std",
                     reals_json(input->std, input->channels));
}

static void add_table4(json_t *layer, const struct sqz_tensor_stats *stats, const struct sqz_weight *weight) {
    json_t *more = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:s, s:s, s:o, s:I}", "weight_bits", cmd_json_real(stats->weight_bits),
        "weight_bits_coded", cmd_json_real(stats->weight_bits_coded), "index_bits", cmd_json_real(stats->index_bits),
        "index_bits_coded", cmd_json_real(stats->index_bits_coded), "rate_pq",
        cmd_json_real(rate_pruned_quantized(stats, weight)), "rate_pqh", cmd_json_real(rate_coded(stats)),
        "section_nbytes", (json_int_t)stats->section_nbytes, "layout", stats->layout, "coder", stats->coder,
        "entropy_nbits", cmd_json_real(stats->entropy_nbits), "stream_nbits", (json_int_t)stats->stream_nbits);
    json_object_update(layer, more);
    json_decref(more);
}

static json_t *layers_json(const struct facts_of_file *file) {
    const struct sqz_model *model = file->input->model;
    json_t *layers = json_array();
    for (size_t i = 0; i < model->n_nodes; i++) {
        const struct sqz_node *node = &model->nodes[i];
        json_t *layer = json_pack("{s:o, s:s, s:o}", "layer", cmd_json_text(node->name), "type", sqz_op_name(node->op),
                                  "output", shape_json(&file->shapes[i]));
        if (layer && node->kernel != SQZ_NO_WEIGHT) {
            const struct sqz_weight *kernel = &model->weights[node->kernel];
            json_object_set_new(layer, "kernel", shape_json(&kernel->shape));
            json_object_set_new(layer, "weights", cmd_json_size(kernel->count));
            json_object_set_new(layer, "nonzero", cmd_json_size(cmd_weight_nonzero(kernel)));
            json_object_set_new(layer, "codebook", cmd_json_size(shared_values(kernel)));
            if (node->bias != SQZ_NO_WEIGHT)
                json_object_set_new(layer, "biases", cmd_json_size(model->weights[node->bias].count));
            if (file->has_ledger) add_table4(layer, &file->stats[node->kernel], kernel);
        }
        json_array_append_new(layers, layer);
    }
    return layers;
}

static json_t *strings_json(const char *const *strings, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, cmd_json_text(strings[i]));
    return list;
}

static json_t *ledger_json(const struct sqz_ledger *ledger) {
    const char *names[LEDGER_LINES];
    size_t nbytes[LEDGER_LINES];
    ledger_lines(ledger, names, nbytes);
    json_t *object = json_object();
    char key[32];
    for (int i = 0; i < LEDGER_LINES; i++) {
        snprintf(key, sizeof key, "%s_nbytes", names[i]);
        json_object_set_new(object, key, cmd_json_size(nbytes[i]));
    }
    return object;
}

static int print_json(const struct info *info, const struct facts_of_file *file) {
    const struct cmd_model *input = file->input;
    const struct sqz_model *model = input->model;
    size_t float_nbytes = sqz_model_float_nbytes(model);
    json_t *json =
        json_pack("{s:o, s:o, s:s, s:o, s:s, s:I, s:I, s:o, s:I, s:I, s:o, s:o, s:o, s:I, s:o}", "model",
                  cmd_json_text(input->path), "arch", cmd_json_text(model->arch), "format", input->format, "source",
                  cmd_json_text(model->source), "stage", file->has_ledger ? "encoded" : file->facts.stage, "weights",
                  (json_int_t)file->facts.weights, "nonzero", (json_int_t)file->facts.nonzero, "density",
                  cmd_json_real(file->facts.density), "file_nbytes", (json_int_t)input->file_nbytes, "float_nbytes",
                  (json_int_t)float_nbytes, "ratio", cmd_json_real(cmd_ratio(float_nbytes, input->file_nbytes)),
                  "input", input_json(&model->input), "output", shape_json(&file->shapes[model->output]),
                  "classes_named", (json_int_t)model->n_classes_named, "layers", layers_json(file));
    if (json && file->has_ledger) json_object_set_new(json, "ledger", ledger_json(&file->ledger));
    if (json) json_object_set_new(json, "history", strings_json(model->history, model->n_history));
    return cmd_json_print(&info->common, json, stdout);
}

/* ---- the command -------------------------------------------------------- */

static int show_model(const struct info *info, struct cmd_model *input) {
    struct facts_of_file file = {.input = input};
    struct sqz_error err = {0};
    int code = cmd_preprocess_apply(&info->common, &info->preprocess, &input->model->input);
    if (code != CMD_CONTINUE) return code;
    if (gather(&file, &err) != SQZ_OK) {
        sqz_error_set_file(&err, input->path);
        code = cmd_failure(&info->common, &err);
    } else if (info->common.json) {
        code = print_json(info, &file);
    } else {
        print_text(&file, info->nodes);
        code = CMD_DONE;
    }
    sqz_free(file.stats);
    sqz_free(file.shapes);
    return code;
}

static int show_file(const struct info *info, const char *path) {
    struct cmd_model input;
    int code = cmd_read_model(&info->common, path, &info->read, &input);
    if (code != CMD_CONTINUE) return code;
    code = show_model(info, &input);
    cmd_model_free(&input);
    return code;
}

int cmd_info(int argc, char **argv) {
    struct info info = {0};
    const struct cmd_option options[] = {
        {.name = "nodes",
         .letter = 'a',
         .kind = CMD_FLAG,
         .target = &info.nodes,
         .help = "List every node of the graph, not only those with weights."},
        CMD_READ_OPTIONS(info.read),
        CMD_PREPROCESS_OPTIONS(info.preprocess),
        {0},
    };
    const struct cmd_page page = {
        .command = "sqz-info",
        .summary = "Show a model layer by layer and where its bytes go",
        .operands = "[MODEL]",
        .max_operands = 1,
        .shared = CMD_HAS_JSON,
        .description =
            "Prints the architecture, the input the net expects, what was done to the model, and one line for each "
            "layer "
            "with weights: the shape of its result for one image and of its kernel, the number of weights (biases "
            "included), and the density of its kernel. --crop shows the shapes at another input size.\n\n"
            "For a .sqz file it adds the columns of the Deep Compression paper's Table 4 - bits for each weight that "
            "is "
            "left and for its index before and after entropy coding, size against float32 after pruning and "
            "quantisation (P+Q) and after coding (P+Q+H) - and a ledger that adds up to the file's size.",
        .example = "sqz-info squeezenet.sqz\n"
                   "sqz-info model.onnx --nodes --crop 227",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &info.common, &operands, &n);
    const char *path;
    if (code == CMD_CONTINUE) code = cmd_model_operand(&info.common, operands, n, &path);
    return code == CMD_CONTINUE ? show_file(&info, path) : code;
}
