/* calibration_notice.h - the warning that a model was calibrated on the images it is judged by. */
#ifndef SQZ_CMD_CALIBRATION_NOTICE_H
#define SQZ_CMD_CALIBRATION_NOTICE_H

#include "cmd/options.h"
#include "eval/image_digest.h"

/*
 * Hold the first n images of a data set against the model's record of
 * calibration images, and warn when there are more matches than chance
 * explains. `path` names the data set. CMD_CONTINUE or an exit code.
 */
int cmd_notice_calibration(const struct cmd_common *common, const struct sqz_model *model,
                           const struct sqz_dataset *dataset, size_t n, const char *path, struct sqz_overlap *out);

#endif
