/* preprocess_options.h - options that say how images become a net's input. */
#ifndef SQZ_CMD_PREPROCESS_OPTIONS_H
#define SQZ_CMD_PREPROCESS_OPTIONS_H

#include "cmd/options.h"
#include "lib/model.h"

struct cmd_preprocess {
    const char *preset, *scale, *resize, *crop;
    struct cmd_reals mean, std;
    int order, filter;
    bool order_given, filter_given;
};

/* Rows for an option table; p is a struct cmd_preprocess. */
#define CMD_PREPROCESS_OPTIONS(p)                                                                                      \
    {.name = "preprocess",                                                                                             \
     .kind = CMD_TEXT,                                                                                                 \
     .value = "PRESET",                                                                                                \
     .target = &(p).preset,                                                                                            \
     .help = "How images become the net's input, instead of what the model says: torchvision, caffe, fashion-mnist "   \
             "or raw. The single options below then override it."},                                                    \
        {.name = "mean",                                                                                               \
         .kind = CMD_REALS,                                                                                            \
         .value = "A[,B,C]",                                                                                           \
         .target = &(p).mean,                                                                                          \
         .help = "Subtracted after scaling, in the net's channel order; one value serves all channels."},              \
        {.name = "std",                                                                                                \
         .kind = CMD_REALS,                                                                                            \
         .value = "A[,B,C]",                                                                                           \
         .target = &(p).std,                                                                                           \
         .help = "Divided by after the mean."},                                                                        \
        {.name = "scale",                                                                                              \
         .kind = CMD_TEXT,                                                                                             \
         .value = "X",                                                                                                 \
         .target = &(p).scale,                                                                                         \
         .help = "Factor for the pixels 0..255: a number or a fraction such as 1/255."},                               \
        {.name = "order",                                                                                              \
         .kind = CMD_CHOICE,                                                                                           \
         .value = "ORDER",                                                                                             \
         .choices = "rgb bgr grey",                                                                                    \
         .target = &(p).order,                                                                                         \
         .given = &(p).order_given,                                                                                    \
         .help = "The net's channel order: rgb, bgr or grey."},                                                        \
        {.name = "resize",                                                                                             \
         .kind = CMD_TEXT,                                                                                             \
         .value = "N",                                                                                                 \
         .target = &(p).resize,                                                                                        \
         .help = "Resize the short side to N; none: no resize; squash: both sides to the crop's size."},               \
        {.name = "crop",                                                                                               \
         .kind = CMD_TEXT,                                                                                             \
         .value = "N",                                                                                                 \
         .target = &(p).crop,                                                                                          \
         .help = "Height and width of the net's input, cut from the centre: N or HEIGHTxWIDTH."},                      \
    {                                                                                                                  \
        .name = "filter", .kind = CMD_CHOICE, .value = "FILTER", .choices = "pil bilinear", .target = &(p).filter,     \
        .given = &(p).filter_given,                                                                                    \
        .help = "Resize as Pillow's antialiased bilinear (pil) or as OpenCV's plain half-pixel bilinear (bilinear)."   \
    }

/* Change *input as the options say; CMD_CONTINUE or, after a line on standard error, CMD_USAGE. */
int cmd_preprocess_apply(const struct cmd_common *common, const struct cmd_preprocess *options,
                         struct sqz_input *input);

#endif
