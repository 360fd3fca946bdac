/* caffe_graph.h - a Caffe network description (prototxt) as a model without weights. */
#ifndef SQZ_FORMATS_CAFFE_GRAPH_H
#define SQZ_FORMATS_CAFFE_GRAPH_H

#include "formats/caffe_text.h"
#include "lib/model.h"

/* A layer that wants weights, in the order of the file. */
struct sqz_caffe_layer {
    const char *name;       /* as in the file */
    uint32_t node;          /* its Conv or Dense node, kernel and bias still SQZ_NO_WEIGHT */
    struct sqz_shape shape; /* of the kernel */
    size_t count;           /* its product */
    bool has_bias;
};

struct sqz_caffe_graph {
    struct sqz_model *model; /* owned until the caller takes it and sets it to NULL */
    size_t n_layers;
    struct sqz_caffe_layer *layers; /* in the arena given to sqz_caffe_graph_build() */
};

/*
 * Turn a parsed deploy prototxt into nodes. The input comes from `input` with
 * `input_dim` or `input_shape`, or from a layer of type Input; preprocessing
 * is the preset "caffe" for three channels and "raw" otherwise. Pooling
 * rounds up as Caffe does; layers for the TRAIN phase are left out. A result
 * of 1x1 pixels ends in a Flatten. SQZ_UNSUPPORTED names layer and type,
 * SQZ_SHAPE the sizes that do not fit; `graph` holds nothing after a failure.
 */
enum sqz_status sqz_caffe_graph_build(const struct sqz_caffe_field *net, struct sqz_arena *arena,
                                      struct sqz_caffe_graph *graph, struct sqz_error *err);

#endif
