/* sqz_plain.c - the plain decoder, first half: sections 1 to 3 of formats/SQZ.md, the file and the graph. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tests/plain/sqz_plain_parts.h"

/* ---- 1. Conventions ---- */

enum { MAX_NODES = 20000, MAX_TENSORS = 20000, MAX_RANK = 6 };
static const uint64_t max_graph_nbytes = 67108864;

void plain_refuse(struct plain *p, const char *reason) {
    p->reason = reason;
    longjmp(p->refusal, 1);
}

void *plain_alloc(struct plain *p, uint64_t n, size_t size) {
    if (size != 0 && n > (SIZE_MAX - 64) / size) plain_refuse(p, "a size overflows");
    struct plain_block *block = calloc(1, 16 + (size_t)n * size);
    if (!block) plain_refuse(p, "memory is short");
    block->next = p->blocks;
    p->blocks = block;
    return (char *)block + 16;
}

uint64_t plain_left(const struct plain_bytes *bytes) {
    return bytes->nbytes - bytes->at;
}

const uint8_t *plain_take(struct plain_bytes *bytes, uint64_t n) {
    if (n > plain_left(bytes)) plain_refuse(bytes->p, "the bytes end too early");
    const uint8_t *start = bytes->data + bytes->at;
    bytes->at += n;
    return start;
}

unsigned plain_u8(struct plain_bytes *bytes) {
    return plain_take(bytes, 1)[0];
}

uint32_t plain_u32(struct plain_bytes *bytes) {
    const uint8_t *b = plain_take(bytes, 4);
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

float plain_f32(struct plain_bytes *bytes) {
    uint32_t bits = plain_u32(bytes);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint64_t plain_varint(struct plain_bytes *bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < 10; i++) {
        unsigned byte = plain_u8(bytes);
        if (i == 9 && byte > 1) plain_refuse(bytes->p, "a varint is not below 2^64");
        value |= (uint64_t)(byte & 127) << 7 * i;
        if (byte < 128) return value;
    }
    plain_refuse(bytes->p, "a varint has more than 10 bytes");
}

static uint32_t varint_up_to(struct plain_bytes *bytes, uint64_t highest, const char *reason) {
    uint64_t value = plain_varint(bytes);
    if (value > highest) plain_refuse(bytes->p, reason);
    return (uint32_t)value;
}

static uint32_t varint32(struct plain_bytes *bytes) {
    return varint_up_to(bytes, UINT32_MAX, "a number is not below 2^32");
}

static bool flag(struct plain_bytes *bytes) {
    return varint_up_to(bytes, 1, "a yes or no is neither 0 nor 1");
}

/* ---- 3. Graph ---- */

/* A string list of n strings. */
static char **string_list(struct plain_bytes *graph, size_t n) {
    /* Each string takes two bytes at least. */
    if (n > plain_left(graph) / 2) plain_refuse(graph->p, "a list promises more strings than there are bytes");
    char **list = plain_alloc(graph->p, n, sizeof *list);
    uint64_t length = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t shared = plain_varint(graph), rest = plain_varint(graph);
        if (shared > length) plain_refuse(graph->p, "a string shares more than the one before it has");
        const uint8_t *bytes = plain_take(graph, rest);
        if (memchr(bytes, 0, rest)) plain_refuse(graph->p, "a string contains a zero byte");
        list[i] = plain_alloc(graph->p, shared + rest + 1, 1);
        if (shared > 0) memcpy(list[i], list[i - 1], shared);
        memcpy(list[i] + shared, bytes, rest);
        length = shared + rest;
    }
    return list;
}

static void input_description(struct plain_bytes *graph, struct plain_input *input) {
    input->channels = varint32(graph);
    input->height = varint32(graph);
    input->width = varint32(graph);
    if (input->channels == 0 || input->height == 0 || input->width == 0) plain_refuse(graph->p, "an input size is 0");
    input->resize_short = plain_varint(graph);
    input->squash = flag(graph);
    input->order = varint_up_to(graph, 2, "the order of channels is unknown");
    input->filter = varint_up_to(graph, 1, "the filter is unknown");
    input->scale = plain_f32(graph);
    for (int i = 0; i < 4; i++) input->mean[i] = plain_f32(graph);
    for (int i = 0; i < 4; i++) {
        input->std[i] = plain_f32(graph);
        if (input->std[i] == 0) plain_refuse(graph->p, "an std is 0");
        if (!isfinite(input->mean[i]) || !isfinite(input->std[i]))
            plain_refuse(graph->p, "a mean or std is not finite");
    }
    if (!isfinite(input->scale)) plain_refuse(graph->p, "the scale is not finite");
}

static void window(struct plain_bytes *graph, struct plain_node *node) {
    for (int i = 0; i < 10; i++) node->window[i] = varint32(graph);
}

static int64_t signed_varint(struct plain_bytes *graph) {
    uint64_t u = plain_varint(graph);
    return u % 2 == 0 ? (int64_t)(u / 2) : -(int64_t)(u / 2) - 1;
}

static void parameters(struct plain_bytes *graph, struct plain_node *node) {
    switch (node->operator_code) {
    case 1:
        window(graph, node);
        node->groups = varint32(graph);
        break;
    case 4:
        node->number[0] = plain_f32(graph);
        break;
    case 8:
        node->number[0] = plain_f32(graph);
        node->number[1] = plain_f32(graph);
        break;
    case 9:
    case 10:
        window(graph, node);
        node->ceil_mode = flag(graph);
        node->divisor = varint_up_to(graph, 2, "the divisor is unknown");
        break;
    case 12:
        node->out_h = varint32(graph);
        node->out_w = varint32(graph);
        break;
    case 13:
        node->size = varint32(graph);
        for (int i = 0; i < 3; i++) node->number[i] = plain_f32(graph);
        break;
    case 15:
    case 21:
        node->axis = varint32(graph);
        break;
    case 19:
        node->rank = varint_up_to(graph, MAX_RANK, "a rank is above 6");
        for (uint32_t i = 0; i < node->rank; i++) node->dim[i] = signed_varint(graph);
        break;
    case 22:
        for (int i = 0; i < 4; i++) node->pad[i] = varint32(graph);
        node->number[0] = plain_f32(graph);
        break;
    default:
        break; /* the others have none */
    }
}

static int64_t weight_reference(struct plain_bytes *graph, int64_t *last) {
    uint64_t reference = plain_varint(graph);
    if (reference == 0) return PLAIN_NONE;
    if (reference > MAX_TENSORS + 1) plain_refuse(graph->p, "a reference names no weight");
    *last = reference == 1 ? *last + 1 : (int64_t)reference - 2;
    return *last;
}

static void nodes(struct plain_bytes *graph, struct plain_model *model) {
    size_t n = model->n_nodes = varint_up_to(graph, MAX_NODES, "there are more than 20,000 nodes");
    if (n == 0) plain_refuse(graph->p, "there is no node");
    model->nodes = plain_alloc(graph->p, n, sizeof *model->nodes);
    char **names = string_list(graph, n);
    for (size_t i = 0; i < n; i++) {
        model->nodes[i].name = names[i];
        if (names[i][0] == 0) plain_refuse(graph->p, "a node has no name");
        for (size_t k = 0; k < i; k++)
            if (strcmp(names[i], names[k]) == 0) plain_refuse(graph->p, "two nodes have the same name");
    }
    for (size_t i = 0; i < n; i++) {
        unsigned code = model->nodes[i].operator_code = plain_u8(graph);
        if (code > 22) plain_refuse(graph->p, "an operator is unknown");
        if ((code == 0) != (i == 0)) plain_refuse(graph->p, "node 0, and no other, must be the Input");
    }
    for (size_t i = 0; i < n; i++) {
        struct plain_node *node = &model->nodes[i];
        uint64_t n_inputs = plain_varint(graph);
        if (n_inputs > plain_left(graph)) plain_refuse(graph->p, "a node promises more inputs than there are bytes");
        node->n_inputs = n_inputs;
        node->inputs = plain_alloc(graph->p, n_inputs, sizeof *node->inputs);
        for (size_t k = 0; k < n_inputs; k++) {
            uint64_t back = plain_varint(graph);
            if (back < 1 || back > i) plain_refuse(graph->p, "an input is not a node before this one");
            node->inputs[k] = (uint32_t)(i - back);
        }
    }
    int64_t last = -1;
    for (size_t i = 0; i < n; i++) {
        model->nodes[i].kernel = weight_reference(graph, &last);
        model->nodes[i].bias = weight_reference(graph, &last);
    }
    for (size_t i = 0; i < n; i++) parameters(graph, &model->nodes[i]);
    uint64_t output = plain_varint(graph);
    if (output >= n) plain_refuse(graph->p, "the result is not a node");
    model->output = output;
}

static char *layer_name(struct plain_bytes *graph, const struct plain_model *model, size_t weight, const char *ending) {
    for (size_t i = 0; i < model->n_nodes; i++) {
        if (model->nodes[i].kernel != (int64_t)weight && model->nodes[i].bias != (int64_t)weight) continue;
        char *name = plain_alloc(graph->p, strlen(model->nodes[i].name) + strlen(ending) + 1, 1);
        strcpy(name, model->nodes[i].name);
        return strcat(name, ending);
    }
    plain_refuse(graph->p, "a weight is named after its layer, and no layer has it");
}

static void weight_names(struct plain_bytes *graph, struct plain_model *model) {
    size_t n = model->n_weights, n_listed = 0;
    const uint8_t *codes = plain_take(graph, n);
    for (size_t i = 0; i < n; i++) {
        if (codes[i] > 2) plain_refuse(graph->p, "a name code is unknown");
        n_listed += codes[i] == 0;
    }
    char **listed = string_list(graph, n_listed);
    for (size_t i = 0; i < n; i++) {
        struct plain_weight *weight = &model->weights[i];
        weight->name = codes[i] == 0 ? *listed++ : layer_name(graph, model, i, codes[i] == 1 ? ".weight" : ".bias");
    }
}

static void weights(struct plain_bytes *graph, struct plain_model *model) {
    size_t n = model->n_weights = varint_up_to(graph, MAX_TENSORS, "there are more than 20,000 weights");
    model->weights = plain_alloc(graph->p, n, sizeof *model->weights);
    for (size_t i = 0; i < n; i++) {
        model->weights[i].role = plain_u8(graph);
        if (model->weights[i].role > 3) plain_refuse(graph->p, "a role is unknown");
    }
    for (size_t i = 0; i < n; i++) {
        struct plain_weight *weight = &model->weights[i];
        weight->rank = varint_up_to(graph, MAX_RANK, "a rank is above 6");
        weight->count = 1;
        for (uint32_t d = 0; d < weight->rank; d++) {
            weight->dim[d] = plain_varint(graph);
            if (__builtin_mul_overflow(weight->count, weight->dim[d], &weight->count))
                plain_refuse(graph->p, "a number of elements overflows");
        }
    }
    for (size_t i = 0; i < model->n_nodes; i++)
        if (model->nodes[i].kernel >= (int64_t)n || model->nodes[i].bias >= (int64_t)n)
            plain_refuse(graph->p, "a reference names no weight");
    weight_names(graph, model);
}

/* ---- 3.4 Record of calibration images ---- */

static unsigned next_bit(struct plain_bytes *graph, unsigned *n_taken, unsigned *byte) {
    if (*n_taken % 8 == 0) *byte = plain_u8(graph);
    return *byte >> (*n_taken)++ % 8 & 1;
}

static void record(struct plain_bytes *graph, struct plain_record *record) {
    record->n_images = plain_varint(graph);
    record->sample = plain_u8(graph);
    record->prefix = plain_u8(graph);
    uint64_t n = plain_varint(graph);
    if (record->n_images == 0 || record->sample > 32 || record->prefix > 24 || n > 128 || n > record->n_images)
        plain_refuse(graph->p, "the record of calibration images is out of its limits");
    record->n_prefixes = n;
    unsigned log = 0;
    while (1u << log < n) log++;
    unsigned low = n == 0 || log == 0 ? record->prefix : log < record->prefix ? record->prefix - log : 0;
    unsigned n_taken = 0, byte = 0;
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t difference = 0;
        while (next_bit(graph, &n_taken, &byte)) difference++;
        difference <<= low;
        for (unsigned b = 0; b < low; b++) difference |= (uint64_t)next_bit(graph, &n_taken, &byte) << b;
        value += difference;
        if (value >> record->prefix != 0) plain_refuse(graph->p, "a prefix has too many bits");
        record->prefixes[i] = (uint32_t)value;
    }
    while (n_taken % 8 != 0)
        if (next_bit(graph, &n_taken, &byte)) plain_refuse(graph->p, "bits behind the last prefix are not 0");
}

/* ---- 3.5 What else must hold ---- */

static void what_else(struct plain *p, const struct plain_model *model) {
    for (size_t i = 0; i < model->n_nodes; i++) {
        const struct plain_node *node = &model->nodes[i];
        unsigned code = node->operator_code;
        bool takes_weights = code == 1 || code == 2 || code == 14;
        size_t n_inputs = code == 0 ? 0 : code == 16 || code == 17 ? 2 : 1;
        if (code == 15 ? node->n_inputs == 0 : node->n_inputs != n_inputs)
            plain_refuse(p, "a node has the wrong number of inputs");
        if (takes_weights && node->kernel == PLAIN_NONE) plain_refuse(p, "a node has no kernel");
        if (!takes_weights && (node->kernel != PLAIN_NONE || node->bias != PLAIN_NONE))
            plain_refuse(p, "a node has weights and can have none");
    }
    for (size_t i = 0; i < model->n_weights; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(model->weights[i].name, model->weights[k].name) == 0)
                plain_refuse(p, "two weights have the same name");
}

static void graph(struct plain_bytes *graph, struct plain_model *model) {
    model->arch = string_list(graph, 1)[0];
    model->source = string_list(graph, 1)[0];
    input_description(graph, &model->input);
    nodes(graph, model);
    weights(graph, model);
    uint64_t n = plain_varint(graph);
    if (n > plain_left(graph)) plain_refuse(graph->p, "there are more class names than bytes");
    model->n_classes = n;
    model->classes = string_list(graph, n);
    n = plain_varint(graph);
    if (n > plain_left(graph)) plain_refuse(graph->p, "there are more history lines than bytes");
    model->n_history = n;
    model->history = string_list(graph, n);
    if (plain_left(graph) > 0) record(graph, &model->record);
    if (plain_left(graph) > 0) plain_refuse(graph->p, "bytes follow the graph");
    what_else(graph->p, model);
}

/* ---- 2. File ---- */

static void inflate_graph(struct plain_bytes *deflated, uint64_t graph_nbytes, uint8_t *out) {
    z_stream stream = {.next_in = (Bytef *)deflated->data,
                       .avail_in = (uInt)deflated->nbytes,
                       .next_out = out,
                       .avail_out = (uInt)graph_nbytes};
    if (inflateInit2(&stream, -15) != Z_OK) plain_refuse(deflated->p, "memory is short");
    int result = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    if (result != Z_STREAM_END || stream.avail_in != 0 || stream.total_out != graph_nbytes)
        plain_refuse(deflated->p, "the graph does not inflate to its size");
}

static void file(struct plain *p, const uint8_t *data, size_t nbytes, uint64_t max_nbytes, struct plain_model *model) {
    struct plain_bytes all = {p, data, nbytes, 0};
    if (memcmp(plain_take(&all, 4), "SQZ\x1a", 4) != 0) plain_refuse(p, "the magic is wrong");
    if (plain_u8(&all) != 1) plain_refuse(p, "the version is not 1");
    uint64_t graph_nbytes = plain_varint(&all), deflated_nbytes = plain_varint(&all);
    uint64_t n_tensors = varint_up_to(&all, MAX_TENSORS, "there are more than 20,000 tensors");
    if (deflated_nbytes > nbytes) plain_refuse(p, "the bytes end too early");
    if (graph_nbytes > max_graph_nbytes || graph_nbytes > 1032 * deflated_nbytes + 1031)
        plain_refuse(p, "the graph is too large");
    uint64_t *section_nbytes = plain_alloc(p, n_tensors, sizeof *section_nbytes);
    uint32_t *section_crc = plain_alloc(p, n_tensors, sizeof *section_crc);
    for (size_t i = 0; i < n_tensors; i++) {
        section_nbytes[i] = plain_varint(&all);
        section_crc[i] = plain_u32(&all);
    }
    struct plain_bytes deflated = {p, plain_take(&all, deflated_nbytes), deflated_nbytes, 0};
    uint32_t crc = (uint32_t)crc32(0, data, (uInt)all.at);
    if (plain_u32(&all) != crc) plain_refuse(p, "the checksum of the head is wrong");

    uint8_t *inflated = plain_alloc(p, graph_nbytes, 1);
    inflate_graph(&deflated, graph_nbytes, inflated);
    struct plain_bytes fields = {p, inflated, graph_nbytes, 0};
    graph(&fields, model);
    if (model->n_weights != n_tensors) plain_refuse(p, "there is not one section for each weight");

    uint64_t left = max_nbytes / sizeof(float);
    for (size_t i = 0; i < n_tensors; i++) {
        if (model->weights[i].count > left) plain_refuse(p, "there are more weights than this reader allows");
        left -= model->weights[i].count;
    }
    const uint8_t *section = data + all.at;
    for (size_t i = 0; i < n_tensors; i++)
        if ((uint32_t)crc32(0, plain_take(&all, section_nbytes[i]), (uInt)section_nbytes[i]) != section_crc[i])
            plain_refuse(p, "the checksum of a section is wrong");
    if (plain_left(&all) > 0) plain_refuse(p, "bytes follow the last section");
    for (size_t i = 0; i < n_tensors; section += section_nbytes[i++])
        plain_section(p, section, section_nbytes[i], &model->weights[i]);
}

/* The model and the list of all its memory. */
struct plain_whole {
    struct plain_model model;
    struct plain plain;
};

void sqz_plain_free(struct plain_model *model) {
    if (!model) return;
    struct plain_whole *whole = (struct plain_whole *)model;
    for (struct plain_block *block = whole->plain.blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(whole);
}

const char *sqz_plain_decode(const uint8_t *data, size_t nbytes, uint64_t max_nbytes, struct plain_model **out) {
    *out = NULL;
    struct plain_whole *whole = calloc(1, sizeof *whole);
    if (!whole) return "memory is short";
    if (setjmp(whole->plain.refusal) != 0) {
        const char *reason = whole->plain.reason;
        sqz_plain_free(&whole->model);
        return reason;
    }
    file(&whole->plain, data, nbytes, max_nbytes, &whole->model);
    *out = &whole->model;
    return NULL;
}
