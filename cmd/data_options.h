/* data_options.h - options of the commands that run models over labelled images. */
#ifndef SQZ_CMD_DATA_OPTIONS_H
#define SQZ_CMD_DATA_OPTIONS_H

#include "eval/dataset.h"

struct cmd_data {
    const char *path, *labels;
    bool one_based, exif;
    long limit, batch, max_bad, label_offset;
};

#define CMD_DATA_DEFAULTS {.batch = 16}

/* How to open the images for a net of n_classes results. */
static inline struct sqz_dataset_options cmd_data_dataset(const struct cmd_data *data, size_t n_classes) {
    size_t offset = (size_t)data->label_offset;
    return (struct sqz_dataset_options){
        .labels = data->labels,
        .need_labels = true,
        .one_based = data->one_based,
        .apply_exif = data->exif,
        .n_classes = n_classes > offset ? n_classes - offset : 1,
    };
}

/* Rows for an option table; d is a struct cmd_data. */
#define CMD_DATA_OPTIONS(d)                                                                                            \
    {.name = "data",                                                                                                   \
     .letter = 'd',                                                                                                    \
     .kind = CMD_TEXT,                                                                                                 \
     .value = "DIR",                                                                                                   \
     .target = &(d).path,                                                                                              \
     .help = "Labelled images: a folder with labels.txt, a folder for each class, ILSVRC's validation folder with "    \
             "--labels, IDX files or CIFAR batches."},                                                                 \
        {.name = "labels",                                                                                             \
         .kind = CMD_TEXT,                                                                                             \
         .value = "FILE",                                                                                              \
         .target = &(d).labels,                                                                                        \
         .help = "List of labels, when it is not labels.txt in the folder."},                                          \
        {.name = "one-based", .kind = CMD_FLAG, .target = &(d).one_based, .help = "Labels in lists start at 1."},      \
        {.name = "label-offset",                                                                                       \
         .kind = CMD_INTEGER,                                                                                          \
         .value = "N",                                                                                                 \
         .target = &(d).label_offset,                                                                                  \
         .high = 1e6,                                                                                                  \
         .help = "Add N to each label: 1 for a net whose class 0 means background."},                                  \
        {.name = "limit",                                                                                              \
         .kind = CMD_INTEGER,                                                                                          \
         .value = "N",                                                                                                 \
         .target = &(d).limit,                                                                                         \
         .low = 1,                                                                                                     \
         .high = 1e9,                                                                                                  \
         .help = "Take the first N images only."},                                                                     \
        {.name = "batch",                                                                                              \
         .kind = CMD_INTEGER,                                                                                          \
         .value = "N",                                                                                                 \
         .target = &(d).batch,                                                                                         \
         .low = 1,                                                                                                     \
         .high = 4096,                                                                                                 \
         .help = "Run N images at a time, 16 by default. Results do not depend on it."},                               \
        {.name = "max-bad",                                                                                            \
         .kind = CMD_INTEGER,                                                                                          \
         .value = "N",                                                                                                 \
         .target = &(d).max_bad,                                                                                       \
         .high = 1e9,                                                                                                  \
         .help = "End with 1 when more than N images are broken, 0 by default."},                                      \
    {                                                                                                                  \
        .name = "exif", .kind = CMD_FLAG, .target = &(d).exif,                                                         \
        .help = "Turn photographs as their EXIF orientation says; the reference loaders do not."                       \
    }

#endif
