/* read_options.h - options of the commands whose input may be a file that holds only weights. */
#ifndef SQZ_CMD_READ_OPTIONS_H
#define SQZ_CMD_READ_OPTIONS_H

#include "formats/formats.h"

/* Rows for an option table; r is a struct sqz_read_options. */
#define CMD_READ_OPTIONS(r)                                                                                            \
    {.name = "arch",                                                                                                   \
     .kind = CMD_TEXT,                                                                                                 \
     .value = "NAME",                                                                                                  \
     .target = &(r).arch,                                                                                              \
     .help = "Architecture of a file that holds only weights, such as squeezenet1_1 or alexnet; by default it is "     \
             "found from names and shapes."},                                                                          \
        {.name = "companion",                                                                                          \
         .kind = CMD_TEXT,                                                                                             \
         .value = "FILE",                                                                                              \
         .target = &(r).companion,                                                                                     \
         .help = "The second file of a model in two: ncnn's .bin, the prototxt of a Deep Compression .net. By "        \
                 "default the one beside the first."},                                                                 \
    {                                                                                                                  \
        .name = "state-dict", .kind = CMD_TEXT, .value = "KEY", .target = &(r).state_dict,                             \
        .help = "Dictionary to take from a PyTorch checkpoint that holds several."                                     \
    }

#endif
