/* cmd_decode.c - sqz-decode: turns a .sqz file back into a working file or another format. */
#include "cmd/commands.h"
#include "cmd/read_options.h"
#include "cmd/report.h"
#include "cmd/restore.h"

struct decode {
    struct cmd_common common;
    struct sqz_read_options read;
    int to; /* index into CMD_TARGETS, -1: by extension */
    bool as_float;
};

static int decode_file(const struct decode *decode, const char *path) {
    const struct cmd_common *common = &decode->common;
    const struct sqz_format *format = cmd_choose_target(common, decode->to, "hdf5");
    const char *output;
    if (!format) return CMD_USAGE;
    int code = cmd_choose_output(common, &path, 1, &output);
    if (code != CMD_CONTINUE) return code;
    struct cmd_model input;
    code = cmd_read_model(common, path, &decode->read, &input);
    if (code != CMD_CONTINUE) return code;
    if (decode->as_float) code = cmd_unpack(common, input.model);
    size_t output_nbytes = 0;
    if (code == CMD_CONTINUE) code = cmd_write_model(common, format, input.model, output, &output_nbytes);
    if (code == CMD_DONE) code = cmd_report_written(common, format, input.model, output, output_nbytes);
    cmd_model_free(&input);
    return code;
}

int cmd_decode(int argc, char **argv) {
    struct decode decode = {.to = -1};
    const struct cmd_option options[] = {
        {.name = "to",
         .kind = CMD_CHOICE,
         .value = "FORMAT",
         .choices = CMD_TARGETS,
         .target = &decode.to,
         .help = "Format to write: hdf5 (a working file), onnx or npz; by default what the extension of the output "
                 "says, else hdf5."},
        {.name = "float",
         .kind = CMD_FLAG,
         .target = &decode.as_float,
         .help = "Store the restored float32 weights in a working file, not their shared values."},
        CMD_READ_OPTIONS(decode.read),
        {0},
    };
    const struct cmd_page page = {
        .command = "sqz-decode",
        .summary = "Turn a .sqz file back into a working file or another format",
        .operands = "[MODEL]",
        .max_operands = 1,
        .shared = CMD_HAS_OUTPUT | CMD_HAS_JSON | CMD_HAS_THREADS,
        .output_help = "The file to write; - or none: standard output.",
        .description =
            "Restores exactly the quantised weights that sqz-encode was given. A working file keeps the shared "
            "values as such, so encoding it again gives the same .sqz file; the other formats hold floats.",
        .example = "sqz-decode model.sqz -o model.h5\n"
                   "sqz-decode model.sqz --to onnx -o model.onnx",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &decode.common, &operands, &n);
    const char *path;
    if (code == CMD_CONTINUE) code = cmd_model_operand(&decode.common, operands, n, &path);
    return code == CMD_CONTINUE ? decode_file(&decode, path) : code;
}
