/* model_io.h - how every command reads its model and writes its result. */
#ifndef SQZ_CMD_MODEL_IO_H
#define SQZ_CMD_MODEL_IO_H

#include <stdio.h>

#include "cmd/options.h"
#include "formats/formats.h"

/*
 * The path that output goes to: -o, or "-" (standard output) when that is not
 * a terminal. Refuses, with a line on standard error and an exit code other
 * than CMD_CONTINUE, to write binary data to a terminal or over one of the
 * n_inputs input files.
 */
int cmd_choose_output(const struct cmd_common *common, const char *const *inputs, size_t n_inputs, const char **out);

/* The model to read: the operand or, without one, "-" unless standard input is a terminal (a usage error). */
int cmd_model_operand(const struct cmd_common *common, char **operands, size_t n_operands, const char **out);

/* Where tables go: standard error when the model itself goes to standard output. */
FILE *cmd_report_stream(const char *output);

/* What a command knows about a model it has read. */
struct cmd_model {
    const char *path;
    struct sqz_model *model;
    const char *format;       /* name of the format */
    struct sqz_source source; /* open for a .sqz file only */
    size_t file_nbytes;       /* of all files it was read from */
    double read_seconds;      /* from opening the file to the finished model */
};

/* Read a model, print its reader's warnings, and record its size; the exit code when that fails. */
int cmd_read_model(const struct cmd_common *common, const char *path, const struct sqz_read_options *options,
                   struct cmd_model *out);
void cmd_model_free(struct cmd_model *model);

/* Write the model in one format, and say on standard error what failed; CMD_DONE or the exit code. */
int cmd_write_model(const struct cmd_common *common, const struct sqz_format *format, const struct sqz_model *model,
                    const char *path, size_t *out_nbytes);

/* Name of an output for people: "standard output" for "-". */
const char *cmd_output_name(const char *path);

#endif
