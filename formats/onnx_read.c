/* onnx_read.c - from the bytes of an ONNX file to a checked model. */
#include <inttypes.h>
#include <string.h>

#include "formats/archs.h"
#include "formats/onnx_export.h"
#include "formats/onnx_parts.h"
#include "lib/bytes.h"

/*
 * Operator sets that are read. 7 to 21 are what the converters were written
 * for. Before 7 only broadcasting and test modes differ, which is handled; from
 * 21 to 28, the newest, the operators that are read gained types, no meanings.
 */
#define OLDEST_OPSET 1
#define NEWEST_OPSET 28

/* Side assumed for an input of free height and width: what ImageNet nets and what 28 x 28 nets are trained at. */
#define USUAL_COLOUR_SIDE 224
#define USUAL_GREY_SIDE 28

/* ---- probe ------------------------------------------------------------------ */

/* Wire type of each field of a model message: 0 varint, 2 bytes; 9 where there is no such field. */
static int model_wire_type(uint64_t field) {
    switch (field) {
    case 1: /* ir_version */
    case 5: /* model_version */
        return 0;
    case 2:  /* producer_name */
    case 3:  /* producer_version */
    case 4:  /* domain */
    case 6:  /* doc_string */
    case 7:  /* graph */
    case 8:  /* opset_import */
    case 14: /* metadata_props */
    case 20: /* training_info */
    case 25: /* functions */
    case 26: /* configuration */
        return 2;
    default:
        return 9;
    }
}

/* Names of producer and domain are short text; in other files the same field numbers hold nested messages. */
static bool is_short_text(const uint8_t *text, uint64_t length) {
    if (length > 256) return false;
    for (uint64_t i = 0; i < length; i++)
        if (text[i] < 0x20) return false;
    return true;
}

/*
 * There is no magic number, so the fields at the start must be those of a
 * model: at least two of them, or one and a graph that a truncated file cuts off.
 */
bool sqz_onnx_probe(const struct sqz_source *source) {
    struct sqz_reader r = sqz_reader_make(source->data, source->nbytes);
    unsigned n_fields = 0;
    while (n_fields < 3 && sqz_reader_left(&r)) {
        uint64_t tag = sqz_read_varint(&r);
        if (r.failed || model_wire_type(tag >> 3) != (int)(tag & 7)) return false;
        uint64_t value = sqz_read_varint(&r);
        if (r.failed) return n_fields > 0;
        if (tag >> 3 == 1 && (value == 0 || value > 1000)) return false; /* ir_version: 14 is the newest */
        n_fields++;
        const uint8_t *content = (tag & 7) == 2 ? sqz_read_bytes(&r, value) : NULL;
        if ((tag & 7) == 2 && !content) break;
        if (tag >> 3 >= 2 && tag >> 3 <= 4 && !is_short_text(content, value)) return false;
    }
    return n_fields >= 2 || (n_fields == 1 && source->nbytes > 1 && source->data[0] == 0x08);
}

/* ---- input ------------------------------------------------------------------- */

/* Whether every reader of the input is a Transpose to channels-first: the file takes [n][h][w][c]. */
static bool is_channels_last(const struct onnx_import *import, const char *input) {
    static const int64_t to_channels_first[4] = {0, 3, 1, 2};
    const Onnx__Graph *graph = import->proto->graph;
    bool found = false;
    for (size_t i = 0; i < graph->n_node; i++) {
        const Onnx__Node *node = graph->node[i];
        for (size_t k = 0; k < node->n_input; k++) {
            size_t n;
            if (strcmp(node->input[k], input) != 0) continue;
            const int64_t *perm = sqz_onnx_ints(node, "perm", &n);
            if (strcmp(onnx_text(node->op_type), "Transpose") != 0 || n != 4 ||
                memcmp(perm, to_channels_first, sizeof to_channels_first) != 0)
                return false;
            found = true;
        }
    }
    return found;
}

/* Integer pixels are fine when the first thing done is a Cast: sqz feeds the same numbers as floats. */
static bool is_cast_first(const struct onnx_import *import, const char *input) {
    const Onnx__Graph *graph = import->proto->graph;
    for (size_t i = 0; i < graph->n_node; i++)
        for (size_t k = 0; k < graph->node[i]->n_input; k++)
            if (strcmp(graph->node[i]->input[k], input) == 0 && strcmp(onnx_text(graph->node[i]->op_type), "Cast") != 0)
                return false;
    return true;
}

static enum sqz_status check_input_type(const struct onnx_import *import, const Onnx__ValueInfo *input,
                                        struct sqz_error *err) {
    const char *name = onnx_text(input->name);
    const Onnx__TensorType *type = input->type ? input->type->tensor_type : NULL;
    if (!type || !type->shape) return sqz_fail(err, SQZ_UNSUPPORTED, "the input %s has no shape", name);
    switch (type->elem_type) {
    case ONNX_FLOAT:
    case ONNX_FLOAT16:
    case ONNX_BFLOAT16:
    case ONNX_DOUBLE:
        break;
    case ONNX_UINT8:
        if (is_cast_first(import, name)) break;
        /* fall through */
    default:
        return sqz_fail(err, SQZ_UNSUPPORTED, "the input %s has data type %" PRId32 ", not float", name,
                        type->elem_type);
    }
    if (type->shape->n_dim != 4)
        return sqz_fail(err, SQZ_UNSUPPORTED, "the input %s has %zu dimensions; images have four", name,
                        type->shape->n_dim);
    for (size_t i = 0; i < 4; i++)
        if (type->shape->dim[i]->has_dim_value && type->shape->dim[i]->dim_value > UINT16_MAX)
            return sqz_fail(err, SQZ_LIMIT, "dimension %zu of the input %s is %" PRId64, i, name,
                            type->shape->dim[i]->dim_value);
    return SQZ_OK;
}

/* A fixed dimension, or 0 for a symbolic or absent one. */
static uint32_t fixed(const Onnx__Dimension *dimension) {
    return dimension->has_dim_value && dimension->dim_value > 0 ? (uint32_t)dimension->dim_value : 0;
}

static void warn(const struct onnx_import *import, const char *text) {
    if (import->options->warn) import->options->warn(import->options->warn_context, text);
}

/* What the file's metadata say when sqz wrote it, else what nets of that input size were trained with. */
static void choose_preset(const struct onnx_import *import, struct sqz_input *input) {
    const char *preset = "raw";
    if (input->channels == 3 && input->height == input->width && (input->height == 224 || input->height == 227))
        preset = "torchvision";
    if (input->channels == 1 && input->height == 28 && input->width == 28) preset = "fashion-mnist";
    sqz_input_preset(preset, input);
    for (size_t i = 0; i < import->proto->n_metadata_props; i++) {
        const Onnx__StringPair *pair = import->proto->metadata_props[i];
        if (strcmp(onnx_text(pair->key), ONNX_INPUT_KEY) == 0) sqz_onnx_parse_input(onnx_text(pair->value), input);
    }
}

enum sqz_status sqz_onnx_make_model(struct onnx_import *import, const Onnx__ValueInfo *input, struct sqz_error *err) {
    SQZ_TRY(check_input_type(import, input, err));
    Onnx__Dimension **dim = input->type->tensor_type->shape->dim;
    const char *name = onnx_text(input->name);
    bool last = is_channels_last(import, name);
    struct sqz_input description = {
        .channels = fixed(dim[last ? 3 : 1]), .height = fixed(dim[last ? 1 : 2]), .width = fixed(dim[last ? 2 : 3])};
    if (description.channels == 0)
        return sqz_fail(err, SQZ_UNSUPPORTED, "the number of channels of the input %s is not fixed", name);
    if (description.height == 0 || description.width == 0) {
        uint32_t side = description.channels == 1 ? USUAL_GREY_SIDE : USUAL_COLOUR_SIDE;
        if (description.height == 0) description.height = side;
        if (description.width == 0) description.width = side;
        warn(import, "the file leaves the input size open: images are taken at the usual size of such nets");
    }
    choose_preset(import, &description);
    import->batch = fixed(dim[0]) ? fixed(dim[0]) : 1;
    import->model = sqz_model_new(&description);
    import->shapes = sqz_alloc(16, sizeof *import->shapes);
    if (!import->model || !import->shapes) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    import->shapes_capacity = 16;
    import->shapes[0] = sqz_shape4(import->batch, description.channels, description.height, description.width);
    struct onnx_value *value = sqz_onnx_find(import, name);
    value->is_view = last;
    static const uint8_t channels_last[4] = {0, 2, 3, 1};
    memcpy(value->perm, channels_last, sizeof channels_last);
    return SQZ_OK;
}

/* ---- the file ------------------------------------------------------------------ */

static void *allocate(void *data, size_t nbytes) {
    struct onnx_import *import = data;
    void *p = sqz_alloc(nbytes, 1);
    if (!p) import->out_of_memory = true;
    return p;
}

static void release(void *data, void *p) {
    (void)data;
    sqz_free(p);
}

static enum sqz_status find_opset(struct onnx_import *import, struct sqz_error *err) {
    for (size_t i = 0; i < import->proto->n_opset_import; i++) {
        const Onnx__OperatorSet *set = import->proto->opset_import[i];
        const char *domain = onnx_text(set->domain);
        if (*domain == '\0' || strcmp(domain, "ai.onnx") == 0) import->opset = set->version;
    }
    if (import->opset == 0) return sqz_fail(err, SQZ_MALFORMED, "the file names no operator set");
    if (import->opset < OLDEST_OPSET || import->opset > NEWEST_OPSET)
        return sqz_fail(err, SQZ_VERSION, "operator set %" PRId64 " is not supported (7 to 21 are)", import->opset);
    return SQZ_OK;
}

/* Whether the last field of the file promises more bytes than there are. */
static bool is_cut_off(const struct sqz_source *source) {
    struct sqz_reader r = sqz_reader_make(source->data, source->nbytes);
    while (sqz_reader_left(&r)) {
        uint64_t tag = sqz_read_varint(&r), value = 0;
        if (!r.failed && model_wire_type(tag >> 3) != (int)(tag & 7)) return false;
        if (!r.failed) value = sqz_read_varint(&r);
        if (!r.failed && (tag & 7) == 2) sqz_read_bytes(&r, value);
        if (r.failed) return true;
    }
    return false;
}

static enum sqz_status unpack(struct onnx_import *import, struct sqz_error *err) {
    const struct sqz_source *source = import->source;
    import->proto = onnx__model__unpack(&import->allocator, source->nbytes, source->data);
    if (!import->proto && import->out_of_memory) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    if (!import->proto && is_cut_off(source)) return sqz_fail(err, SQZ_TRUNCATED, "the ONNX file is cut off");
    if (!import->proto) return sqz_fail(err, SQZ_MALFORMED, "the file is not a well-formed ONNX message");
    /* The message holds copies of everything: the file's pages need not count any longer. */
    sqz_source_release(source, 0, source->nbytes);
    if (!import->proto->graph) return sqz_fail(err, SQZ_MALFORMED, "the file has no graph");
    return find_opset(import, err);
}

static void free_import(struct onnx_import *import) {
    for (size_t i = 0; i < import->names.capacity; i++)
        if (import->names.slots[i]) sqz_onnx_tensor_free(&import->names.slots[i]->tensor);
    sqz_free(import->names.slots);
    for (size_t i = 0; i < import->n_branches; i++) onnx__graph__free_unpacked(import->branches[i], &import->allocator);
    sqz_free(import->branches);
    if (import->proto) onnx__model__free_unpacked(import->proto, &import->allocator);
    sqz_free(import->shapes);
    sqz_model_free(import->model);
    sqz_arena_free(&import->arena);
}

static enum sqz_status finish(struct onnx_import *import, struct sqz_model **out, struct sqz_error *err) {
    struct sqz_model *model = import->model;
    model->source = "onnx";
    SQZ_TRY(sqz_model_check(model, err));
    model->arch = sqz_arch_name(model);
    *out = model;
    import->model = NULL;
    return SQZ_OK;
}

enum sqz_status sqz_onnx_read(const struct sqz_source *source, const struct sqz_read_options *options,
                              struct sqz_model **out, struct sqz_error *err) {
    struct onnx_import import = {.source = source, .options = options};
    size_t limit = options->max_nbytes ? options->max_nbytes : (size_t)8 << 30;
    import.max_count = limit / sizeof(float);
    import.allocator = (ProtobufCAllocator){.alloc = allocate, .free = release, .allocator_data = &import};
    enum sqz_status status = unpack(&import, err);
    if (status == SQZ_OK) status = sqz_onnx_convert_graph(&import, err);
    if (status == SQZ_OK) status = finish(&import, out, err);
    free_import(&import);
    return status;
}
