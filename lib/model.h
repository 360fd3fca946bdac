/* model.h - a trained convolutional network: a graph of nodes and its weights. */
#ifndef SQZ_LIB_MODEL_H
#define SQZ_LIB_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/image_record.h"
#include "lib/memory.h"
#include "lib/packed.h"
#include "lib/shape.h"
#include "lib/status.h"

/*
 * Every operator: X(CODE, "Name"). Codes are written into .sqz files by their
 * position, so new ones go at the end. Activations are [n][c][h][w] or, behind
 * a Flatten, [n][features].
 */
#define SQZ_OP_LIST(X)                                                                              \
    X(INPUT, "Input")                     /* node 0 of every model, shape from model->input */      \
    X(CONV, "Conv")                       /* kernel [out][in/groups][kh][kw], optional bias [out] */ \
    X(DENSE, "Dense")                     /* kernel [out][in], optional bias [out]; flattens its input */ \
    X(RELU, "ReLU")                                                                                 \
    X(LEAKY_RELU, "LeakyReLU")            /* x < 0 ? slope * x : x */                               \
    X(SIGMOID, "Sigmoid")                                                                           \
    X(TANH, "Tanh")                                                                                 \
    X(HARD_SWISH, "HardSwish")            /* x * clip(x / 6 + 1/2, 0, 1) */                         \
    X(CLIP, "Clip")                       /* min(max(x, low), high); ReLU6 is low 0, high 6 */      \
    X(MAX_POOL, "MaxPool")                                                                          \
    X(AVERAGE_POOL, "AveragePool")                                                                  \
    X(GLOBAL_AVERAGE_POOL, "GlobalAveragePool") /* [n][c][h][w] -> [n][c][1][1] */                  \
    X(ADAPTIVE_AVERAGE_POOL, "AdaptiveAveragePool") /* torch: cell i covers [i*in/out, ceil((i+1)*in/out)) */ \
    X(LRN, "LRN")                         /* across channels, alpha divided by size */              \
    X(SCALE, "Scale")                     /* y = x * scale[c] + shift[c]; BatchNorm is read into it */ \
    X(CONCAT, "Concat")                                                                             \
    X(ADD, "Add")                         /* two inputs of equal shape, or [n][c][1][1] broadcast over h, w */ \
    X(MUL, "Mul")                         /* the same */                                            \
    X(FLATTEN, "Flatten")                 /* [n][...] -> [n][product] */                            \
    X(RESHAPE, "Reshape")                                                                           \
    X(DROPOUT, "Dropout")                 /* identity */                                            \
    X(SOFTMAX, "Softmax")                                                                           \
    X(PAD, "Pad")

enum sqz_op {
#define X(code, name) SQZ_OP_##code,
    SQZ_OP_LIST(X)
#undef X
    SQZ_OP_COUNT
};

/* Window of a convolution or pooling. Padding may be asymmetric. */
struct sqz_window {
    uint32_t kernel_h, kernel_w;
    uint32_t stride_h, stride_w;
    uint32_t dilation_h, dilation_w;
    uint32_t pad_top, pad_left, pad_bottom, pad_right;
};

/* What an average at the border divides by. */
enum sqz_divisor {
    SQZ_DIVISOR_VALID,  /* elements inside the image (count_include_pad = 0) */
    SQZ_DIVISOR_PADDED, /* elements inside the padded image (count_include_pad = 1; PyTorch, Caffe, ONNX) */
    SQZ_DIVISOR_KERNEL, /* always kernel_h * kernel_w, also where ceil mode overhangs (ncnn) */
};

union sqz_params {
    struct {
        struct sqz_window window;
        uint32_t groups;
    } conv;
    struct {
        struct sqz_window window;
        bool ceil_mode; /* output size rounds up; a last window that would start in the end padding is dropped */
        enum sqz_divisor divisor; /* average only */
    } pool;
    struct {
        uint32_t out_h, out_w;
    } adaptive_pool;
    struct {
        float slope;
    } leaky_relu;
    struct {
        float low, high;
    } clip;
    struct {
        uint32_t size; /* window: (size-1)/2 below the channel and size/2 above */
        float alpha, beta, k; /* y = x / (k + alpha / size * sum x^2)^beta */
    } lrn;
    struct {
        uint32_t axis;
    } concat;
    struct {
        uint32_t axis; /* normalises over this one dimension; readers insert a Flatten where a format flattens */
    } softmax;
    struct {
        uint32_t rank;
        int64_t dim[SQZ_MAX_RANK]; /* 0 copies the input's dimension, -1 (once) infers; dim[0] is always 0 */
    } reshape;
    struct {
        uint32_t top, left, bottom, right;
        float value;
    } pad;
};

#define SQZ_NO_WEIGHT UINT32_MAX

/* Bounds on a graph, ten times beyond the largest classifier in use: names are compared pairwise. */
#define SQZ_MAX_NODES 20000
#define SQZ_MAX_WEIGHTS 20000

/* A node computes exactly one value, so a value is named by the index of its node. */
struct sqz_node {
    const char *name; /* unique in the model, not empty */
    enum sqz_op op;
    uint32_t n_inputs;
    uint32_t *inputs; /* [n_inputs] node indices, each smaller than this node's own */
    uint32_t kernel;  /* weight index of Conv/Dense kernel or Scale's scale; SQZ_NO_WEIGHT when absent */
    uint32_t bias;    /* weight index of the bias or Scale's shift; SQZ_NO_WEIGHT when absent */
    union sqz_params params;
};

enum sqz_role {
    SQZ_ROLE_KERNEL, /* convolution or dense weight: what pruning and weight sharing change */
    SQZ_ROLE_BIAS,
    SQZ_ROLE_SCALE,
    SQZ_ROLE_SHIFT,
};

/*
 * A named weight. At least one of data and packed is set, and both describe
 * the same values when both are. A pruned weight is one that equals zero;
 * there is no separate mask.
 */
struct sqz_weight {
    const char *name; /* unique, for example "features.0.weight" */
    enum sqz_role role;
    struct sqz_shape shape; /* conv [out][in/groups][kh][kw], dense [out][in], others [c] */
    size_t count;           /* product of shape */
    float *data;            /* [count], sqz_alloc()ed, owned; NULL when only packed is held */
    struct sqz_packed *packed; /* owned; NULL for float weights */
};

enum sqz_channel_order {
    SQZ_CHANNELS_RGB,
    SQZ_CHANNELS_BGR,
    SQZ_CHANNELS_GREY, /* one channel, ITU-R 601 luma of a colour image */
};

enum sqz_resize_filter {
    SQZ_RESIZE_PIL_BILINEAR, /* antialiased, fixed point, as Pillow and so torchvision */
    SQZ_RESIZE_BILINEAR,     /* half-pixel bilinear without antialiasing, as OpenCV */
};

/* What the net expects: value = (pixel * scale - mean[c]) / std[c], with c in the net's channel order. */
struct sqz_input {
    uint32_t channels, height, width;
    uint32_t resize_short; /* short side is resized to this before the centre crop; 0: no resize */
    bool squash;           /* resize both sides to height x width, ignoring the aspect ratio, instead */
    enum sqz_channel_order order;
    enum sqz_resize_filter filter;
    float scale;
    float mean[4], std[4];
};

struct sqz_model {
    struct sqz_arena arena; /* nodes, names, strings; not the tensors' data */
    const char *arch;       /* "squeezenet1_1", ...; "custom" when unknown */
    const char *source;     /* format it was first read from: "pytorch", "onnx", ... */
    struct sqz_input input;
    size_t n_nodes;
    struct sqz_node *nodes; /* topological order; nodes[0] is the Input */
    uint32_t output;        /* index of the node whose value is the result */
    size_t n_weights;
    struct sqz_weight *weights;
    size_t n_classes_named; /* 0 when the model carries no class names */
    const char **class_names;
    size_t n_history; /* one line for each thing done to the model, oldest first */
    const char **history;
    size_t nodes_capacity, weights_capacity, history_capacity; /* private to model.c */
    struct sqz_image_record calibrated_on; /* images that its weights were fitted to */
};

/* An empty model that holds only the Input node; NULL when memory is short. */
struct sqz_model *sqz_model_new(const struct sqz_input *input);
void sqz_model_free(struct sqz_model *model);

/*
 * Append a node with n_inputs inputs (copied, may be NULL to fill in later)
 * and no weights. The name is copied; a taken or empty one gets a suffix.
 * *out is its index: pointers into nodes[] move when nodes are added.
 */
enum sqz_status sqz_model_add_node(struct sqz_model *model, enum sqz_op op, const char *name, const uint32_t *inputs,
                                   size_t n_inputs, uint32_t *out, struct sqz_error *err);

/*
 * Append a float weight of the given shape; *out is its index. Takes
 * ownership of data ([count], from sqz_alloc) in every case, also on failure.
 * With data NULL an uninitialised buffer is allocated. SQZ_LIMIT when the
 * shape's product overflows; SQZ_MALFORMED for a name in use.
 */
enum sqz_status sqz_model_add_weight(struct sqz_model *model, const char *name, enum sqz_role role,
                                     const struct sqz_shape *shape, float *data, uint32_t *out, struct sqz_error *err);

/* The same for a weight that exists only in packed form (ownership as above). */
enum sqz_status sqz_model_add_packed(struct sqz_model *model, const char *name, enum sqz_role role,
                                     const struct sqz_shape *shape, struct sqz_packed *packed, uint32_t *out,
                                     struct sqz_error *err);

/* Append one line to the history. */
enum sqz_status sqz_model_note(struct sqz_model *model, struct sqz_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Copy names of n classes into the model. */
enum sqz_status sqz_model_set_classes(struct sqz_model *model, const char *const *names, size_t n,
                                      struct sqz_error *err);

/*
 * Hold a finished model against every rule above: indices in range, weights
 * present and of the shape their node wants (through sqz_infer_shapes()),
 * every weight finite (SQZ_NONFINITE names layer and index), names unique.
 * Each reader calls it last.
 */
enum sqz_status sqz_model_check(const struct sqz_model *model, struct sqz_error *err);

/* The float values of a weight: data when present, else unpacked into weight->data. SQZ_OUT_OF_MEMORY. */
enum sqz_status sqz_weight_need_data(struct sqz_weight *weight, struct sqz_error *err);

/* Name of the layer a weight belongs to: that of the first node that uses it. */
const char *sqz_model_layer_name(const struct sqz_model *model, size_t weight);

/* Bytes of all weights as float32, the denominator of every ratio. */
size_t sqz_model_float_nbytes(const struct sqz_model *model);

const char *sqz_op_name(enum sqz_op op);

/* Preset preprocessing by name ("torchvision", "caffe", "fashion-mnist", "raw"); false when unknown. Keeps
 * channels, height and width of *input. */
bool sqz_input_preset(const char *name, struct sqz_input *input);

#endif
