/* compress_parts.h - the inside of struct sqz_compressor. Private to eval/compress*.c. */
#ifndef SQZ_EVAL_COMPRESS_PARTS_H
#define SQZ_EVAL_COMPRESS_PARTS_H

#include "eval/allocate.h"
#include "eval/compress.h"
#include "eval/evaluate.h"

/* Labelled images for --max-drop, and how the float net does on them. */
struct sqz_holdout {
    const struct sqz_dataset *dataset; /* NULL: none */
    size_t n_images, top1_float;
    uint8_t (*digests)[SQZ_SHA256_NBYTES]; /* [n_images] */
};

/* Settings that a sweep tries on each layer at the most. */
#define SQZ_COMPRESS_MAX_SETTINGS 32

struct sqz_compressor {
    struct sqz_model *model;
    struct sqz_compress_options options; /* with the defaults filled in */
    struct sqz_layer_setting settings[SQZ_COMPRESS_MAX_SETTINGS];
    size_t n_settings;
    struct sqz_calibration *images;
    struct sqz_calibration statistics, probe_images; /* parts of images */
    struct sqz_probe *probe;
    struct sqz_holdout holdout;
    uint8_t key[SQZ_SHA256_NBYTES];
    char *cache;
    struct sqz_sensitivity sensitivity;
    size_t n_cached;
    struct sqz_curve *curves;       /* [n_layers] */
    struct sqz_curve_point *points; /* [n_layers][n_settings] */
    struct sqz_choice *choices;     /* [n_layers] */
    double smallest_nbits; /* that the curves allow */
    size_t fixed_nbytes;
    unsigned n_tries;
    char stage[64];
};

void sqz_compressor_report(const struct sqz_compressor *compressor, const char *stage, size_t done, size_t total);

/* Count what a compressed net gets right into candidate->n_holdout, top1_correct and top1_float. */
enum sqz_status sqz_holdout_measure(const struct sqz_holdout *holdout, const struct sqz_model *model,
                                    struct sqz_candidate *candidate, struct sqz_error *err);

/* Record the images in the model. */
enum sqz_status sqz_holdout_record(const struct sqz_holdout *holdout, struct sqz_model *model, struct sqz_error *err);
void sqz_holdout_free(struct sqz_holdout *holdout);

#endif
