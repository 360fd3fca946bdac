/* restore.c - what sqz-decode and sqz-export share. */
#include "cmd/restore.h"

#include <string.h>

#include "cmd/report.h"

const struct sqz_format *cmd_choose_target(const struct cmd_common *common, int to, const char *fallback) {
    static const char *const names[] = {"hdf5", "onnx", "npz"};
    const struct sqz_format *format;
    if (to >= 0)
        format = sqz_format_find(names[to], NULL);
    else
        format = common->output ? sqz_format_find(NULL, common->output) : NULL;
    if (!format && fallback) format = sqz_format_find(fallback, NULL);
    if (!format) {
        cmd_usage(common->command, "name the target with --to, one of: %s", CMD_TARGETS);
        return NULL;
    }
    bool is_sqz = strcmp(format->name, "sqz") == 0;
    if (format->write && !is_sqz) return format;
    cmd_usage(common->command, "%s: %s", common->output,
              is_sqz ? "sqz-encode writes .sqz files" : "no writer for this format; --to takes one of: " CMD_TARGETS);
    return NULL;
}

int cmd_unpack(const struct cmd_common *common, struct sqz_model *model) {
    struct sqz_error err = {0};
    for (size_t i = 0; i < model->n_weights; i++) {
        struct sqz_weight *weight = &model->weights[i];
        if (!weight->packed) continue;
        if (sqz_weight_need_data(weight, &err) != SQZ_OK) return cmd_failure(common, &err);
        sqz_packed_free(weight->packed);
        weight->packed = NULL;
    }
    return CMD_CONTINUE;
}

int cmd_report_written(const struct cmd_common *common, const struct sqz_format *format, const struct sqz_model *model,
                       const char *output, size_t output_nbytes) {
    FILE *stream = cmd_report_stream(output);
    size_t float_nbytes = sqz_model_float_nbytes(model);
    if (common->json) {
        json_t *json =
            json_pack("{s:o, s:I, s:s, s:I}", "output", cmd_json_text(output), "output_nbytes",
                      (json_int_t)output_nbytes, "format", format->name, "float_nbytes", (json_int_t)float_nbytes);
        return cmd_json_print(common, json, stream);
    }
    if (!common->quiet)
        fprintf(stream, "wrote %s (%s), %zu bytes\n", cmd_output_name(output), format->name, output_nbytes);
    return CMD_DONE;
}
