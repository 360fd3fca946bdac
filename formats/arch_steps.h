/* arch_steps.h - how archs*.c write an architecture down: a table of steps, one per layer. */
#ifndef SQZ_FORMATS_ARCH_STEPS_H
#define SQZ_FORMATS_ARCH_STEPS_H

#include "lib/model.h"

enum sqz_step_kind {
    SQZ_STEP_END,
    SQZ_STEP_CONV,
    SQZ_STEP_DENSE, /* flattened input */
    SQZ_STEP_FIRE,  /* SqueezeNet's module: 1x1 squeeze, then 1x1 and 3x3 expand side by side (arXiv 1602.07360) */
    SQZ_STEP_RELU,
    SQZ_STEP_MAX_POOL,
    SQZ_STEP_LRN,
    SQZ_STEP_ADAPTIVE_AVERAGE_POOL,
    SQZ_STEP_GLOBAL_AVERAGE_POOL,
    SQZ_STEP_FLATTEN,
};

/*
 * One step. Dropout does nothing when a net is used and has none. `names`
 * lists, separated by spaces, the names under which the layer occurs in files;
 * the first is PyTorch's.
 */
struct sqz_arch_step {
    enum sqz_step_kind kind;
    const char *names;
    uint32_t in;      /* conv, dense, fire: channels or features */
    uint32_t out;     /* the same; 0: the number of classes. Fire: channels of each of the two expands */
    uint32_t squeeze; /* fire: channels of the squeeze */
    uint32_t kernel;  /* conv and pool; adaptive pool: height and width of its result */
    uint32_t stride;  /* conv and pool */
    uint32_t pad;     /* conv */
    uint32_t groups;  /* conv */
    bool ceil_mode;
};

struct sqz_arch {
    const char *name;
    const char *preset; /* of sqz_input_preset() */
    uint32_t channels, height, width;
    const struct sqz_arch_step *steps;
};

/* Short forms for the tables. */
#define SQZ_CONV(names, in, out, kernel, stride, pad, groups)                                                          \
    { SQZ_STEP_CONV, names, in, out, 0, kernel, stride, pad, groups, false }
#define SQZ_DENSE(names, in, out)                                                                                      \
    { SQZ_STEP_DENSE, names, in, out, 0, 0, 0, 0, 1, false }
#define SQZ_FIRE(names, in, squeeze, expand)                                                                           \
    { SQZ_STEP_FIRE, names, in, expand, squeeze, 0, 0, 0, 1, false }
#define SQZ_MAX_POOL(names, kernel, stride, ceil_mode)                                                                 \
    { SQZ_STEP_MAX_POOL, names, 0, 0, 0, kernel, stride, 0, 0, ceil_mode }
#define SQZ_ADAPTIVE_AVERAGE_POOL(names, size)                                                                         \
    { SQZ_STEP_ADAPTIVE_AVERAGE_POOL, names, 0, 0, 0, size, 0, 0, 0, false }
#define SQZ_PLAIN(kind, names)                                                                                         \
    { kind, names, 0, 0, 0, 0, 0, 0, 0, false }
#define SQZ_RELU(names) SQZ_PLAIN(SQZ_STEP_RELU, names)
#define SQZ_LRN(names) SQZ_PLAIN(SQZ_STEP_LRN, names)
#define SQZ_END SQZ_PLAIN(SQZ_STEP_END, "")

/* Every known architecture, ended by a row with a NULL name. Of two with equal weights the first is the default. */
extern const struct sqz_arch *const sqz_archs[];

extern const struct sqz_arch sqz_arch_squeezenet1_0, sqz_arch_squeezenet1_1, sqz_arch_fashion_squeezenet;
extern const struct sqz_arch sqz_arch_alexnet, sqz_arch_alexnet_caffe, sqz_arch_caffenet, sqz_arch_fashion_alexnet;
extern const struct sqz_arch sqz_arch_vgg16;

/*
 * The layers with weights of an architecture, in order: a Fire step has
 * three. A dimension of 0 in the kernel's shape is free.
 */
struct sqz_arch_layer {
    const char *names; /* alternatives, separated by spaces, without `part` */
    const char *part;  /* "" or ".squeeze", ".expand1x1", ".expand3x3" */
    struct sqz_shape kernel;
};

#define SQZ_ARCH_MAX_LAYERS 64

/* Fill layers[SQZ_ARCH_MAX_LAYERS] and return their number. */
size_t sqz_arch_layers(const struct sqz_arch *arch, struct sqz_arch_layer *layers);

/* Name number i of a layer (without ".weight") in buffer; false when there are fewer. */
#define SQZ_ARCH_NAME 96
bool sqz_arch_layer_name(const struct sqz_arch_layer *layer, size_t i, char buffer[SQZ_ARCH_NAME]);

/* Whether a shape is the wanted one, where a wanted dimension of 0 takes any. */
bool sqz_arch_shape_fits(const struct sqz_shape *shape, const struct sqz_shape *wanted);

#endif
