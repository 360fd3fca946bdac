/* cmd_import.c - sqz-import: a trained model of any format becomes a working file. */
#include <string.h>

#include "cmd/class_names.h"
#include "cmd/commands.h"
#include "cmd/model_facts.h"
#include "cmd/model_io.h"
#include "cmd/preprocess_options.h"
#include "cmd/read_options.h"
#include "cmd/report.h"

struct import {
    struct cmd_common common;
    struct sqz_read_options read;
    struct cmd_preprocess preprocess;
    const char *labels;
};

/* Names and preprocessing of the command line into the model. */
static int complete_model(const struct import *import, struct sqz_model *model) {
    int code = cmd_preprocess_apply(&import->common, &import->preprocess, &model->input);
    if (code != CMD_CONTINUE) return code;
    struct sqz_error err = {0};
    enum sqz_status status = sqz_model_check(model, &err);
    if (status == SQZ_OK && import->labels) status = cmd_read_class_names(model, import->labels, &err);
    if (status == SQZ_OK) status = sqz_model_note(model, &err, "import from %s", model->source);
    return status == SQZ_OK ? CMD_CONTINUE : cmd_failure(&import->common, &err);
}

static int report(const struct import *import, const struct cmd_model *input, const char *output,
                  size_t output_nbytes) {
    FILE *stream = cmd_report_stream(output);
    struct cmd_facts facts = cmd_model_facts(input->model);
    if (import->common.json) {
        json_t *json =
            json_pack("{s:o, s:I, s:o, s:s, s:I, s:I}", "output", cmd_json_text(output), "output_nbytes",
                      (json_int_t)output_nbytes, "arch", cmd_json_text(input->model->arch), "format", input->format,
                      "weights", (json_int_t)facts.weights, "nonzero", (json_int_t)facts.nonzero);
        return cmd_json_print(&import->common, json, stream);
    }
    char text[CMD_INPUT_TEXT];
    if (import->common.quiet) return CMD_DONE;
    fprintf(stream, "%s: %s (%s), %zu weights, density %.3f\ninput: %s\nwrote %s, %zu bytes\n", input->path,
            input->model->arch, input->format, facts.weights, facts.density, cmd_input_text(&input->model->input, text),
            cmd_output_name(output), output_nbytes);
    return CMD_DONE;
}

static int import_model(const struct import *import, const char *path) {
    const char *inputs[] = {path, import->read.companion, import->labels}, *output;
    int code = cmd_choose_output(&import->common, inputs, 3, &output);
    if (code != CMD_CONTINUE) return code;
    struct cmd_model input;
    code = cmd_read_model(&import->common, path, &import->read, &input);
    if (code != CMD_CONTINUE) return code;
    size_t output_nbytes = 0;
    code = complete_model(import, input.model);
    if (code == CMD_CONTINUE)
        code = cmd_write_model(&import->common, sqz_format_find("hdf5", NULL), input.model, output, &output_nbytes);
    if (code == CMD_DONE) code = report(import, &input, output, output_nbytes);
    cmd_model_free(&input);
    return code;
}

int cmd_import(int argc, char **argv) {
    struct import import = {0};
    const struct cmd_option options[] = {
        CMD_READ_OPTIONS(import.read),
        {.name = "labels",
         .kind = CMD_TEXT,
         .value = "FILE",
         .target = &import.labels,
         .help = "Class names, one per line in label order; ImageNet's ids (n01440764) in front are dropped."},
        CMD_PREPROCESS_OPTIONS(import.preprocess),
        {0},
    };
    const struct cmd_page page = {
        .command = "sqz-import",
        .summary = "Read a trained model of any format into a working file",
        .operands = "[MODEL]",
        .max_operands = 1,
        .shared = CMD_HAS_OUTPUT | CMD_HAS_JSON,
        .output_help = "The working file to write (HDF5); - or none: standard output.",
        .description =
            "Reads PyTorch .pth, ONNX, ncnn .param with .bin, the Deep Compression authors' .net with its prototxt, "
            "HDF5 working files and .sqz, told apart by content, and writes the model with its graph, weights, "
            "preprocessing and class names as a working file.\n\n"
            "Every other command reads the same formats, so importing is needed only to add what a file lacks: "
            "the architecture, class names, the preprocessing.",
        .example = "sqz-import squeezenet1_1.pth --labels synset_words.txt -o squeezenet.h5\n"
                   "sqz-import model.param --companion model.bin --preprocess caffe -o model.h5",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &import.common, &operands, &n);
    const char *path;
    if (code == CMD_CONTINUE) code = cmd_model_operand(&import.common, operands, n, &path);
    return code == CMD_CONTINUE ? import_model(&import, path) : code;
}
