/* cmd_export.c - sqz-export: writes a model for other runtimes. */
#include <string.h>

#include "cmd/commands.h"
#include "cmd/model_facts.h"
#include "cmd/read_options.h"
#include "cmd/report.h"
#include "cmd/restore.h"

struct export {
    struct cmd_common common;
    struct sqz_read_options read;
    int to; /* index into CMD_TARGETS, -1: by extension */
};

/* People expect the file of a pruned model to be small; say where it is not. */
static void note_size(const struct cmd_common *common, const struct sqz_model *model, const struct sqz_format *format) {
    struct cmd_facts facts = cmd_model_facts(model);
    if (facts.density == 1 && facts.n_packed == 0) return;
    bool working = strcmp(format->name, "hdf5") == 0;
    cmd_note(common, "zeros and shared values do not shrink this target: %s",
             working ? "a working file stores every weight; sqz-encode writes the small file"
                     : "it stores every weight as float32; sqz-encode writes the small file");
}

static int export_file(const struct export *export, const char *path) {
    const struct cmd_common *common = &export->common;
    const struct sqz_format *format = cmd_choose_target(common, export->to, NULL);
    const char *output;
    if (!format) return CMD_USAGE;
    int code = cmd_choose_output(common, &path, 1, &output);
    if (code != CMD_CONTINUE) return code;
    struct cmd_model input;
    code = cmd_read_model(common, path, &export->read, &input);
    if (code != CMD_CONTINUE) return code;
    size_t output_nbytes = 0;
    code = cmd_write_model(common, format, input.model, output, &output_nbytes);
    if (code == CMD_DONE) {
        note_size(common, input.model, format);
        code = cmd_report_written(common, format, input.model, output, output_nbytes);
    }
    cmd_model_free(&input);
    return code;
}

int cmd_export(int argc, char **argv) {
    struct export export = {.to = -1};
    const struct cmd_option options[] = {
        {.name = "to",
         .letter = 't',
         .kind = CMD_CHOICE,
         .value = "FORMAT",
         .choices = CMD_TARGETS,
         .target = &export.to,
         .help = "Target: onnx, npz (an archive of NumPy arrays) or hdf5 (a working file); by default what the "
                 "extension of the output says."},
        CMD_READ_OPTIONS(export.read),
        {0},
    };
    const struct cmd_page page = {
        .command = "sqz-export",
        .summary = "Write a model for other runtimes",
        .operands = "[MODEL]",
        .max_operands = 1,
        .shared = CMD_HAS_OUTPUT | CMD_HAS_JSON,
        .output_help = "The file to write; - or none: standard output.",
        .description =
            "Restores the float32 weights and writes them in the target's format. No target makes use of zeros "
            "or shared values: the file is as large as the float model's, and no runtime becomes faster.",
        .example = "sqz-export model.sqz -o model.onnx",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &export.common, &operands, &n);
    const char *path;
    if (code == CMD_CONTINUE) code = cmd_model_operand(&export.common, operands, n, &path);
    return code == CMD_CONTINUE ? export_file(&export, path) : code;
}
