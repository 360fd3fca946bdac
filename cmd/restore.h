/* restore.h - what sqz-decode and sqz-export share: choosing a format and writing float weights. */
#ifndef SQZ_CMD_RESTORE_H
#define SQZ_CMD_RESTORE_H

#include "cmd/model_io.h"

/* The formats that can be written, for an option's `choices`; .sqz is sqz-encode's. */
#define CMD_TARGETS "hdf5 onnx npz"

/*
 * The row of the target: number `to` of CMD_TARGETS or, with to < 0, by the output's extension, else `fallback`; NULL
 * after a usage error.
 */
const struct sqz_format *cmd_choose_target(const struct cmd_common *common, int to, const char *fallback);

/* Replace shared values by their floats, in place. */
int cmd_unpack(const struct cmd_common *common, struct sqz_model *model);

/* "wrote FILE, N bytes" or the JSON object with output, output_nbytes, format and float_nbytes. */
int cmd_report_written(const struct cmd_common *common, const struct sqz_format *format, const struct sqz_model *model,
                       const char *output, size_t output_nbytes);

#endif
