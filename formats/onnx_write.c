/*
 * onnx_write.c - a model as an ONNX file of operator set 13.
 *
 * The message is framed by hand around the weights: their lengths are known
 * beforehand, so each goes from the model to the file without a copy of all
 * of them in memory.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/onnx_export.h"
#include "lib/infer.h"

/* IR version 8 came with ONNX 1.10, 2021; operator set 13 is older, so every reader of the one has the other. */
#define IR_VERSION 8
#define OPSET 13

/* Field tags: number << 3 | 2 (bytes). */
#define TAG_MODEL_GRAPH (7 << 3 | 2)
#define TAG_GRAPH_INITIALISER (5 << 3 | 2)
#define TAG_TENSOR_RAW_DATA (9 << 3 | 2)

/* Protobuf readers stop at 2 GiB. */
#define MAX_MESSAGE_NBYTES ((size_t)INT32_MAX)

#define TYPE_FLOAT 1
#define TYPE_INT64 7

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* ---- names ------------------------------------------------------------------- */

/* Length of the UTF-8 sequence at s, or 0 when it is not valid (overlong and surrogate forms included). */
static size_t utf8_length(const unsigned char *s) {
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* Strings of a protobuf message must be UTF-8: other bytes become '_'. */
static void make_utf8(char *s) {
    while (*s) {
        size_t n = utf8_length((const unsigned char *)s);
        if (n == 0) *s = '_';
        s += n ? n : 1;
    }
}

static bool is_used(const struct onnx_export *export, const char *name) {
    for (size_t i = 0; i < export->n_used; i++)
        if (strcmp(export->used[i], name) == 0) return true;
    return false;
}

const char *sqz_onnx_unique_name(struct onnx_export *export, const char *base, const char *suffix) {
    size_t capacity = strlen(base) + strlen(suffix) + 24;
    char *name = sqz_arena_alloc(&export->arena, capacity, 1);
    if (!name) return NULL;
    snprintf(name, capacity, "%s%s", base, suffix);
    make_utf8(name);
    size_t length = strlen(name);
    for (unsigned n = 2; is_used(export, name); n++) snprintf(name + length, capacity - length, "_%u", n);
    export->used[export->n_used++] = name;
    return name;
}

/* ---- initialisers -------------------------------------------------------------- */

static enum sqz_status add_initialiser(struct onnx_export *export, const char *name, int32_t type, const int64_t *dim,
                                       size_t rank, struct onnx_initialiser *out, struct sqz_error *err) {
    Onnx__Tensor *tensor = sqz_arena_alloc(&export->arena, 1, sizeof *tensor);
    int64_t *dims = sqz_arena_alloc(&export->arena, rank ? rank : 1, sizeof *dims);
    if (!name || !tensor || !dims) return no_memory(err);
    onnx__tensor__init(tensor);
    if (rank) memcpy(dims, dim, rank * sizeof *dims);
    tensor->dims = dims;
    tensor->n_dims = rank;
    tensor->has_data_type = 1;
    tensor->data_type = type;
    tensor->name = (char *)name;
    out->header = tensor;
    export->initialisers[export->n_initialisers++] = *out;
    return SQZ_OK;
}

enum sqz_status sqz_onnx_export_weight(struct onnx_export *export, uint32_t index, const char **out,
                                       struct sqz_error *err) {
    const struct sqz_weight *weight = &export->model->weights[index];
    if (!export->weights[index]) {
        int64_t dim[SQZ_MAX_RANK];
        struct onnx_initialiser initialiser = {.weight = index};
        const char *name = sqz_onnx_unique_name(export, weight->name, "");
        for (uint32_t i = 0; i < weight->shape.rank; i++) dim[i] = (int64_t)weight->shape.dim[i];
        if (!sqz_mul_size(weight->count, sizeof(float), &initialiser.nbytes))
            return sqz_fail(err, SQZ_LIMIT, "weight %s is too large", weight->name);
        SQZ_TRY(add_initialiser(export, name, TYPE_FLOAT, dim, weight->shape.rank, &initialiser, err));
        export->weights[index] = name;
    }
    *out = export->weights[index];
    return SQZ_OK;
}

static enum sqz_status add_helper(struct onnx_export *export, const char *base, const char *suffix, int32_t type,
                                  struct sqz_buffer *values, size_t n, bool scalar, const char **out,
                                  struct sqz_error *err) {
    int64_t dim = (int64_t)n;
    void *bytes = sqz_arena_alloc(&export->arena, values->nbytes ? values->nbytes : 1, 1);
    enum sqz_status status = bytes ? sqz_buffer_status(values, err) : no_memory(err);
    if (status == SQZ_OK) {
        struct onnx_initialiser initialiser = {.weight = SIZE_MAX, .bytes = bytes, .nbytes = values->nbytes};
        if (values->nbytes) memcpy(bytes, values->data, values->nbytes);
        *out = sqz_onnx_unique_name(export, base, suffix);
        status = add_initialiser(export, *out, type, &dim, scalar ? 0 : 1, &initialiser, err);
    }
    sqz_buffer_free(values);
    return status;
}

enum sqz_status sqz_onnx_export_floats(struct onnx_export *export, const char *base, const char *suffix,
                                       const float *values, size_t n, bool scalar, const char **out,
                                       struct sqz_error *err) {
    struct sqz_buffer buffer = {0};
    for (size_t i = 0; i < n; i++) sqz_put_f32(&buffer, values[i]);
    return add_helper(export, base, suffix, TYPE_FLOAT, &buffer, n, scalar, out, err);
}

enum sqz_status sqz_onnx_export_integers(struct onnx_export *export, const char *base, const char *suffix,
                                         const int64_t *values, size_t n, const char **out, struct sqz_error *err) {
    struct sqz_buffer buffer = {0};
    for (size_t i = 0; i < n; i++) sqz_put_u64(&buffer, (uint64_t)values[i]);
    return add_helper(export, base, suffix, TYPE_INT64, &buffer, n, false, out, err);
}

/* ---- writing --------------------------------------------------------------------- */

static size_t varint_nbytes(uint64_t value) {
    size_t n = 1;
    for (; value >= 0x80; value >>= 7) n++;
    return n;
}

/* Bytes of a field whose content has n bytes; all tags here fit one byte. */
static size_t field_nbytes(size_t n) {
    return 1 + varint_nbytes(n) + n;
}

static size_t initialiser_nbytes(const struct onnx_initialiser *initialiser) {
    return protobuf_c_message_get_packed_size(&initialiser->header->base) + field_nbytes(initialiser->nbytes);
}

static enum sqz_status put(FILE *stream, const void *bytes, size_t nbytes, struct sqz_error *err) {
    if (nbytes && fwrite(bytes, 1, nbytes, stream) != nbytes) return sqz_fail(err, SQZ_IO, "writing failed");
    return SQZ_OK;
}

static enum sqz_status put_tag(FILE *stream, uint8_t tag, size_t nbytes, struct sqz_error *err) {
    uint8_t bytes[11] = {tag};
    size_t n = 1;
    uint64_t value = nbytes;
    for (; value >= 0x80; value >>= 7) bytes[n++] = (uint8_t)(value | 0x80);
    bytes[n++] = (uint8_t)value;
    return put(stream, bytes, n, err);
}

static enum sqz_status put_message(FILE *stream, const ProtobufCMessage *message, struct sqz_error *err) {
    uint8_t *bytes = sqz_alloc(protobuf_c_message_get_packed_size(message), 1);
    if (!bytes) return no_memory(err);
    enum sqz_status status = put(stream, bytes, protobuf_c_message_pack(message, bytes), err);
    sqz_free(bytes);
    return status;
}

/* Floats in little-endian order, a block at a time. */
static enum sqz_status put_floats(FILE *stream, const float *values, size_t count, struct sqz_error *err) {
    enum { BLOCK = 4096 };
    uint8_t bytes[4 * BLOCK];
    for (size_t done = 0; done < count;) {
        size_t n = count - done < BLOCK ? count - done : BLOCK;
        for (size_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, &values[done + i], sizeof bits);
            for (unsigned k = 0; k < 4; k++) bytes[4 * i + k] = (uint8_t)(bits >> 8 * k);
        }
        SQZ_TRY(put(stream, bytes, 4 * n, err));
        done += n;
    }
    return SQZ_OK;
}

static enum sqz_status put_weight(FILE *stream, const struct sqz_weight *weight, struct sqz_error *err) {
    if (weight->data) return put_floats(stream, weight->data, weight->count, err);
    float *data = sqz_alloc(weight->count, sizeof *data);
    if (!data) return no_memory(err);
    sqz_packed_unpack(weight->packed, weight->shape.rank ? (size_t)weight->shape.dim[0] : 1, data);
    enum sqz_status status = put_floats(stream, data, weight->count, err);
    sqz_free(data);
    return status;
}

static enum sqz_status put_initialiser(FILE *stream, const struct sqz_model *model,
                                       const struct onnx_initialiser *initialiser, struct sqz_error *err) {
    SQZ_TRY(put_tag(stream, TAG_GRAPH_INITIALISER, initialiser_nbytes(initialiser), err));
    SQZ_TRY(put_message(stream, &initialiser->header->base, err));
    SQZ_TRY(put_tag(stream, TAG_TENSOR_RAW_DATA, initialiser->nbytes, err));
    if (initialiser->weight == SIZE_MAX) return put(stream, initialiser->bytes, initialiser->nbytes, err);
    return put_weight(stream, &model->weights[initialiser->weight], err);
}

/* The graph field of the model: its small parts packed at once, then the initialisers one by one. */
static enum sqz_status put_graph(FILE *stream, const struct onnx_export *export, const Onnx__Graph *graph,
                                 struct sqz_error *err) {
    size_t nbytes = protobuf_c_message_get_packed_size(&graph->base);
    for (size_t i = 0; i < export->n_initialisers; i++) {
        size_t n = initialiser_nbytes(&export->initialisers[i]);
        if (n > MAX_MESSAGE_NBYTES || (nbytes += field_nbytes(n)) > MAX_MESSAGE_NBYTES)
            return sqz_fail(err, SQZ_LIMIT, "the weights are larger than the 2 GiB that an ONNX file can hold");
    }
    SQZ_TRY(put_tag(stream, TAG_MODEL_GRAPH, nbytes, err));
    SQZ_TRY(put_message(stream, &graph->base, err));
    for (size_t i = 0; i < export->n_initialisers; i++)
        SQZ_TRY(put_initialiser(stream, export->model, &export->initialisers[i], err));
    return SQZ_OK;
}

/* ---- the message ------------------------------------------------------------------- */

/* Name and shape of the input or output, with a free batch dimension. */
static Onnx__ValueInfo *describe(struct onnx_export *export, const char *name, const struct sqz_shape *shape) {
    struct {
        Onnx__ValueInfo info;
        Onnx__Type type;
        Onnx__TensorType tensor;
        Onnx__TensorShape shape;
        Onnx__Dimension dim[SQZ_MAX_RANK], *list[SQZ_MAX_RANK];
    } *all = sqz_arena_alloc(&export->arena, 1, sizeof *all);
    if (!all) return NULL;
    onnx__value_info__init(&all->info);
    onnx__type__init(&all->type);
    onnx__tensor_type__init(&all->tensor);
    onnx__tensor_shape__init(&all->shape);
    for (uint32_t i = 0; i < shape->rank; i++) {
        onnx__dimension__init(&all->dim[i]);
        all->dim[i].has_dim_value = i > 0;
        all->dim[i].dim_value = (int64_t)shape->dim[i];
        if (i == 0) all->dim[i].dim_param = (char *)"batch";
        all->list[i] = &all->dim[i];
    }
    all->info.name = (char *)name;
    all->info.type = &all->type;
    all->type.tensor_type = &all->tensor;
    all->tensor.has_elem_type = 1;
    all->tensor.elem_type = TYPE_FLOAT;
    all->tensor.shape = &all->shape;
    all->shape.dim = all->list;
    all->shape.n_dim = shape->rank;
    return &all->info;
}

/* Names for the results first, so that weights and helpers have to give way to them. */
static enum sqz_status name_values(struct onnx_export *export, struct sqz_error *err) {
    const struct sqz_model *model = export->model;
    if (model->output > 0) export->values[model->output] = sqz_onnx_unique_name(export, "output", "");
    for (size_t i = 0; i < model->n_nodes; i++) {
        if (!export->values[i]) export->values[i] = sqz_onnx_unique_name(export, model->nodes[i].name, "");
        if (!export->values[i]) return no_memory(err);
    }
    return SQZ_OK;
}

static enum sqz_status build(struct onnx_export *export, Onnx__Graph *graph, struct sqz_error *err) {
    const struct sqz_model *model = export->model;
    struct sqz_arena *arena = &export->arena;
    size_t n = model->n_nodes;
    export->shapes = sqz_arena_alloc(arena, n, sizeof *export->shapes);
    export->values = sqz_arena_alloc(arena, n, sizeof *export->values);
    export->weights = sqz_arena_alloc(arena, model->n_weights + 1, sizeof *export->weights);
    export->used = sqz_arena_alloc(arena, n * ONNX_NAMES_EACH + model->n_weights + 1, sizeof *export->used);
    export->nodes = sqz_arena_alloc(arena, n * ONNX_NODES_EACH, sizeof *export->nodes);
    export->initialisers =
        sqz_arena_alloc(arena, n * ONNX_CONSTANTS_EACH + model->n_weights, sizeof *export->initialisers);
    if (!export->shapes || !export->values || !export->weights || !export->used || !export->nodes ||
        !export->initialisers)
        return no_memory(err);
    SQZ_TRY(sqz_infer_shapes(model, 1, 0, 0, export->shapes, err));
    SQZ_TRY(name_values(export, err));
    if (model->output == 0) return sqz_fail(err, SQZ_UNSUPPORTED, "a model without operators cannot be exported");
    for (size_t i = 1; i < n; i++) SQZ_TRY(sqz_onnx_export_node(export, i, err));
    graph->node = export->nodes;
    graph->n_node = export->n_nodes;
    graph->name = (char *)"sqz";
    graph->input = sqz_arena_alloc(arena, 1, sizeof *graph->input);
    graph->output = sqz_arena_alloc(arena, 1, sizeof *graph->output);
    if (!graph->input || !graph->output) return no_memory(err);
    graph->input[0] = describe(export, export->values[0], &export->shapes[0]);
    graph->output[0] = describe(export, export->values[model->output], &export->shapes[model->output]);
    if (!graph->input[0] || !graph->output[0]) return no_memory(err);
    graph->n_input = graph->n_output = 1;
    return SQZ_OK;
}

/* Everything of the outer message but the graph. */
static enum sqz_status put_head(FILE *stream, const struct sqz_model *model, struct sqz_error *err) {
    Onnx__Model message = ONNX__MODEL__INIT;
    Onnx__OperatorSet set = ONNX__OPERATOR_SET__INIT, *sets[1] = {&set};
    Onnx__StringPair pair = ONNX__STRING_PAIR__INIT, *pairs[1] = {&pair};
    char text[512];
    message.has_ir_version = 1;
    message.ir_version = IR_VERSION;
    message.producer_name = (char *)"sqz";
    set.domain = (char *)"";
    set.has_version = 1;
    set.version = OPSET;
    message.opset_import = sets;
    message.n_opset_import = 1;
    if (sqz_onnx_format_input(&model->input, text, sizeof text)) {
        pair.key = (char *)ONNX_INPUT_KEY;
        pair.value = text;
        message.metadata_props = pairs;
        message.n_metadata_props = 1;
    }
    return put_message(stream, &message.base, err);
}

enum sqz_status sqz_onnx_write(const struct sqz_model *model, const char *path, size_t *out_nbytes,
                               struct sqz_error *err) {
    struct onnx_export export = {.model = model};
    Onnx__Graph graph = ONNX__GRAPH__INIT;
    struct sqz_output output;
    enum sqz_status status = build(&export, &graph, err);
    if (status == SQZ_OK && (status = sqz_output_begin(path, &output, err)) == SQZ_OK) {
        status = put_head(output.stream, model, err);
        if (status == SQZ_OK) status = put_graph(output.stream, &export, &graph, err);
        if (status == SQZ_OK)
            status = sqz_output_commit(&output, out_nbytes, err);
        else
            sqz_output_abandon(&output);
    }
    sqz_arena_free(&export.arena);
    return status;
}
