/*
 * graph_code.c - the graph of a model as bytes.
 *
 * Fields of one kind stand together (all names, all operators, all inputs, ...), and names share prefixes, so that
 * deflate finds the repetition of modules. The layout is described in formats/SQZ.md, section "Graph".
 */
#include "lib/graph_code.h"

#include <string.h>

/* How a weight's name is stored: most follow from the layer that uses the weight. */
enum weight_name_code { NAME_EXPLICIT, NAME_LAYER_WEIGHT, NAME_LAYER_BIAS };

static const char *const name_suffixes[] = {"", ".weight", ".bias"};

/* ---- parameters, one visitor for both directions ------------------------- */

/* Either writes to `out` or reads from `in`. */
struct param_coder {
    struct sqz_buffer *out;
    struct sqz_reader *in;
};

static void code_u32(struct param_coder *coder, uint32_t *v) {
    if (coder->out) {
        sqz_put_varint(coder->out, *v);
        return;
    }
    uint64_t wide = sqz_read_varint(coder->in);
    if (wide > UINT32_MAX) coder->in->failed = true;
    *v = (uint32_t)wide;
}

static void code_f32(struct param_coder *coder, float *v) {
    if (coder->out)
        sqz_put_f32(coder->out, *v);
    else
        *v = sqz_read_f32(coder->in);
}

/* A signed value in zigzag form. */
static void code_i64(struct param_coder *coder, int64_t *v) {
    if (coder->out) {
        sqz_put_varint(coder->out, ((uint64_t)*v << 1) ^ (uint64_t)(*v >> 63));
    } else {
        uint64_t u = sqz_read_varint(coder->in);
        *v = (int64_t)(u >> 1) ^ -(int64_t)(u & 1);
    }
}

static void code_window(struct param_coder *coder, struct sqz_window *w) {
    uint32_t *fields[] = {&w->kernel_h,   &w->kernel_w, &w->stride_h, &w->stride_w,   &w->dilation_h,
                          &w->dilation_w, &w->pad_top,  &w->pad_left, &w->pad_bottom, &w->pad_right};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) code_u32(coder, fields[i]);
}

static void code_pool(struct param_coder *coder, union sqz_params *p) {
    uint32_t ceil_mode = p->pool.ceil_mode, divisor = p->pool.divisor;
    code_window(coder, &p->pool.window);
    code_u32(coder, &ceil_mode);
    code_u32(coder, &divisor);
    if (coder->in && (ceil_mode > 1 || divisor > SQZ_DIVISOR_KERNEL)) coder->in->failed = true;
    p->pool.ceil_mode = ceil_mode == 1;
    p->pool.divisor = (enum sqz_divisor)divisor;
}

static void code_reshape(struct param_coder *coder, union sqz_params *p) {
    code_u32(coder, &p->reshape.rank);
    if (p->reshape.rank > SQZ_MAX_RANK) {
        if (coder->in) coder->in->failed = true;
        return;
    }
    for (uint32_t i = 0; i < p->reshape.rank; i++) code_i64(coder, &p->reshape.dim[i]);
}

static void code_params(struct param_coder *coder, enum sqz_op op, union sqz_params *p) {
    switch (op) {
    case SQZ_OP_CONV:
        code_window(coder, &p->conv.window);
        code_u32(coder, &p->conv.groups);
        break;
    case SQZ_OP_MAX_POOL:
    case SQZ_OP_AVERAGE_POOL:
        code_pool(coder, p);
        break;
    case SQZ_OP_ADAPTIVE_AVERAGE_POOL:
        code_u32(coder, &p->adaptive_pool.out_h);
        code_u32(coder, &p->adaptive_pool.out_w);
        break;
    case SQZ_OP_LEAKY_RELU:
        code_f32(coder, &p->leaky_relu.slope);
        break;
    case SQZ_OP_CLIP:
        code_f32(coder, &p->clip.low);
        code_f32(coder, &p->clip.high);
        break;
    case SQZ_OP_LRN:
        code_u32(coder, &p->lrn.size);
        code_f32(coder, &p->lrn.alpha);
        code_f32(coder, &p->lrn.beta);
        code_f32(coder, &p->lrn.k);
        break;
    case SQZ_OP_CONCAT:
        code_u32(coder, &p->concat.axis);
        break;
    case SQZ_OP_SOFTMAX:
        code_u32(coder, &p->softmax.axis);
        break;
    case SQZ_OP_RESHAPE:
        code_reshape(coder, p);
        break;
    case SQZ_OP_PAD:
        code_u32(coder, &p->pad.top);
        code_u32(coder, &p->pad.left);
        code_u32(coder, &p->pad.bottom);
        code_u32(coder, &p->pad.right);
        code_f32(coder, &p->pad.value);
        break;
    default:
        break;
    }
}

static void code_input(struct param_coder *coder, struct sqz_input *input) {
    uint32_t squash = input->squash, order = input->order, filter = input->filter;
    code_u32(coder, &input->channels);
    code_u32(coder, &input->height);
    code_u32(coder, &input->width);
    code_u32(coder, &input->resize_short);
    code_u32(coder, &squash);
    code_u32(coder, &order);
    code_u32(coder, &filter);
    if (coder->in && (squash > 1 || order > SQZ_CHANNELS_GREY || filter > SQZ_RESIZE_BILINEAR))
        coder->in->failed = true;
    input->squash = squash == 1;
    input->order = (enum sqz_channel_order)order;
    input->filter = (enum sqz_resize_filter)filter;
    code_f32(coder, &input->scale);
    for (int c = 0; c < 4; c++) code_f32(coder, &input->mean[c]);
    for (int c = 0; c < 4; c++) code_f32(coder, &input->std[c]);
}

/* ---- strings: shared prefix with the one before, then the rest ----------- */

static void put_string(struct sqz_buffer *out, const char *previous, const char *s) {
    size_t shared = 0;
    while (previous[shared] && previous[shared] == s[shared]) shared++;
    size_t rest = strlen(s + shared);
    sqz_put_varint(out, shared);
    sqz_put_varint(out, rest);
    sqz_put_bytes(out, s + shared, rest);
}

/*
 * All strings of a graph together, with their terminators. Shared prefixes make a few bytes stand for long strings, so
 * the file's own size is no bound; ImageNet's class names take 31 KB.
 */
#define MAX_STRING_NBYTES ((size_t)16 << 20)

struct string_store {
    struct sqz_arena *arena;
    size_t left; /* of MAX_STRING_NBYTES */
};

/* NULL when the bytes are not a string (r->failed) or memory is short. */
static const char *read_string(struct sqz_reader *r, struct string_store *store, const char *previous) {
    uint64_t shared = sqz_read_varint(r), rest = sqz_read_varint(r);
    if (r->failed || shared > strlen(previous) || rest > sqz_reader_left(r) || shared + rest >= store->left) {
        r->failed = true;
        return NULL;
    }
    store->left -= (size_t)(shared + rest) + 1;
    const uint8_t *bytes = sqz_read_bytes(r, (size_t)rest);
    if (memchr(bytes, 0, (size_t)rest)) {
        r->failed = true;
        return NULL;
    }
    char *s = sqz_arena_alloc(store->arena, (size_t)shared + (size_t)rest + 1, 1);
    if (!s) return NULL;
    memcpy(s, previous, (size_t)shared);
    memcpy(s + shared, bytes, (size_t)rest);
    return s;
}

/* ---- writing ------------------------------------------------------------ */

/* Weights are numbered in the order nodes use them in most models: 0 none, 1 the next one, else index + 2. */
static void put_weight_ref(struct sqz_buffer *out, uint32_t index, uint32_t *next) {
    if (index == SQZ_NO_WEIGHT) {
        sqz_put_varint(out, 0);
        return;
    }
    sqz_put_varint(out, index == *next ? 1 : (uint64_t)index + 2);
    *next = index + 1;
}

static void put_nodes(const struct sqz_model *model, struct sqz_buffer *out) {
    struct param_coder coder = {.out = out};
    sqz_put_varint(out, model->n_nodes);
    const char *previous = "";
    for (size_t i = 0; i < model->n_nodes; i++) {
        put_string(out, previous, model->nodes[i].name);
        previous = model->nodes[i].name;
    }
    for (size_t i = 0; i < model->n_nodes; i++) sqz_put_u8(out, (uint8_t)model->nodes[i].op);
    for (size_t i = 0; i < model->n_nodes; i++) {
        const struct sqz_node *node = &model->nodes[i];
        sqz_put_varint(out, node->n_inputs);
        for (uint32_t k = 0; k < node->n_inputs; k++) sqz_put_varint(out, i - node->inputs[k]);
    }
    uint32_t next = 0;
    for (size_t i = 0; i < model->n_nodes; i++) {
        put_weight_ref(out, model->nodes[i].kernel, &next);
        put_weight_ref(out, model->nodes[i].bias, &next);
    }
    for (size_t i = 0; i < model->n_nodes; i++) {
        union sqz_params params = model->nodes[i].params;
        code_params(&coder, model->nodes[i].op, &params);
    }
    sqz_put_varint(out, model->output);
}

static enum weight_name_code weight_name_code(const struct sqz_model *model, size_t index) {
    const char *layer = sqz_model_layer_name(model, index), *name = model->weights[index].name;
    size_t n = strlen(layer);
    if (strncmp(name, layer, n) != 0) return NAME_EXPLICIT;
    for (int code = NAME_LAYER_WEIGHT; code <= NAME_LAYER_BIAS; code++)
        if (strcmp(name + n, name_suffixes[code]) == 0) return (enum weight_name_code)code;
    return NAME_EXPLICIT;
}

static void put_weights(const struct sqz_model *model, struct sqz_buffer *out) {
    sqz_put_varint(out, model->n_weights);
    for (size_t i = 0; i < model->n_weights; i++) sqz_put_u8(out, (uint8_t)model->weights[i].role);
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct sqz_shape *shape = &model->weights[i].shape;
        sqz_put_varint(out, shape->rank);
        for (uint32_t d = 0; d < shape->rank; d++) sqz_put_varint(out, shape->dim[d]);
    }
    for (size_t i = 0; i < model->n_weights; i++) sqz_put_u8(out, (uint8_t)weight_name_code(model, i));
    const char *previous = "";
    for (size_t i = 0; i < model->n_weights; i++) {
        if (weight_name_code(model, i) != NAME_EXPLICIT) continue;
        put_string(out, previous, model->weights[i].name);
        previous = model->weights[i].name;
    }
}

static void put_strings(const char *const *strings, size_t n, struct sqz_buffer *out) {
    sqz_put_varint(out, n);
    for (size_t i = 0; i < n; i++) put_string(out, i ? strings[i - 1] : "", strings[i]);
}

enum sqz_status sqz_graph_encode(const struct sqz_model *model, bool with_history, struct sqz_buffer *out,
                                 struct sqz_error *err) {
    struct param_coder coder = {.out = out};
    struct sqz_input input = model->input;
    put_string(out, "", model->arch);
    put_string(out, "", model->source);
    code_input(&coder, &input);
    put_nodes(model, out);
    put_weights(model, out);
    put_strings(model->class_names, model->n_classes_named, out);
    put_strings(model->history, with_history ? model->n_history : 0, out);
    sqz_image_record_put(&model->calibrated_on, out);
    return sqz_buffer_status(out, err);
}

/* ---- reading ------------------------------------------------------------ */

static enum sqz_status bad_graph(const struct sqz_reader *r, struct sqz_error *err) {
    return sqz_fail(err, SQZ_MALFORMED, "the graph is malformed at byte %zu of its section", r->offset);
}

/* What a NULL from read_string() meant. */
static enum sqz_status no_string(const struct sqz_reader *r, struct sqz_error *err) {
    if (r->failed) return bad_graph(r, err);
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* A count of things that take at least one byte each. */
static size_t read_count(struct sqz_reader *r, size_t limit) {
    uint64_t n = sqz_read_varint(r);
    if (n > limit || n > sqz_reader_left(r)) r->failed = true;
    return r->failed ? 0 : (size_t)n;
}

static uint32_t read_weight_ref(struct sqz_reader *r, uint32_t *next) {
    uint64_t v = sqz_read_varint(r);
    if (v == 0) return SQZ_NO_WEIGHT;
    uint64_t index = v == 1 ? *next : v - 2;
    if (index >= SQZ_MAX_WEIGHTS) {
        r->failed = true;
        return SQZ_NO_WEIGHT;
    }
    *next = (uint32_t)index + 1;
    return (uint32_t)index;
}

static enum sqz_status read_node_inputs(struct sqz_reader *r, struct sqz_model *model, size_t index,
                                        struct sqz_error *err) {
    struct sqz_node *node = &model->nodes[index];
    node->n_inputs = (uint32_t)read_count(r, SQZ_MAX_NODES);
    node->inputs = sqz_arena_alloc(&model->arena, node->n_inputs ? node->n_inputs : 1, sizeof *node->inputs);
    if (!node->inputs) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (uint32_t k = 0; k < node->n_inputs; k++) {
        uint64_t distance = sqz_read_varint(r);
        if (r->failed || distance == 0 || distance > index) return bad_graph(r, err);
        node->inputs[k] = (uint32_t)(index - distance);
    }
    return SQZ_OK;
}

static enum sqz_status read_node_names(struct sqz_reader *r, struct sqz_model *model, struct string_store *store,
                                       size_t n, struct sqz_error *err) {
    const char *previous = "";
    for (size_t i = 0; i < n; i++) {
        const char *name = read_string(r, store, previous);
        if (!name) return no_string(r, err);
        if (!*name) return bad_graph(r, err);
        previous = name;
        uint32_t index = 0;
        if (i > 0) SQZ_TRY(sqz_model_add_node(model, SQZ_OP_INPUT, name, NULL, 0, &index, err));
        if (strcmp(model->nodes[index].name, name) != 0) {
            if (i > 0) return sqz_fail(err, SQZ_MALFORMED, "two nodes have the name %s", name);
            model->nodes[index].name = name;
        }
    }
    return SQZ_OK;
}

static enum sqz_status read_nodes(struct sqz_reader *r, struct sqz_model *model, struct string_store *store,
                                  struct sqz_error *err) {
    struct param_coder coder = {.in = r};
    size_t n = read_count(r, SQZ_MAX_NODES);
    if (r->failed || n == 0) return bad_graph(r, err);
    SQZ_TRY(read_node_names(r, model, store, n, err));
    for (size_t i = 0; i < n; i++) {
        uint8_t op = sqz_read_u8(r);
        if (r->failed || op >= SQZ_OP_COUNT || (op == SQZ_OP_INPUT) != (i == 0)) return bad_graph(r, err);
        model->nodes[i].op = (enum sqz_op)op;
    }
    for (size_t i = 0; i < n; i++) SQZ_TRY(read_node_inputs(r, model, i, err));
    uint32_t next = 0;
    for (size_t i = 0; i < n; i++) {
        model->nodes[i].kernel = read_weight_ref(r, &next);
        model->nodes[i].bias = read_weight_ref(r, &next);
    }
    for (size_t i = 0; i < n; i++) code_params(&coder, model->nodes[i].op, &model->nodes[i].params);
    uint64_t output = sqz_read_varint(r);
    if (r->failed || output >= n) return bad_graph(r, err);
    model->output = (uint32_t)output;
    return SQZ_OK;
}

static bool read_shape(struct sqz_reader *r, struct sqz_shape *shape) {
    uint64_t rank = sqz_read_varint(r);
    if (r->failed || rank > SQZ_MAX_RANK) return false;
    shape->rank = (uint32_t)rank;
    for (uint32_t d = 0; d < shape->rank; d++) shape->dim[d] = sqz_read_varint(r);
    return !r->failed;
}

static const char *derived_weight_name(struct sqz_model *model, size_t index, unsigned code) {
    const char *layer = NULL;
    for (size_t i = 0; i < model->n_nodes && !layer; i++)
        if (model->nodes[i].kernel == index || model->nodes[i].bias == index) layer = model->nodes[i].name;
    if (!layer) return NULL;
    size_t n = strlen(layer), m = strlen(name_suffixes[code]);
    char *name = sqz_arena_alloc(&model->arena, n + m + 1, 1);
    if (!name) return NULL;
    memcpy(name, layer, n);
    memcpy(name + n, name_suffixes[code], m);
    return name;
}

static enum sqz_status read_weight_names(struct sqz_reader *r, struct sqz_model *model, struct string_store *store,
                                         struct sqz_error *err) {
    const uint8_t *codes = sqz_read_bytes(r, model->n_weights);
    if (!codes) return bad_graph(r, err);
    const char *previous = "";
    for (size_t i = 0; i < model->n_weights; i++) {
        if (codes[i] > NAME_LAYER_BIAS) return bad_graph(r, err);
        const char *name;
        if (codes[i] == NAME_EXPLICIT)
            name = previous = read_string(r, store, previous);
        else
            name = derived_weight_name(model, i, codes[i]);
        if (!name || !*name) return bad_graph(r, err);
        for (size_t k = 0; k < i; k++)
            if (strcmp(model->weights[k].name, name) == 0)
                return sqz_fail(err, SQZ_MALFORMED, "two weights have the name %s", name);
        model->weights[i].name = name;
    }
    return SQZ_OK;
}

static enum sqz_status read_weights(struct sqz_reader *r, struct sqz_model *model, struct string_store *store,
                                    size_t max_nbytes, struct sqz_error *err) {
    size_t n = read_count(r, SQZ_MAX_WEIGHTS), total = 0;
    if (r->failed) return bad_graph(r, err);
    model->weights = sqz_arena_alloc(&model->arena, n ? n : 1, sizeof *model->weights);
    if (!model->weights) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    model->n_weights = model->weights_capacity = n;
    for (size_t i = 0; i < n; i++) {
        uint8_t role = sqz_read_u8(r);
        if (r->failed || role > SQZ_ROLE_SHIFT) return bad_graph(r, err);
        model->weights[i].role = (enum sqz_role)role;
        model->weights[i].name = "";
    }
    for (size_t i = 0; i < n; i++) {
        struct sqz_weight *weight = &model->weights[i];
        size_t nbytes;
        if (!read_shape(r, &weight->shape)) return bad_graph(r, err);
        if (!sqz_shape_count(&weight->shape, &weight->count) ||
            !sqz_mul_size(weight->count, sizeof(float), &nbytes) || !sqz_add_size(total, nbytes, &total) ||
            total > max_nbytes)
            return sqz_fail(err, SQZ_LIMIT, "the weights take more than the limit of %zu bytes at weight %zu",
                            max_nbytes, i);
    }
    return read_weight_names(r, model, store, err);
}

static enum sqz_status read_strings(struct sqz_reader *r, struct string_store *store, const char ***out, size_t *out_n,
                                    struct sqz_error *err) {
    size_t n = read_count(r, SIZE_MAX);
    if (r->failed) return bad_graph(r, err);
    const char **strings = sqz_arena_alloc(store->arena, n ? n : 1, sizeof *strings);
    if (!strings) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (size_t i = 0; i < n; i++) {
        strings[i] = read_string(r, store, i ? strings[i - 1] : "");
        if (!strings[i]) return no_string(r, err);
    }
    *out = strings;
    *out_n = n;
    return SQZ_OK;
}

static enum sqz_status read_graph(struct sqz_reader *r, struct sqz_model *model, size_t max_nbytes,
                                  struct sqz_error *err) {
    struct string_store all_strings = {&model->arena, MAX_STRING_NBYTES}, *store = &all_strings;
    struct param_coder coder = {.in = r};
    model->arch = read_string(r, store, "");
    if (!model->arch) return no_string(r, err);
    model->source = read_string(r, store, "");
    if (!model->source) return no_string(r, err);
    code_input(&coder, &model->input);
    if (r->failed) return bad_graph(r, err);
    SQZ_TRY(read_nodes(r, model, store, err));
    SQZ_TRY(read_weights(r, model, store, max_nbytes, err));
    SQZ_TRY(read_strings(r, store, &model->class_names, &model->n_classes_named, err));
    SQZ_TRY(read_strings(r, store, &model->history, &model->n_history, err));
    model->history_capacity = model->n_history;
    if (sqz_reader_left(r) > 0) SQZ_TRY(sqz_image_record_read(r, &model->arena, &model->calibrated_on, err));
    if (sqz_reader_left(r) > 0)
        return sqz_fail(err, SQZ_MALFORMED, "%zu bytes follow the graph", sqz_reader_left(r));
    return SQZ_OK;
}

enum sqz_status sqz_graph_decode(const void *data, size_t nbytes, size_t max_nbytes, struct sqz_model **out,
                                 struct sqz_error *err) {
    struct sqz_reader r = sqz_reader_make(data, nbytes);
    struct sqz_input input = {.channels = 1, .height = 1, .width = 1};
    struct sqz_model *model = sqz_model_new(&input);
    if (!model) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    enum sqz_status status = read_graph(&r, model, max_nbytes, err);
    if (status != SQZ_OK) {
        sqz_model_free(model);
        return status;
    }
    *out = model;
    return SQZ_OK;
}
