/* ncnn_param.c - parses ncnn's layer list, text (.param) and binary (.param.bin). */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/ncnn.h"

/* Keys at or below this are arrays: id = -key - 23300. */
#define ARRAY_KEY (-23300)

/* Ends the parameters of a layer in a binary file. */
#define END_OF_PARAMS (-233)

/* ncnn's own bound on ids (NCNN_MAX_PARAM_COUNT). */
#define MAX_PARAM_ID 32

enum sqz_status sqz_ncnn_no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* The next parameter of a layer in a growing arena array. */
static struct sqz_ncnn_param *next_param(struct sqz_arena *arena, struct sqz_ncnn_layer *layer, uint32_t *capacity) {
    if (layer->n_params == *capacity) {
        uint32_t larger = *capacity ? *capacity * 2 : 16;
        struct sqz_ncnn_param *params = sqz_arena_alloc(arena, larger, sizeof *params);
        if (!params) return NULL;
        if (layer->n_params) memcpy(params, layer->params, layer->n_params * sizeof *params);
        layer->params = params;
        *capacity = larger;
    }
    return &layer->params[layer->n_params++];
}

/* Split a key into id and array flag; false when it is outside ncnn's range. */
static bool set_key(struct sqz_ncnn_param *param, int32_t key) {
    param->is_array = key <= ARRAY_KEY;
    param->id = param->is_array ? ARRAY_KEY - key : key;
    return param->id >= 0 && param->id < MAX_PARAM_ID;
}

/* ---- text ---------------------------------------------------------------- */

struct text_parser {
    const char *text;
    size_t nbytes, offset;
    uint32_t line;
    struct sqz_arena *arena;
    struct sqz_error *err;
};

/* A run of characters without white space, in place. */
struct token {
    const char *start;
    size_t length;
    uint32_t line;
};

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next token without moving on; length 0 at the end. */
static struct token peek_token(struct text_parser *p) {
    while (p->offset < p->nbytes && is_space(p->text[p->offset])) p->line += p->text[p->offset++] == '\n';
    struct token token = {.start = p->text + p->offset, .line = p->line};
    while (p->offset + token.length < p->nbytes && !is_space(token.start[token.length])) token.length++;
    return token;
}

static enum sqz_status read_token(struct text_parser *p, const char *what, struct token *out) {
    *out = peek_token(p);
    if (out->length == 0)
        return sqz_fail(p->err, SQZ_TRUNCATED, "line %u: the file ends where %s is expected", p->line, what);
    p->offset += out->length;
    return SQZ_OK;
}

static enum sqz_status read_name(struct text_parser *p, const char *what, const char **out) {
    struct token token;
    SQZ_TRY(read_token(p, what, &token));
    if (memchr(token.start, '\0', token.length))
        return sqz_fail(p->err, SQZ_MALFORMED, "line %u: %s holds a NUL", token.line, what);
    *out = sqz_arena_strndup(p->arena, token.start, token.length);
    return *out ? SQZ_OK : sqz_ncnn_no_memory(p->err);
}

/* A decimal number that fills start[0..length). */
static bool parse_int(const char *start, size_t length, int32_t *out) {
    char buffer[16], *end;
    if (length == 0 || length >= sizeof buffer || start[0] == ' ') return false;
    memcpy(buffer, start, length);
    buffer[length] = '\0';
    errno = 0;
    long value = strtol(buffer, &end, 10);
    if (end != buffer + length || errno || value < INT32_MIN || value > INT32_MAX) return false;
    *out = (int32_t)value;
    return true;
}

static bool parse_float(const char *start, size_t length, float *out) {
    char buffer[64], *end;
    if (length == 0 || length >= sizeof buffer) return false;
    memcpy(buffer, start, length);
    buffer[length] = '\0';
    *out = strtof(buffer, &end);
    return end == buffer + length;
}

static enum sqz_status read_count(struct text_parser *p, const char *what, uint32_t limit, uint32_t *out) {
    struct token token;
    int32_t value;
    SQZ_TRY(read_token(p, what, &token));
    if (!parse_int(token.start, token.length, &value) || value < 0)
        return sqz_fail(p->err, SQZ_MALFORMED, "line %u: %s is \"%.*s\"", token.line, what,
                        (int)(token.length < 40 ? token.length : 40), token.start);
    if ((uint32_t)value > limit)
        return sqz_fail(p->err, SQZ_LIMIT, "line %u: %s is %d, more than %u", token.line, what, value, limit);
    *out = (uint32_t)value;
    return SQZ_OK;
}

static struct sqz_ncnn_value parse_value(const char *start, size_t length) {
    struct sqz_ncnn_value value = {.kind = SQZ_NCNN_TEXT};
    if (parse_int(start, length, &value.i))
        value.kind = SQZ_NCNN_INT;
    else if (parse_float(start, length, &value.f))
        value.kind = SQZ_NCNN_FLOAT;
    return value;
}

static enum sqz_status bad_text_param(struct text_parser *p, const struct sqz_ncnn_layer *layer,
                                      const struct token *token) {
    return sqz_fail(p->err, SQZ_MALFORMED, "line %u: layer %s has the bad parameter \"%.*s\"", token->line, layer->name,
                    (int)(token->length < 60 ? token->length : 60), token->start);
}

/* "n,v,v,v" behind an array's key; *good is false when it is something else. */
static enum sqz_status parse_array(struct text_parser *p, const char *start, size_t length,
                                   struct sqz_ncnn_param *param, bool *good) {
    const char *end = start + length, *comma = memchr(start, ',', length);
    int32_t n;
    *good = parse_int(start, (size_t)((comma ? comma : end) - start), &n) && n >= 0 && (size_t)n <= length;
    if (!*good) return SQZ_OK;
    param->values = sqz_arena_alloc(p->arena, n ? (size_t)n : 1, sizeof *param->values);
    if (!param->values) return sqz_ncnn_no_memory(p->err);
    for (; comma && param->n_values < (uint32_t)n; param->n_values++) {
        const char *item = comma + 1;
        comma = memchr(item, ',', (size_t)(end - item));
        param->values[param->n_values] = parse_value(item, (size_t)((comma ? comma : end) - item));
    }
    *good = param->n_values == (uint32_t)n && !comma;
    return SQZ_OK;
}

/* Length of the key in "key=...", 0 when the token is not a parameter. */
static size_t key_length(const struct token *token) {
    size_t n = token->length && token->start[0] == '-';
    size_t digits = n;
    while (n < token->length && token->start[n] >= '0' && token->start[n] <= '9') n++;
    return n > digits && n < token->length && token->start[n] == '=' ? n : 0;
}

static enum sqz_status read_text_param(struct text_parser *p, const struct sqz_ncnn_layer *layer,
                                       const struct token *token, size_t key_nbytes, struct sqz_ncnn_param *param) {
    const char *start = token->start + key_nbytes + 1;
    size_t length = token->length - key_nbytes - 1;
    int32_t key;
    if (!parse_int(token->start, key_nbytes, &key) || !set_key(param, key)) return bad_text_param(p, layer, token);
    if (param->is_array) {
        bool good;
        SQZ_TRY(parse_array(p, start, length, param, &good));
        return good ? SQZ_OK : bad_text_param(p, layer, token);
    }
    if (length == 0) return bad_text_param(p, layer, token);
    param->values = sqz_arena_alloc(p->arena, 1, sizeof *param->values);
    if (!param->values) return sqz_ncnn_no_memory(p->err);
    param->values[0] = parse_value(start, length);
    param->n_values = 1;
    return SQZ_OK;
}

static enum sqz_status read_text_params(struct text_parser *p, struct sqz_ncnn_layer *layer) {
    uint32_t capacity = 0;
    for (;;) {
        struct token token = peek_token(p);
        size_t key_nbytes = key_length(&token);
        if (key_nbytes == 0) return SQZ_OK;
        p->offset += token.length;
        struct sqz_ncnn_param *param = next_param(p->arena, layer, &capacity);
        if (!param) return sqz_ncnn_no_memory(p->err);
        SQZ_TRY(read_text_param(p, layer, &token, key_nbytes, param));
    }
}

/* n blob names; each takes at least two characters of the file, which bounds n before anything is allocated. */
static enum sqz_status read_text_blobs(struct text_parser *p, uint32_t n, const char ***out) {
    if (n > (p->nbytes - p->offset) / 2 + 1)
        return sqz_fail(p->err, SQZ_TRUNCATED, "line %u: the file ends before %u blob names", p->line, n);
    *out = sqz_arena_alloc(p->arena, n ? n : 1, sizeof **out);
    if (!*out) return sqz_ncnn_no_memory(p->err);
    for (uint32_t i = 0; i < n; i++) SQZ_TRY(read_name(p, "a blob name", &(*out)[i]));
    return SQZ_OK;
}

static enum sqz_status read_text_layer(struct text_parser *p, struct sqz_ncnn_layer *layer) {
    SQZ_TRY(read_name(p, "a layer type", &layer->type));
    SQZ_TRY(read_name(p, "a layer name", &layer->name));
    SQZ_TRY(read_count(p, "a number of inputs", INT32_MAX, &layer->n_bottoms));
    SQZ_TRY(read_count(p, "a number of outputs", INT32_MAX, &layer->n_tops));
    SQZ_TRY(read_text_blobs(p, layer->n_bottoms, &layer->bottoms));
    SQZ_TRY(read_text_blobs(p, layer->n_tops, &layer->tops));
    return read_text_params(p, layer);
}

static enum sqz_status parse_text(struct text_parser *p, struct sqz_ncnn_net *net) {
    uint32_t magic, n_layers, n_blobs;
    SQZ_TRY(read_count(p, "the magic number 7767517", INT32_MAX, &magic));
    SQZ_TRY(read_count(p, "the number of layers", SQZ_MAX_NODES, &n_layers));
    SQZ_TRY(read_count(p, "the number of blobs", INT32_MAX, &n_blobs));
    net->layers = sqz_arena_alloc(p->arena, n_layers ? n_layers : 1, sizeof *net->layers);
    if (!net->layers) return sqz_ncnn_no_memory(p->err);
    for (net->n_layers = 0; net->n_layers < n_layers; net->n_layers++)
        SQZ_TRY(read_text_layer(p, &net->layers[net->n_layers]));
    struct token rest = peek_token(p);
    if (rest.length)
        return sqz_fail(p->err, SQZ_MALFORMED, "line %u: \"%.*s\" follows the last of %u layers", rest.line,
                        (int)(rest.length < 40 ? rest.length : 40), rest.start, n_layers);
    return SQZ_OK;
}

/* ---- binary -------------------------------------------------------------- */

/* Layer types by index, in the order in which ncnn's build lists them; new types were added at its end. */
static const char *const type_names[] = {
    "AbsVal",
    "ArgMax",
    "BatchNorm",
    "Bias",
    "BNLL",
    "Concat",
    "Convolution",
    "Crop",
    "Deconvolution",
    "Dropout",
    "Eltwise",
    "ELU",
    "Embed",
    "Exp",
    "Flatten",
    "InnerProduct",
    "Input",
    "Log",
    "LRN",
    "MemoryData",
    "MVN",
    "Pooling",
    "Power",
    "PReLU",
    "Proposal",
    "Reduction",
    "ReLU",
    "Reshape",
    "ROIPooling",
    "Scale",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "SPP",
    "TanH",
    "Threshold",
    "Tile",
    "RNN",
    "LSTM",
    "BinaryOp",
    "UnaryOp",
    "ConvolutionDepthWise",
    "Padding",
    "Squeeze",
    "ExpandDims",
    "Normalize",
    "Permute",
    "PriorBox",
    "DetectionOutput",
    "Interp",
    "DeconvolutionDepthWise",
    "ShuffleChannel",
    "InstanceNorm",
    "Clip",
    "Reorg",
    "YoloDetectionOutput",
    "Quantize",
    "Dequantize",
    "Yolov3DetectionOutput",
    "PSROIPooling",
    "ROIAlign",
    "Packing",
    "Requantize",
    "Cast",
    "HardSigmoid",
    "SELU",
    "HardSwish",
    "Noop",
    "PixelShuffle",
    "DeepCopy",
    "Mish",
    "StatisticsPooling",
    "Swish",
};

struct binary_parser {
    struct sqz_reader reader;
    struct sqz_arena *arena;
    struct sqz_error *err;
};

static enum sqz_status cut_off(struct binary_parser *p, const char *what, size_t index) {
    return sqz_fail(p->err, SQZ_TRUNCATED, "the binary param file ends at byte %zu, within %s of layer %zu",
                    p->reader.nbytes, what, index);
}

static int32_t read_i32(struct binary_parser *p) {
    return (int32_t)sqz_read_u32(&p->reader);
}

/* "Convolution_3", or "12" with an empty prefix and separator. */
static enum sqz_status numbered_name(struct binary_parser *p, const char *prefix, const char *separator, size_t number,
                                     const char **out) {
    char buffer[96];
    snprintf(buffer, sizeof buffer, "%s%s%zu", prefix, separator, number);
    *out = sqz_arena_strdup(p->arena, buffer);
    return *out ? SQZ_OK : sqz_ncnn_no_memory(p->err);
}

/* The blob numbers of a layer, as names. */
static enum sqz_status read_binary_blobs(struct binary_parser *p, size_t index, uint32_t n, const char ***out) {
    if (n > sqz_reader_left(&p->reader) / sizeof(uint32_t)) return cut_off(p, "the blobs", index);
    *out = sqz_arena_alloc(p->arena, n ? n : 1, sizeof **out);
    if (!*out) return sqz_ncnn_no_memory(p->err);
    for (uint32_t i = 0; i < n; i++) SQZ_TRY(numbered_name(p, "", "", sqz_read_u32(&p->reader), &(*out)[i]));
    return SQZ_OK;
}

static enum sqz_status read_binary_param(struct binary_parser *p, size_t index, int32_t key,
                                         struct sqz_ncnn_param *param) {
    if (!set_key(param, key))
        return sqz_fail(p->err, SQZ_MALFORMED, "layer %zu has the bad parameter key %d at byte %zu", index, key,
                        p->reader.offset - sizeof key);
    param->n_values = param->is_array ? sqz_read_u32(&p->reader) : 1;
    if (p->reader.failed || param->n_values > sqz_reader_left(&p->reader) / sizeof(uint32_t))
        return cut_off(p, "the parameters", index);
    param->values = sqz_arena_alloc(p->arena, param->n_values ? param->n_values : 1, sizeof *param->values);
    if (!param->values) return sqz_ncnn_no_memory(p->err);
    for (uint32_t i = 0; i < param->n_values; i++) {
        struct sqz_ncnn_value *value = &param->values[i];
        value->kind = SQZ_NCNN_BITS;
        value->i = read_i32(p);
        memcpy(&value->f, &value->i, sizeof value->f);
    }
    return SQZ_OK;
}

static enum sqz_status read_binary_layer(struct binary_parser *p, size_t index, struct sqz_ncnn_layer *layer) {
    uint32_t type = sqz_read_u32(&p->reader), capacity = 0;
    size_t n_types = sizeof type_names / sizeof *type_names;
    layer->n_bottoms = sqz_read_u32(&p->reader);
    layer->n_tops = sqz_read_u32(&p->reader);
    if (p->reader.failed) return cut_off(p, "the head", index);
    if (type < n_types)
        layer->type = type_names[type];
    else
        SQZ_TRY(numbered_name(p, "number", " ", type, &layer->type));
    SQZ_TRY(numbered_name(p, type < n_types ? layer->type : "layer", "_", index, &layer->name));
    SQZ_TRY(read_binary_blobs(p, index, layer->n_bottoms, &layer->bottoms));
    SQZ_TRY(read_binary_blobs(p, index, layer->n_tops, &layer->tops));
    for (;;) {
        int32_t key = read_i32(p);
        if (p->reader.failed) return cut_off(p, "the parameters", index);
        if (key == END_OF_PARAMS) return SQZ_OK;
        struct sqz_ncnn_param *param = next_param(p->arena, layer, &capacity);
        if (!param) return sqz_ncnn_no_memory(p->err);
        SQZ_TRY(read_binary_param(p, index, key, param));
    }
}

static enum sqz_status parse_binary(struct binary_parser *p, struct sqz_ncnn_net *net) {
    sqz_read_u32(&p->reader); /* the magic number, already seen */
    uint32_t n_layers = sqz_read_u32(&p->reader);
    sqz_read_u32(&p->reader); /* number of blobs */
    if (p->reader.failed) return sqz_fail(p->err, SQZ_TRUNCATED, "the binary param file ends within its header");
    if (n_layers > SQZ_MAX_NODES)
        return sqz_fail(p->err, SQZ_LIMIT, "the binary param file has %u layers, more than %d", n_layers,
                        SQZ_MAX_NODES);
    net->layers = sqz_arena_alloc(p->arena, n_layers ? n_layers : 1, sizeof *net->layers);
    if (!net->layers) return sqz_ncnn_no_memory(p->err);
    for (net->n_layers = 0; net->n_layers < n_layers; net->n_layers++)
        SQZ_TRY(read_binary_layer(p, net->n_layers, &net->layers[net->n_layers]));
    size_t left = sqz_reader_left(&p->reader);
    if (left)
        return sqz_fail(p->err, SQZ_MALFORMED, "%zu bytes follow the last layer of the binary param file at byte %zu",
                        left, p->reader.offset);
    return SQZ_OK;
}

/* ---- both ---------------------------------------------------------------- */

bool sqz_ncnn_is_text(const void *data, size_t nbytes) {
    static const char magic[] = "7767517";
    const char *text = data;
    size_t length = sizeof magic - 1, start = 0;
    while (start < nbytes && is_space(text[start])) start++;
    if (nbytes - start < length || memcmp(text + start, magic, length) != 0) return false;
    return nbytes - start == length || is_space(text[start + length]);
}

bool sqz_ncnn_is_binary(const void *data, size_t nbytes) {
    struct sqz_reader reader = sqz_reader_make(data, nbytes);
    return sqz_read_u32(&reader) == SQZ_NCNN_MAGIC;
}

enum sqz_status sqz_ncnn_parse(const void *data, size_t nbytes, struct sqz_arena *arena, struct sqz_ncnn_net *net,
                               struct sqz_error *err) {
    *net = (struct sqz_ncnn_net){0};
    if (sqz_ncnn_is_binary(data, nbytes)) {
        struct binary_parser parser = {.reader = sqz_reader_make(data, nbytes), .arena = arena, .err = err};
        return parse_binary(&parser, net);
    }
    struct text_parser parser = {.text = data, .nbytes = nbytes, .line = 1, .arena = arena, .err = err};
    return parse_text(&parser, net);
}

/* ---- reading parameters -------------------------------------------------- */

static const struct sqz_ncnn_param *find_param(const struct sqz_ncnn_layer *layer, int32_t id) {
    for (uint32_t i = layer->n_params; i-- > 0;) /* the last one wins, as in ncnn */
        if (layer->params[i].id == id) return &layer->params[i];
    return NULL;
}

static enum sqz_status bad_param(const struct sqz_ncnn_layer *layer, int32_t id, enum sqz_status status,
                                 const char *what, struct sqz_error *err) {
    return sqz_fail(err, status, "layer %s of type %s: parameter %d %s", layer->name, layer->type, id, what);
}

enum sqz_status sqz_ncnn_int(const struct sqz_ncnn_layer *layer, int32_t id, int32_t fallback, int32_t *out,
                             struct sqz_error *err) {
    const struct sqz_ncnn_param *param = find_param(layer, id);
    *out = fallback;
    if (!param) return SQZ_OK;
    if (param->is_array) return bad_param(layer, id, SQZ_MALFORMED, "is an array where a number is expected", err);
    const struct sqz_ncnn_value *value = &param->values[0];
    if (value->kind == SQZ_NCNN_TEXT) return bad_param(layer, id, SQZ_UNSUPPORTED, "is an expression", err);
    if (value->kind == SQZ_NCNN_FLOAT) {
        if (!(value->f >= -1e9f && value->f <= 1e9f) || value->f != (float)(int32_t)value->f)
            return bad_param(layer, id, SQZ_MALFORMED, "is not a whole number", err);
        *out = (int32_t)value->f;
        return SQZ_OK;
    }
    *out = value->i;
    return SQZ_OK;
}

/* A whole number in a text file where a float is meant counts as that float. */
static float value_as_float(const struct sqz_ncnn_value *value) {
    return value->kind == SQZ_NCNN_INT ? (float)value->i : value->f;
}

enum sqz_status sqz_ncnn_float(const struct sqz_ncnn_layer *layer, int32_t id, float fallback, float *out,
                               struct sqz_error *err) {
    const struct sqz_ncnn_param *param = find_param(layer, id);
    *out = fallback;
    if (!param) return SQZ_OK;
    if (param->is_array) return bad_param(layer, id, SQZ_MALFORMED, "is an array where a number is expected", err);
    if (param->values[0].kind == SQZ_NCNN_TEXT) return bad_param(layer, id, SQZ_UNSUPPORTED, "is an expression", err);
    *out = value_as_float(&param->values[0]);
    if (*out != *out) return bad_param(layer, id, SQZ_NONFINITE, "is NaN", err);
    return SQZ_OK;
}

enum sqz_status sqz_ncnn_floats(const struct sqz_ncnn_layer *layer, int32_t id, size_t capacity, float *out, size_t *n,
                                struct sqz_error *err) {
    const struct sqz_ncnn_param *param = find_param(layer, id);
    *n = 0;
    if (!param) return SQZ_OK;
    if (!param->is_array || param->n_values > capacity)
        return bad_param(layer, id, SQZ_MALFORMED, "is not an array of the expected length", err);
    for (uint32_t i = 0; i < param->n_values; i++) {
        if (param->values[i].kind == SQZ_NCNN_TEXT)
            return bad_param(layer, id, SQZ_UNSUPPORTED, "is an expression", err);
        out[i] = value_as_float(&param->values[i]);
    }
    *n = param->n_values;
    return SQZ_OK;
}
