/* calibration_notice.c - the warning that a model was calibrated on the images it is judged by. */
#include "cmd/calibration_notice.h"

#include "cmd/report.h"

int cmd_notice_calibration(const struct cmd_common *common, const struct sqz_model *model,
                           const struct sqz_dataset *dataset, size_t n, const char *path, struct sqz_overlap *out) {
    struct sqz_error err = {0};
    if (sqz_image_overlap(&model->calibrated_on, dataset, n, out, &err) != SQZ_OK) return cmd_failure(common, &err);
    if (!out->convicted) return CMD_CONTINUE;
    cmd_warn(common,
             "%s: about %zu of the %zu images were among the %llu that the model was calibrated on; its accuracy and "
             "divergence on them prove little",
             path, out->n_likely, n, (unsigned long long)model->calibrated_on.n_images);
    return CMD_CONTINUE;
}
