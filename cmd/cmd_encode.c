/* cmd_encode.c - sqz-encode: writes a model as a small .sqz file. */
#include <string.h>

#include "cmd/commands.h"
#include "cmd/model_facts.h"
#include "cmd/model_io.h"
#include "cmd/read_options.h"
#include "cmd/report.h"
#include "lib/container.h"

struct encode {
    struct cmd_common common;
    struct sqz_read_options read;
    int coder, bias; /* enum sqz_coder, enum sqz_bias_kind */
};

/*
 * Kernels that hold few distinct values, such as those of a decoded model that
 * went through another format, get their exact codebook. *n_float counts the
 * kernels that stay floats.
 */
static enum sqz_status pack_few_valued(struct sqz_model *model, size_t *n_float, struct sqz_error *err) {
    *n_float = 0;
    for (size_t i = 0; i < model->n_weights; i++) {
        struct sqz_weight *weight = &model->weights[i];
        if (weight->role != SQZ_ROLE_KERNEL || weight->packed) continue;
        SQZ_TRY(sqz_packed_from_values(weight->data, weight->count, &weight->packed, err));
        if (weight->packed) {
            sqz_free(weight->data);
            weight->data = NULL;
        } else {
            ++*n_float;
        }
    }
    return SQZ_OK;
}

static int report(const struct encode *encode, const struct cmd_model *input, const char *output,
                  size_t output_nbytes) {
    FILE *stream = cmd_report_stream(output);
    size_t float_nbytes = sqz_model_float_nbytes(input->model);
    double ratio = cmd_ratio(float_nbytes, output_nbytes);
    double bits = float_nbytes ? 8.0 * (double)output_nbytes / ((double)float_nbytes / sizeof(float)) : 0;
    if (encode->common.json) {
        json_t *json = json_pack("{s:o, s:I, s:I, s:I, s:o, s:o}", "output", cmd_json_text(output), "output_nbytes",
                                 (json_int_t)output_nbytes, "float_nbytes", (json_int_t)float_nbytes, "input_nbytes",
                                 (json_int_t)input->file_nbytes, "ratio", cmd_json_real(ratio), "bits_per_weight",
                                 cmd_json_real(bits));
        return cmd_json_print(&encode->common, json, stream);
    }
    if (encode->common.quiet) return CMD_DONE;
    fprintf(stream,
            "wrote %s, %zu bytes: %.2f times smaller than its %zu bytes as float32, %.2f times than its input, "
            "%.3f bits per weight\n",
            cmd_output_name(output), output_nbytes, ratio, float_nbytes, cmd_ratio(input->file_nbytes, output_nbytes),
            bits);
    return CMD_DONE;
}

static int encode_model(const struct encode *encode, struct cmd_model *input, const char *output) {
    const struct sqz_encode_options options = {.coder = (enum sqz_coder)encode->coder,
                                               .bias = (enum sqz_bias_kind)encode->bias};
    struct sqz_buffer buffer = {0};
    struct sqz_error err = {0};
    size_t n_float = 0;
    enum sqz_status status = pack_few_valued(input->model, &n_float, &err);
    if (status == SQZ_OK) status = sqz_container_encode(input->model, &options, &buffer, &err);
    if (status != SQZ_OK) {
        sqz_error_set_file(&err, input->path);
        return cmd_failure(&encode->common, &err);
    }
    if (n_float)
        cmd_warn(
            &encode->common,
            "%s: %zu layers have more than 256 distinct values and are stored as floats; sqz-quantize makes them small",
            input->path, n_float);
    status = sqz_write_file(output, buffer.data, buffer.nbytes, &err);
    size_t nbytes = buffer.nbytes;
    sqz_buffer_free(&buffer);
    return status == SQZ_OK ? report(encode, input, output, nbytes) : cmd_write_failure(&encode->common, &err);
}

static int encode_file(const struct encode *encode, const char *path) {
    const char *output;
    int code = cmd_choose_output(&encode->common, &path, 1, &output);
    if (code != CMD_CONTINUE) return code;
    struct cmd_model input;
    code = cmd_read_model(&encode->common, path, &encode->read, &input);
    if (code != CMD_CONTINUE) return code;
    code = encode_model(encode, &input, output);
    cmd_model_free(&input);
    return code;
}

int cmd_encode(int argc, char **argv) {
    struct encode encode = {0};
    const struct cmd_option options[] = {
        {.name = "coder",
         .kind = CMD_CHOICE,
         .value = "CODER",
         .choices = "auto huffman range",
         .target = &encode.coder,
         .help = "Entropy coder: auto, the default (for each layer the smaller), huffman or range."},
        {.name = "bias",
         .kind = CMD_CHOICE,
         .value = "TYPE",
         .choices = "fp16 fp32 8 10", /* the order of enum sqz_bias_kind */
         .target = &encode.bias,
         .help = "Store biases, scales and shifts as fp16, the default, or fp32; 8 or 10: biases as levels of so many "
                 "bits with a step for each layer."},
        CMD_READ_OPTIONS(encode.read),
        {0},
    };
    const struct cmd_page page = {
        .command = "sqz-encode",
        .summary = "Write a model as a small .sqz file",
        .operands = "[MODEL]",
        .max_operands = 1,
        .shared = CMD_HAS_OUTPUT | CMD_HAS_JSON | CMD_HAS_THREADS,
        .output_help = "The .sqz file to write; - or none: standard output.",
        .description =
            "Codes the shared values of a model that went through sqz-quantize, without further loss. A layer whose "
            "floats take at most 256 distinct values besides zero is coded exactly as well, so that a decoded model "
            "may be encoded again; other layers are stored as they are, with a warning. Biases lose precision "
            "beyond what --bias says.\n\n"
            "The same model gives the same bytes, whatever the number of threads.",
        .example = "sqz-encode quantized.h5 -o model.sqz\n"
                   "sqz-quantize m.onnx --bits 6 | sqz-encode --bias fp32 -o m.sqz",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &encode.common, &operands, &n);
    const char *path;
    if (code == CMD_CONTINUE) code = cmd_model_operand(&encode.common, operands, n, &path);
    return code == CMD_CONTINUE ? encode_file(&encode, path) : code;
}
