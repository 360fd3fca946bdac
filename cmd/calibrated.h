/* calibrated.h - what sqz-quantize and sqz-prune share when weights are compressed on calibration images. */
#ifndef SQZ_CMD_CALIBRATED_H
#define SQZ_CMD_CALIBRATED_H

#include "cmd/model_io.h"
#include "cmd/preprocess_options.h"
#include "cmd/report.h"
#include "eval/sequential.h"

struct cmd_calibrated {
    const char *folder; /* NULL: no calibration */
    long n_images, seed;
    double damping;
    bool one_pass, exif;
    bool given; /* an option that needs --calib was used */
    struct cmd_preprocess preprocess;
};

#define CMD_CALIBRATED_DEFAULTS {.n_images = SQZ_CALIBRATION_DEFAULT_IMAGES, .damping = SQZ_DEFAULT_DAMPING}

/* Rows for an option table; c is a struct cmd_calibrated. --seed is the command's own row. */
#define CMD_CALIBRATED_OPTIONS(c)                                                                                      \
    {.name = "calib",                                                                                                  \
     .kind = CMD_TEXT,                                                                                                 \
     .value = "DIR",                                                                                                   \
     .target = &(c).folder,                                                                                            \
     .help = "Compress by the effect on each layer's output over images like those the net is for: a folder in any "   \
             "of the layouts that sqz-eval reads. Their labels are not used."},                                        \
        {.name = "calib-images",                                                                                       \
         .kind = CMD_INTEGER,                                                                                          \
         .value = "N",                                                                                                 \
         .target = &(c).n_images,                                                                                      \
         .given = &(c).given,                                                                                          \
         .low = SQZ_CALIBRATION_MIN_IMAGES,                                                                            \
         .high = 1e6,                                                                                                  \
         .help = "With --calib: draw N images at random; 300 by default."},                                            \
        {.name = "damping",                                                                                            \
         .kind = CMD_REAL,                                                                                             \
         .value = "X",                                                                                                 \
         .target = &(c).damping,                                                                                       \
         .given = &(c).given,                                                                                          \
         .high = 10,                                                                                                   \
         .open_low = true,                                                                                             \
         .help = "With --calib: added to the diagonal of the inputs' second moments, relative to its mean; 0.01 by "   \
                 "default."},                                                                                          \
        {.name = "one-pass",                                                                                           \
         .kind = CMD_FLAG,                                                                                             \
         .target = &(c).one_pass,                                                                                      \
         .given = &(c).given,                                                                                          \
         .help = "With --calib: take the statistics of the float net for all layers, instead of calibrating each "     \
                 "layer on the net as compressed so far."},                                                            \
        {.name = "exif",                                                                                               \
         .kind = CMD_FLAG,                                                                                             \
         .target = &(c).exif,                                                                                          \
         .given = &(c).given,                                                                                          \
         .help = "With --calib: turn photographs as their EXIF orientation says; the reference loaders do not."},      \
        CMD_PREPROCESS_OPTIONS((c).preprocess)

/* Whether an option was given that means nothing without --calib. */
bool cmd_calibrated_wanted(const struct cmd_calibrated *options);

/*
 * Compress the model in place; settings[n_weights]. Reads the images, shows
 * progress, warns of broken images and of layers that are not reached, and
 * records the images in the model. CMD_CONTINUE with *results (sqz_free() it) and *n_results,
 * or an exit code after a line on standard error.
 */
int cmd_calibrated_run(const struct cmd_common *common, const struct cmd_calibrated *options,
                       const struct sqz_layer_setting *settings, const char *title, struct cmd_model *input,
                       struct sqz_layer_result **results, size_t *n_results);

/* "300 images of calib, seed 0, damping 0.01, sequential" for the history, in buffer. */
#define CMD_CALIBRATED_TEXT 400
const char *cmd_calibrated_text(const struct cmd_calibrated *options, char buffer[CMD_CALIBRATED_TEXT]);

/* The table and the JSON list of layers. */
void cmd_calibrated_print(const struct sqz_model *model, const struct sqz_layer_result *results, size_t n,
                          FILE *stream);
json_t *cmd_calibrated_json(const struct sqz_model *model, const struct sqz_layer_result *results, size_t n);

#endif
