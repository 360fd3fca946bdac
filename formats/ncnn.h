/* ncnn.h - the parts of the ncnn reader: parameters, weights, layers, input. */
#ifndef SQZ_FORMATS_NCNN_H
#define SQZ_FORMATS_NCNN_H

#include "formats/blob_table.h"
#include "lib/bytes.h"
#include "lib/model.h"

#define SQZ_NCNN_MAGIC 7767517

/* ---- parameters (ncnn_param.c) ------------------------------------------- */

enum sqz_ncnn_kind {
    SQZ_NCNN_INT,   /* written without point and exponent in a text file */
    SQZ_NCNN_FLOAT, /* written with one */
    SQZ_NCNN_BITS,  /* 32 bits of a binary file: the layer knows which of both */
    SQZ_NCNN_TEXT,  /* anything else: an expression or a string */
};

struct sqz_ncnn_value {
    enum sqz_ncnn_kind kind;
    int32_t i; /* INT, BITS */
    float f;   /* FLOAT, BITS */
};

/* "id=value", or "-23300-id=n,value,value..." for an array. */
struct sqz_ncnn_param {
    int32_t id;
    bool is_array;
    uint32_t n_values;
    struct sqz_ncnn_value *values;
};

struct sqz_ncnn_layer {
    const char *type, *name; /* a binary file has no names: "Convolution_3" with the layer's index */
    uint32_t n_bottoms, n_tops, n_params;
    const char **bottoms, **tops; /* blob names; decimal numbers in a binary file */
    struct sqz_ncnn_param *params;
};

struct sqz_ncnn_net {
    size_t n_layers;
    struct sqz_ncnn_layer *layers;
};

bool sqz_ncnn_is_text(const void *data, size_t nbytes);   /* starts with 7767517 in digits */
bool sqz_ncnn_is_binary(const void *data, size_t nbytes); /* starts with 7767517 as a number */

/* Parse a .param or .param.bin file; the result lives in `arena`. SQZ_MALFORMED and SQZ_TRUNCATED name line or byte. */
enum sqz_status sqz_ncnn_parse(const void *data, size_t nbytes, struct sqz_arena *arena, struct sqz_ncnn_net *net,
                               struct sqz_error *err);

/* A parameter by its id, or `fallback` when the layer does not set it. SQZ_UNSUPPORTED for an expression. */
enum sqz_status sqz_ncnn_int(const struct sqz_ncnn_layer *layer, int32_t id, int32_t fallback, int32_t *out,
                             struct sqz_error *err);
enum sqz_status sqz_ncnn_float(const struct sqz_ncnn_layer *layer, int32_t id, float fallback, float *out,
                               struct sqz_error *err);

/* An array parameter of at most `capacity` floats; *n is its length, 0 when it is not set. */
enum sqz_status sqz_ncnn_floats(const struct sqz_ncnn_layer *layer, int32_t id, size_t capacity, float *out, size_t *n,
                                struct sqz_error *err);

/* ---- weights (ncnn_weights.c) -------------------------------------------- */

/* A cursor over a .bin file. `budget` is what is left of the limit on all weights as float32. */
struct sqz_ncnn_weights {
    struct sqz_reader reader;
    size_t budget;
};

/*
 * The next `count` values of a layer that stores them plainly (biases,
 * BatchNorm, PReLU). *out from sqz_alloc(). SQZ_TRUNCATED, SQZ_LIMIT.
 */
enum sqz_status sqz_ncnn_read_plain(struct sqz_ncnn_weights *weights, const char *layer, size_t count, float **out,
                                    struct sqz_error *err);

/*
 * The same for a kernel, which starts with a word that says how it is stored:
 * float32, fp16, or a table of 256 values with 8-bit indices. A table comes
 * back as its exact codebook in *packed, the others as floats in *out; the
 * other pointer is NULL. SQZ_UNSUPPORTED for int8.
 */
enum sqz_status sqz_ncnn_read_kernel(struct sqz_ncnn_weights *weights, const char *layer, size_t count, float **out,
                                     struct sqz_packed **packed, struct sqz_error *err);

/* ---- layers (ncnn_layers.c, ncnn_windows.c, ncnn_elements.c, ncnn_nodes.c) -------------------------------- */

/*
 * What a blob became. ncnn's blobs have no batch dimension: 1 dimension
 * (features), 2 (height, width) or 3 (channels, height, width). One that a
 * global pooling made has 1 dimension but is a [n][c][1][1] node (`pooled`).
 */
struct sqz_ncnn_value_of_blob {
    uint32_t node;
    uint32_t n_dims;
    uint32_t channels; /* size of the outermost dimension; 0: not known while building */
    bool pooled;
};

/* A window that depends on the size of its input, which is known only when the graph is complete. */
enum sqz_ncnn_window_rule {
    SQZ_NCNN_SAME_UPPER, /* pad so that output = ceil(input / stride), the odd pixel at the end */
    SQZ_NCNN_SAME_LOWER, /* the same with the odd pixel in front */
    SQZ_NCNN_WHOLE,      /* the kernel is the whole input (global maximum) */
};

struct sqz_ncnn_window {
    uint32_t node;
    enum sqz_ncnn_window_rule rule;
};

struct sqz_ncnn_builder {
    struct sqz_arena arena; /* parameters, tables and names while reading */
    struct sqz_ncnn_net net;
    struct sqz_ncnn_weights weights;
    struct sqz_model *model;
    struct sqz_blob_table names; /* blob name -> index into values */
    struct sqz_ncnn_value_of_blob *values;
    size_t n_values, values_capacity;
    struct sqz_ncnn_window *windows;
    size_t n_windows, windows_capacity;
    struct sqz_error *err;
};

/* One row per type of layer; `value` comes in as the first input's and leaves as the output's. */
struct sqz_ncnn_converter {
    const char *type; /* NULL ends a table */
    uint32_t min_bottoms, max_bottoms;
    enum sqz_status (*convert)(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer,
                               struct sqz_ncnn_value_of_blob *value);
};

extern const struct sqz_ncnn_converter sqz_ncnn_window_converters[], sqz_ncnn_element_converters[];

/* A whole-number parameter; a value below `low` is malformed. */
struct sqz_ncnn_int_param {
    int32_t id, fallback, low;
    int32_t *out;
};

/* Several of them at once. */
enum sqz_status sqz_ncnn_read_ints(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer,
                                   const struct sqz_ncnn_int_param *params, size_t n);

/* Room for one more element in an arena array of `count`; the array to use from now on, or NULL. */
void *sqz_ncnn_grow(struct sqz_ncnn_builder *builder, void *array, size_t count, size_t *capacity, size_t size);

/* Convert every layer, reading its weights on the way, and set the model's output. */
enum sqz_status sqz_ncnn_build(struct sqz_ncnn_builder *builder);

/* A failure of one layer, with its name and type in front. */
enum sqz_status sqz_ncnn_fail(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer,
                              enum sqz_status status, const char *format, ...) __attribute__((format(printf, 4, 5)));

enum sqz_status sqz_ncnn_no_memory(struct sqz_error *err);

/* A node named `name` + `suffix`; *value (the first input, changed by the caller where it differs) gets the node. */
enum sqz_status sqz_ncnn_add_node(struct sqz_ncnn_builder *builder, enum sqz_op op, const char *name,
                                  const char *suffix, const uint32_t *inputs, size_t n_inputs,
                                  struct sqz_ncnn_value_of_blob *value);

/* A node of the layer's own name whose only input is the value; the value becomes the node's. */
enum sqz_status sqz_ncnn_add_unary(struct sqz_ncnn_builder *builder, enum sqz_op op, const struct sqz_ncnn_layer *layer,
                                   struct sqz_ncnn_value_of_blob *value);

/* The parameters of the value's node; valid until the next node is added. */
union sqz_params *sqz_ncnn_params_of(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_value_of_blob *value);

/* The axis in parameter 0 as an axis of the node. ncnn does not count the batch; negative ones count from the end. */
enum sqz_status sqz_ncnn_axis(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer,
                              const struct sqz_ncnn_value_of_blob *value, uint32_t *axis);

/* A vector of `count` weights for the node, "<node>.weight" or "<node>.bias"; takes over `data`. */
enum sqz_status sqz_ncnn_add_vector(struct sqz_ncnn_builder *builder, uint32_t node, enum sqz_role role, size_t count,
                                    float *data);

/* y = x * scale + shift per channel; takes over both arrays ([channels]; shift may be NULL). */
enum sqz_status sqz_ncnn_add_scale(struct sqz_ncnn_builder *builder, const char *name, const char *suffix, float *scale,
                                   float *shift, struct sqz_ncnn_value_of_blob *value);

/* The same with one scale and one shift for all channels, whose number must be known. */
enum sqz_status sqz_ncnn_add_affine(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer,
                                    const char *suffix, float scale, float shift, struct sqz_ncnn_value_of_blob *value);

/* x > 0 ? x : slope[c] * x out of plain nodes; takes over slope[value->channels]. */
enum sqz_status sqz_ncnn_add_prelu(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer, float *slope,
                                   struct sqz_ncnn_value_of_blob *value);

/* x * clip(alpha * x + beta, 0, 1). */
enum sqz_status sqz_ncnn_add_hard_swish(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer,
                                        const char *suffix, float alpha, float beta,
                                        struct sqz_ncnn_value_of_blob *value);

/* The activation that is fused into a layer (parameters 9 and 10) as nodes of its own. */
enum sqz_status sqz_ncnn_add_activation(struct sqz_ncnn_builder *builder, const struct sqz_ncnn_layer *layer,
                                        struct sqz_ncnn_value_of_blob *value);

/* A [n][c][1][1] node becomes [n][c]. */
enum sqz_status sqz_ncnn_flatten(struct sqz_ncnn_builder *builder, const char *name,
                                 struct sqz_ncnn_value_of_blob *value);

/* ---- input (ncnn_input.c) ------------------------------------------------ */

/*
 * The input as the file declares it, with what it does not declare: channels
 * from the first layer that knows them, height and width 0. SQZ_UNSUPPORTED
 * without exactly one input.
 */
enum sqz_status sqz_ncnn_declared_input(const struct sqz_ncnn_net *net, struct sqz_input *input, struct sqz_error *err);

/*
 * Give the finished graph an input size (the declared one, else the usual one
 * that fits, else the first that fits) and settle the windows that depend on
 * it. *guessed is true when the size is neither declared nor a usual one.
 */
enum sqz_status sqz_ncnn_settle_input(struct sqz_ncnn_builder *builder, bool *guessed);

#endif
