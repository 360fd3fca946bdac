/* onnx_parts.h - what the files of the ONNX room share; nobody outside includes it. */
#ifndef SQZ_FORMATS_ONNX_PARTS_H
#define SQZ_FORMATS_ONNX_PARTS_H

#include "formats/formats.h"
#include "formats/onnx.pb-c.h"

/* Rank of a constant; PyTorch's shape arithmetic on five-dimensional values needs up to six. */
#define ONNX_MAX_RANK 8

/* The data types of a tensor that have a meaning here, by their number in the file. */
enum onnx_type {
    ONNX_FLOAT = 1,
    ONNX_UINT8 = 2,
    ONNX_INT8 = 3,
    ONNX_UINT16 = 4,
    ONNX_INT16 = 5,
    ONNX_INT32 = 6,
    ONNX_INT64 = 7,
    ONNX_STRING = 8,
    ONNX_BOOL = 9,
    ONNX_FLOAT16 = 10,
    ONNX_DOUBLE = 11,
    ONNX_UINT32 = 12,
    ONNX_UINT64 = 13,
    ONNX_BFLOAT16 = 16,
    ONNX_TYPE_LAST = 26, /* newest number in the specification (FLOAT8E8M0 and the 2-bit integers lie below) */
};

/* A decoded constant: every floating type is held as float, every integer type as int64. */
struct onnx_tensor {
    bool is_real;
    uint32_t rank;
    uint64_t dim[ONNX_MAX_RANK];
    size_t count;
    float *real;    /* [count] when is_real */
    int64_t *whole; /* [count] otherwise */
    bool borrowed;  /* real belongs to a weight of the model */
};

enum onnx_kind {
    ONNX_UNKNOWN,  /* its node has not been converted yet */
    ONNX_CONSTANT, /* known while reading */
    ONNX_NODE,     /* computed by a node of the model, perhaps seen through a permutation */
    ONNX_LRN,      /* part of a normalisation that is written out as single operators */
    ONNX_HARD_SIGMOID,
};

/* How far PyTorch's written-out local response normalisation has been followed (onnx_pending.c). */
enum onnx_lrn_stage {
    ONNX_LRN_SQUARE, /* x * x */
    ONNX_LRN_VOLUME, /* ... seen as [n][1][c][h][w], perhaps padded along c */
    ONNX_LRN_MEAN,   /* ... averaged along c */
    ONNX_LRN_ALPHA,  /* ... times alpha */
    ONNX_LRN_K,      /* ... plus k */
    ONNX_LRN_BETA,   /* ... to the power of beta */
};

struct onnx_pending {
    enum onnx_lrn_stage stage;
    uint32_t rank;
    uint64_t dim[ONNX_MAX_RANK]; /* shape of the value, batch included */
    uint64_t pad_below, pad_above;
    uint32_t size;
    double alpha, beta, k; /* alpha and beta also hold those of HardSigmoid */
};

/* A weight of the model that was made from a constant. */
struct onnx_use {
    struct onnx_use *next;
    uint32_t weight;
    bool transposed;
};

/* A named value of the graph. */
struct onnx_value {
    const char *name;
    struct onnx_value *same; /* set: a constant that is another one under a second name */
    enum onnx_kind kind;
    uint32_t n_uses;     /* inputs that name it, graph outputs included */
    uint32_t producer;   /* index of its node in the graph, UINT32_MAX when none */
    bool exclusive;      /* the node's result reaches one consumer only, so that this one may change the node */
    Onnx__Tensor *proto; /* constant that has not been decoded yet */
    struct onnx_tensor tensor;
    const char *origin; /* name of the initialiser that a constant was made from */
    struct onnx_use *uses;
    uint32_t node; /* of the model */
    bool is_view;  /* dimension i of the value is dimension perm[i] of the node */
    uint8_t perm[SQZ_MAX_RANK];
    struct onnx_pending pending;
};

/* Names and their values: an open hash table. All zero is a valid empty table. */
struct onnx_names {
    struct onnx_value **slots;
    size_t capacity, count;
};

/* Everything that lives while one file is read. */
struct onnx_import {
    const struct sqz_source *source;
    const struct sqz_read_options *options;
    size_t max_count;           /* bound on the elements of all constants together */
    size_t n_decoded, n_folded; /* elements decoded from the file and produced by folding so far */
    ProtobufCAllocator allocator;
    bool out_of_memory; /* an allocation of the protobuf library failed */
    Onnx__Model *proto;
    Onnx__Graph **branches; /* taken branches of If nodes, kept because names point into them */
    size_t n_branches, branches_capacity;
    int64_t opset;
    struct sqz_arena arena;
    struct onnx_names names;
    uint64_t batch; /* as the file fixes it, else 1 */
    struct sqz_model *model;
    struct sqz_shape *shapes; /* [shapes_capacity] of the model's nodes */
    size_t shapes_capacity;
};

static inline const char *onnx_text(const char *s) {
    return s ? s : "";
}

/* ---- onnx_names.c ------------------------------------------------------ */

/* The value of that name, or NULL. */
struct onnx_value *sqz_onnx_find(const struct onnx_import *import, const char *name);

/* Add a value; SQZ_MALFORMED when the name is taken, SQZ_LIMIT beyond a million values. */
enum sqz_status sqz_onnx_define(struct onnx_import *import, const char *name, struct onnx_value **out,
                                struct sqz_error *err);

/* Input or output i of a node exists and is not the empty name. */
bool sqz_onnx_has_input(const Onnx__Node *node, size_t i);
bool sqz_onnx_has_output(const Onnx__Node *node, size_t i);

/* "Conv node /features/0" in a buffer, for messages; names the first output when the node has no name. */
#define ONNX_WHERE_TEXT 160
const char *sqz_onnx_where(const Onnx__Node *node, char buffer[ONNX_WHERE_TEXT]);

/* SQZ_UNSUPPORTED with operator, node and reason. */
enum sqz_status sqz_onnx_unsupported(const Onnx__Node *node, const char *reason, struct sqz_error *err);
enum sqz_status sqz_onnx_malformed(const Onnx__Node *node, const char *reason, struct sqz_error *err);

/* Tell the user, when the options ask for it: the node's description followed by `text`. */
void sqz_onnx_warn(const struct onnx_import *import, const Onnx__Node *node, const char *text);

/* Attributes, with the default when absent. */
const Onnx__Attribute *sqz_onnx_attribute(const Onnx__Node *node, const char *name);
int64_t sqz_onnx_int(const Onnx__Node *node, const char *name, int64_t fallback);
float sqz_onnx_float(const Onnx__Node *node, const char *name, float fallback);
const int64_t *sqz_onnx_ints(const Onnx__Node *node, const char *name, size_t *n);
bool sqz_onnx_string_is(const Onnx__Node *node, const char *name, const char *text, bool fallback);

/* ---- onnx_tensor.c ----------------------------------------------------- */

/* Whether a data type holds floating-point numbers that are decoded. */
bool sqz_onnx_type_is_real(int32_t type);

/* Hold type, dimensions and stored bytes of a tensor against each other, external data included. */
enum sqz_status sqz_onnx_tensor_check(const struct onnx_import *import, const Onnx__Tensor *proto,
                                      struct sqz_error *err);

/* Decode a tensor; raw float data is taken over from the message where that is possible. */
enum sqz_status sqz_onnx_tensor_decode(struct onnx_import *import, Onnx__Tensor *proto, struct onnx_tensor *out,
                                       struct sqz_error *err);
void sqz_onnx_tensor_free(struct onnx_tensor *tensor);

/* Product of the dimensions into tensor->count, and memory for the elements, within the import's bound. */
enum sqz_status sqz_onnx_tensor_allocate(struct onnx_import *import, struct onnx_tensor *tensor, struct sqz_error *err);

/* The tensor of a constant value, decoded when it has not been yet. */
enum sqz_status sqz_onnx_constant(struct onnx_import *import, struct onnx_value *value, const struct onnx_tensor **out,
                                  struct sqz_error *err);

/* ---- onnx_graph.c ------------------------------------------------------ */

/* Register every value, sort the nodes, and convert those that the output needs. */
enum sqz_status sqz_onnx_convert_graph(struct onnx_import *import, struct sqz_error *err);

/* An If whose condition is constant: convert the nodes of the taken branch in its place. */
enum sqz_status sqz_onnx_if(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err);

/* ---- onnx_read.c -------------------------------------------------------- */

/* Make the model from the description of its one input. */
enum sqz_status sqz_onnx_make_model(struct onnx_import *import, const Onnx__ValueInfo *input, struct sqz_error *err);

/* ---- onnx_fold.c, onnx_fold_shape.c ------------------------------------ */

/* Whether the operator can be computed on constants; then compute the node's first output. */
bool sqz_onnx_can_fold(const Onnx__Node *node);
enum sqz_status sqz_onnx_fold(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err);

/* The first output is this list of integers (the result of Shape). */
enum sqz_status sqz_onnx_set_integers(struct onnx_import *import, const Onnx__Node *node, const int64_t *values,
                                      size_t n, struct sqz_error *err);

/* One operator on constants: in[n_in] are decoded inputs (NULL when absent), out is zeroed. */
typedef enum sqz_status onnx_fold_function(struct onnx_import *import, const Onnx__Node *node,
                                           const struct onnx_tensor *const *in, size_t n_in, struct onnx_tensor *out,
                                           struct sqz_error *err);
onnx_fold_function sqz_onnx_fold_transpose, sqz_onnx_fold_gather, sqz_onnx_fold_slice, sqz_onnx_fold_concat,
    sqz_onnx_fold_reshape, sqz_onnx_fold_squeeze, sqz_onnx_fold_unsqueeze, sqz_onnx_fold_expand, sqz_onnx_fold_binary,
    sqz_onnx_fold_dequantize, sqz_onnx_fold_cast, sqz_onnx_fold_constant_of_shape, sqz_onnx_fold_shape;

/* Visits the elements of an array of the given dimensions in order and keeps an offset into two others. */
struct onnx_walk {
    uint32_t rank;
    uint64_t dim[ONNX_MAX_RANK], index[ONNX_MAX_RANK];
    int64_t stride[2][ONNX_MAX_RANK], offset[2];
};
void sqz_onnx_walk_next(struct onnx_walk *walk);

/* Strides of `in` broadcast to walk's dimensions (aligned at the last); false when it does not fit. */
bool sqz_onnx_walk_broadcast(struct onnx_walk *walk, int which, const struct onnx_tensor *in);

/* Row-major strides. */
void sqz_onnx_strides(const uint64_t *dim, uint32_t rank, int64_t *stride);

/* Broadcast shape of two tensors into out's rank and dimensions; false when they do not fit. */
bool sqz_onnx_broadcast_shape(const struct onnx_tensor *a, const struct onnx_tensor *b, struct onnx_tensor *out);

/* Which dimensions Shape returns: start and end attributes, clamped to the rank. */
void sqz_onnx_shape_range(const Onnx__Node *node, uint32_t rank, uint32_t *start, uint32_t *end);

/*
 * Resolve a Reshape target: 0 copies (unless allow_zero), -1 infers. SQZ_MALFORMED
 * when the number of elements changes.
 */
enum sqz_status sqz_onnx_resolve_reshape(const Onnx__Node *node, const int64_t *target, size_t n_target,
                                         bool allow_zero, const uint64_t *dim, uint32_t rank, uint64_t *out_dim,
                                         struct sqz_error *err);

/*
 * Axes of Squeeze, Unsqueeze, ReduceMean and Pad from input `index` or the
 * attribute, made non-negative for a value of `rank` dimensions; *n is 0 when absent.
 */
enum sqz_status sqz_onnx_axes(struct onnx_import *import, const Onnx__Node *node, size_t index, uint32_t rank,
                              uint32_t axes[ONNX_MAX_RANK], size_t *n, struct sqz_error *err);

/* Dimensions of a squeezed (axes removed; none given: all of size one) or unsqueezed (axes inserted) value. */
enum sqz_status sqz_onnx_squeeze_shape(struct onnx_import *import, const Onnx__Node *node, const uint64_t *dim,
                                       uint32_t rank, struct onnx_tensor *out, struct sqz_error *err);
enum sqz_status sqz_onnx_unsqueeze_shape(struct onnx_import *import, const Onnx__Node *node, const uint64_t *dim,
                                         uint32_t rank, struct onnx_tensor *out, struct sqz_error *err);

/* ---- onnx_ops*.c ------------------------------------------------------- */

/* Convert one node of the main graph or of a taken branch. */
enum sqz_status sqz_onnx_convert_node(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err);

typedef enum sqz_status onnx_convert_function(struct onnx_import *import, const Onnx__Node *node,
                                              struct sqz_error *err);
onnx_convert_function sqz_onnx_conv, sqz_onnx_pool, sqz_onnx_pad, sqz_onnx_gemm, sqz_onnx_matmul,
    sqz_onnx_batch_normalization, sqz_onnx_add, sqz_onnx_sub, sqz_onnx_mul, sqz_onnx_div, sqz_onnx_flatten,
    sqz_onnx_reshape, sqz_onnx_squeeze, sqz_onnx_unsqueeze, sqz_onnx_transpose, sqz_onnx_softmax, sqz_onnx_reduce_mean,
    sqz_onnx_pow;

/* Pads of each dimension, wherever the operator set has them; within 65535 in both directions. */
enum sqz_status sqz_onnx_read_pads(struct onnx_import *import, const Onnx__Node *node, uint32_t rank,
                                   int64_t begin[ONNX_MAX_RANK], int64_t end[ONNX_MAX_RANK], double *fill,
                                   struct sqz_error *err);

/* Input i as a value; SQZ_MALFORMED when it is absent. */
enum sqz_status sqz_onnx_input(struct onnx_import *import, const Onnx__Node *node, size_t i, struct onnx_value **out,
                               struct sqz_error *err);

/* Input i as a node of the model: completes a pending pattern, refuses constants and permuted values. */
enum sqz_status sqz_onnx_activation(struct onnx_import *import, const Onnx__Node *node, size_t i,
                                    struct onnx_value **out, struct sqz_error *err);

/* Input i as a decoded constant; *out is NULL when it is absent. SQZ_UNSUPPORTED when it is computed at run time. */
enum sqz_status sqz_onnx_constant_input(struct onnx_import *import, const Onnx__Node *node, size_t i,
                                        const struct onnx_tensor **out, struct sqz_error *err);

/* A constant of one element. */
enum sqz_status sqz_onnx_scalar_input(struct onnx_import *import, const Onnx__Node *node, size_t i, double fallback,
                                      double *out, struct sqz_error *err);

/* Append a node to the model, named after `name` or the ONNX node. Its shape is not inferred yet. */
enum sqz_status sqz_onnx_add_node(struct onnx_import *import, const Onnx__Node *node, enum sqz_op op, const char *name,
                                  const uint32_t *inputs, size_t n_inputs, uint32_t *out, struct sqz_error *err);

/* Infer the shape of the model's node `index` once its parameters are set. */
enum sqz_status sqz_onnx_infer(struct onnx_import *import, uint32_t index, struct sqz_error *err);

/* The first output of the ONNX node is the result of the model's node `index`. */
enum sqz_status sqz_onnx_set_output(struct onnx_import *import, const Onnx__Node *node, uint32_t index,
                                    struct sqz_error *err);

/* The first output is the same value as `value`. */
enum sqz_status sqz_onnx_alias(struct onnx_import *import, const Onnx__Node *node, const struct onnx_value *value,
                               struct sqz_error *err);

/* A node without weights or parameters, inferred and made the output. */
enum sqz_status sqz_onnx_simple(struct onnx_import *import, const Onnx__Node *node, enum sqz_op op,
                                const uint32_t *inputs, size_t n_inputs, struct sqz_error *err);

/* The output is input `value` in another shape (batch first): an alias, a Flatten or a Reshape. */
enum sqz_status sqz_onnx_set_shape(struct onnx_import *import, const Onnx__Node *node, const struct onnx_value *value,
                                   const uint64_t *dim, uint32_t rank, const int64_t *written, struct sqz_error *err);

/* ---- onnx_weights.c ---------------------------------------------------- */

/*
 * A constant as a weight of the model under its initialiser's name. One that
 * was made before from the same constant is shared. The data moves into the
 * model when nothing has to change.
 */
enum sqz_status sqz_onnx_weight(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *value,
                                enum sqz_role role, const struct sqz_shape *shape, bool transpose, uint32_t *out,
                                struct sqz_error *err);

/* A computed weight; takes `data` over in every case. The name gets a suffix when it is in use. */
enum sqz_status sqz_onnx_new_weight(struct onnx_import *import, const char *name, enum sqz_role role,
                                    const struct sqz_shape *shape, float *data, uint32_t *out, struct sqz_error *err);

/* The values of a constant as floats, copied. */
enum sqz_status sqz_onnx_copy_floats(const struct onnx_tensor *tensor, float **out, struct sqz_error *err);

/* "features.0" from "features.0.weight", else NULL. The result lives in the arena. */
const char *sqz_onnx_module_name(struct onnx_import *import, const char *weight_name);

/* ---- onnx_scale.c ------------------------------------------------------ */

/* y = x * scale + shift with constants for all channels, as Scale node (HardSigmoid). */
enum sqz_status sqz_onnx_scale_all(struct onnx_import *import, const Onnx__Node *node, uint32_t input, float scale,
                                   float shift, uint32_t *out, struct sqz_error *err);

/* ---- onnx_pending.c ---------------------------------------------------- */

/* Start of a pattern at x * x, and at HardSigmoid. */
enum sqz_status sqz_onnx_begin_square(struct onnx_import *import, const Onnx__Node *node,
                                      const struct onnx_value *value, struct sqz_error *err);
enum sqz_status sqz_onnx_begin_hard_sigmoid(struct onnx_import *import, const Onnx__Node *node,
                                            const struct onnx_value *value, struct sqz_error *err);

/* Let a node with a pending input continue the pattern; *done says whether it did. */
enum sqz_status sqz_onnx_continue(struct onnx_import *import, const Onnx__Node *node, bool *done,
                                  struct sqz_error *err);

/* Turn a pending value into ordinary nodes. */
enum sqz_status sqz_onnx_complete(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *value,
                                  struct sqz_error *err);

#endif
