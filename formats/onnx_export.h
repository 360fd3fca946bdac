/* onnx_export.h - what the files of the ONNX writer share. */
#ifndef SQZ_FORMATS_ONNX_EXPORT_H
#define SQZ_FORMATS_ONNX_EXPORT_H

#include "formats/formats.h"
#include "formats/onnx.pb-c.h"
#include "lib/bytes.h"

/* An initialiser of the file: its message without the values, and where these are. */
struct onnx_initialiser {
    Onnx__Tensor *header;
    size_t weight;     /* index in the model, or SIZE_MAX */
    const void *bytes; /* little-endian values when weight is SIZE_MAX */
    size_t nbytes;
};

struct onnx_export {
    const struct sqz_model *model;
    struct sqz_arena arena;
    struct sqz_shape *shapes; /* of the model's nodes, for one image */
    const char **values;      /* [n_nodes] names of the nodes' results */
    const char **weights;     /* [n_weights] names of the written initialisers, NULL for those not used yet */
    const char **used;        /* every name in the file so far */
    size_t n_used;
    Onnx__Node **nodes;
    size_t n_nodes;
    struct onnx_initialiser *initialisers;
    size_t n_initialisers;
};

/* Most ONNX nodes, helper constants and names that one node of a model turns into. */
#define ONNX_NODES_EACH 3
#define ONNX_CONSTANTS_EACH 4
#define ONNX_NAMES_EACH (ONNX_NODES_EACH + ONNX_CONSTANTS_EACH + 2)

/* A name that the file does not use yet, made from base and suffix, in valid UTF-8; NULL when memory is short. */
const char *sqz_onnx_unique_name(struct onnx_export *export, const char *base, const char *suffix);

/* The initialiser's name of a weight of the model, which is added on first use. */
enum sqz_status sqz_onnx_export_weight(struct onnx_export *export, uint32_t weight, const char **out,
                                       struct sqz_error *err);

/* A helper constant; values are copied. */
enum sqz_status sqz_onnx_export_floats(struct onnx_export *export, const char *base, const char *suffix,
                                       const float *values, size_t n, bool scalar, const char **out,
                                       struct sqz_error *err);
enum sqz_status sqz_onnx_export_integers(struct onnx_export *export, const char *base, const char *suffix,
                                         const int64_t *values, size_t n, const char **out, struct sqz_error *err);

/* Translate node `index` of the model; its result gets the name values[index]. */
enum sqz_status sqz_onnx_export_node(struct onnx_export *export, size_t index, struct sqz_error *err);

/* How the input description travels in the file's metadata. */
#define ONNX_INPUT_KEY "sqz.input"
bool sqz_onnx_format_input(const struct sqz_input *input, char *buffer, size_t capacity);

/* Take everything but the sizes from text; false (and *input untouched) when it is not in that form. */
bool sqz_onnx_parse_input(const char *text, struct sqz_input *input);

#endif
