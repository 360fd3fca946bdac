/* eval_report.h - what sqz-eval prints. */
#ifndef SQZ_CMD_EVAL_REPORT_H
#define SQZ_CMD_EVAL_REPORT_H

#include "cmd/report.h"
#include "cmd/subject.h"
#include "eval/image_digest.h"

/* One layer with a kernel: its size and, against a baseline, how far its weights moved. */
struct cmd_layer_change {
    const char *layer; /* borrowed from the model */
    size_t count, nonzero;
    bool compared;         /* the baseline has this weight in the same shape */
    double max_change;     /* max |dw| */
    double relative_error; /* root of sum dw^2 / sum w^2 */
};

struct cmd_eval_result {
    const struct cmd_subject *model, *baseline; /* baseline may be NULL */
    const struct sqz_dataset *dataset;
    const struct sqz_evaluation *evaluation;
    uint32_t batch;
    struct cmd_layer_change *layers; /* NULL without --per-layer */
    size_t n_layers;
    struct sqz_overlap overlap; /* of the images with those that the model was calibrated on */
};

double cmd_top1(const struct cmd_eval_result *result, size_t subject);
double cmd_top5(const struct cmd_eval_result *result, size_t subject);

void cmd_eval_print_text(const struct cmd_eval_result *result);
int cmd_eval_print_json(const struct cmd_common *common, const struct cmd_eval_result *result);

/* One line for each image: name, five best classes; then label and probability of the best, behind a tab. */
enum sqz_status cmd_eval_write_predictions(const struct cmd_eval_result *result, const char *path,
                                           struct sqz_error *err);

/* Layers of a model, compared with a baseline's of the same weight names when there is one. */
enum sqz_status cmd_layer_changes(struct sqz_model *model, struct sqz_model *baseline, struct cmd_layer_change **out,
                                  size_t *out_n, struct sqz_error *err);

#endif
