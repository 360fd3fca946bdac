/* search_options.h - what sqz-compress and sqz-sensitivity share: calibration images, method, cache, progress. */
#ifndef SQZ_CMD_SEARCH_OPTIONS_H
#define SQZ_CMD_SEARCH_OPTIONS_H

#include "cmd/model_io.h"
#include "cmd/preprocess_options.h"
#include "cmd/progress.h"
#include "eval/compress.h"

struct cmd_search {
    struct sqz_read_options read;
    struct cmd_preprocess preprocess;
    const char *calib, *cache;
    long n_images, n_probe, seed;
    long trellis; /* states, of sqz-compress only */
    int method; /* 0 calibrated, 1 classic */
    int levels; /* enum sqz_compress_levels */
    double lambda, damping;
    bool per_channel, exif;
};

/* Before the command line is read. */
#define CMD_SEARCH_DEFAULTS {.n_images = SQZ_COMPRESS_IMAGES, .n_probe = SQZ_COMPRESS_PROBE_IMAGES, .lambda = -1}

/* Rows for an option table; s is a struct cmd_search. */
#define CMD_SEARCH_OPTIONS(s)                                                                                         \
    {.name = "calib", .kind = CMD_TEXT, .value = "DIR", .target = &(s).calib,                                         \
     .help = "Images like those the net is for: a folder in any of the layouts that sqz-eval reads. Their labels are " \
             "not used."},                                                                                            \
    {.name = "calib-images", .kind = CMD_INTEGER, .value = "N", .target = &(s).n_images, .low = 8, .high = 1e6,       \
     .help = "Images for the statistics, drawn at random; 800 by default."},                                          \
    {.name = "probe-images", .kind = CMD_INTEGER, .value = "N", .target = &(s).n_probe, .low = 8, .high = 1e6,        \
     .help = "Further images of the same folder, on which divergences from the float net are measured; 200 by "       \
             "default, at most a quarter of the folder."},                                                            \
    {.name = "seed", .kind = CMD_INTEGER, .value = "N", .target = &(s).seed, .high = 4294967295.0,                    \
     .help = "Seed of the draw, 0 by default."},                                                                      \
    {.name = "method", .kind = CMD_CHOICE, .value = "METHOD", .choices = "calibrated classic", .target = &(s).method, \
     .help = "calibrated, the default: weights make up for each other's rounding errors on the images, layer after "  \
             "layer. classic: each weight by itself (rounding; pruning and k-means), the images only measure."},      \
    {.name = "levels", .kind = CMD_CHOICE, .value = "KIND", .choices = "uniform codebook", .target = &(s).levels,     \
     .help = "uniform, the default: integer levels and a step for each layer. codebook: shared values."},             \
    {.name = "lambda", .kind = CMD_REAL, .value = "X", .target = &(s).lambda, .low = 0, .high = 10,                   \
     .help = "Price of a bit in rounding decisions, relative to the squared step; 0.08 by default, 0: none. Uniform "  \
             "levels only."},                                                                                         \
    {.name = "damping", .kind = CMD_REAL, .value = "X", .target = &(s).damping, .low = 0, .high = 10,                 \
     .help = "Added to the diagonal of the second moments, relative to its mean; 0.03 by default."},                  \
    {.name = "per-channel", .kind = CMD_FLAG, .target = &(s).per_channel,                                             \
     .help = "A step for each output channel instead of one for each layer."},                                        \
    {.name = "cache", .kind = CMD_TEXT, .value = "FILE", .target = &(s).cache,                                        \
     .help = "Keep the measurements of the layers in this file, or in a file named after their key in this folder, "  \
             "and begin with what is there. One of another model, other images or options is replaced."},             \
    {.name = "exif", .kind = CMD_FLAG, .target = &(s).exif,                                                           \
     .help = "Turn photographs as their EXIF orientation says; the reference loaders do not."},                       \
    CMD_READ_OPTIONS((s).read), CMD_PREPROCESS_OPTIONS((s).preprocess)

/* A model, its images and its sweep. Zero before cmd_search_open(). */
struct cmd_search_state {
    const struct cmd_common *common;
    struct cmd_model model;
    struct sqz_dataset *calib;
    struct sqz_compressor *compressor;
    struct cmd_progress progress; /* of the current stage */
    char stage[96];
    double start; /* seconds */
};

/* Read model and images, measure the layers, say what came from the cache. CMD_CONTINUE or an exit code. */
int cmd_search_open(const struct cmd_common *common, const struct cmd_search *search,
                    const struct sqz_encode_options *encode, const char *path, struct cmd_search_state *state);
void cmd_search_close(struct cmd_search_state *state);

/* Wipe the progress bar. */
void cmd_search_quiet(struct cmd_search_state *state);

#endif
