/* model_io.c - reading a command's model and writing its result. */
#include "cmd/model_io.h"

#include <string.h>
#include <unistd.h>

#include "cmd/progress.h"
#include "cmd/report.h"

const char *cmd_output_name(const char *path) {
    return strcmp(path, "-") == 0 ? "standard output" : path;
}

int cmd_model_operand(const struct cmd_common *common, char **operands, size_t n_operands, const char **out) {
    if (n_operands == 0 && isatty(STDIN_FILENO))
        return cmd_usage(common->command, "name a model file, or let one come through standard input");
    *out = n_operands ? operands[0] : "-";
    return CMD_CONTINUE;
}

FILE *cmd_report_stream(const char *output) {
    return strcmp(output, "-") == 0 ? stderr : stdout;
}

int cmd_choose_output(const struct cmd_common *common, const char *const *inputs, size_t n_inputs, const char **out) {
    const char *path = common->output ? common->output : "-";
    bool terminal = strcmp(path, "-") == 0 && isatty(STDOUT_FILENO);
    if (terminal) return cmd_usage(common->command, "the result is binary: name a file with -o FILE");
    for (size_t i = 0; i < n_inputs; i++) {
        if (!inputs[i] || strcmp(path, "-") == 0 || strcmp(inputs[i], "-") == 0 || !sqz_same_file(path, inputs[i]))
            continue;
        struct sqz_error err = {0};
        sqz_fail(&err, SQZ_IO, "is an input of this command and would be overwritten");
        sqz_error_set_file(&err, path);
        return cmd_failure(common, &err);
    }
    *out = path;
    return CMD_CONTINUE;
}

struct warning_context {
    const struct cmd_common *common;
    const char *path;
};

static void print_warning(void *context, const char *text) {
    const struct warning_context *warning = context;
    if (!warning->common->quiet) cmd_warn(warning->common, "%s: %s", warning->path, text);
}

static enum sqz_status read_model(const struct sqz_read_options *options, struct cmd_model *out,
                                  struct sqz_error *err) {
    SQZ_TRY(sqz_source_open(out->path, SQZ_SOURCE_LIMIT, &out->source, err));
    enum sqz_status status = sqz_model_read_source(&out->source, options, &out->model, err);
    /* A .sqz file is small, and its ledger wants the bytes; everything else is let go at once. */
    if (status != SQZ_OK || strcmp((*options->format)->name, "sqz") != 0) sqz_source_close(&out->source);
    return status;
}

int cmd_read_model(const struct cmd_common *common, const char *path, const struct sqz_read_options *options,
                   struct cmd_model *out) {
    *out = (struct cmd_model){.path = path, .format = ""};
    struct warning_context warning = {common, path};
    struct sqz_read_options effective = options ? *options : (struct sqz_read_options){0};
    const struct sqz_format *format = NULL;
    effective.warn = print_warning;
    effective.warn_context = &warning;
    effective.file_nbytes = &out->file_nbytes;
    effective.format = &format;
    struct sqz_error err = {0};
    double start = cmd_now();
    if (read_model(&effective, out, &err) != SQZ_OK) {
        sqz_error_set_file(&err, path);
        return cmd_failure(common, &err);
    }
    out->read_seconds = cmd_now() - start;
    out->format = format->name;
    if (common->verbose)
        cmd_note(common, "read %s as %s: %s, %zu nodes, %zu bytes, %.1f ms", path, out->format, out->model->arch,
                 out->model->n_nodes, out->file_nbytes, 1e3 * out->read_seconds);
    return CMD_CONTINUE;
}

void cmd_model_free(struct cmd_model *model) {
    if (model->source.data) sqz_source_close(&model->source);
    sqz_model_free(model->model);
    model->model = NULL;
}

int cmd_write_model(const struct cmd_common *common, const struct sqz_format *format, const struct sqz_model *model,
                    const char *path, size_t *out_nbytes) {
    struct sqz_error err = {0};
    if (format->write(model, path, out_nbytes, &err) == SQZ_OK) return CMD_DONE;
    sqz_error_set_file(&err, path);
    return cmd_write_failure(common, &err);
}
