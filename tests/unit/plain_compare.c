/* plain_compare.c - holds what the product decoded against what the plain decoder decoded. */
#include "tests/unit/plain_compare.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

static char difference_text[256];

#define DIFFER(...)                                                                                                    \
    do {                                                                                                               \
        snprintf(difference_text, sizeof difference_text, __VA_ARGS__);                                                \
        return difference_text;                                                                                        \
    } while (0)

static bool same_bits(const float *a, const float *b, size_t n) {
    return n == 0 || memcmp(a, b, n * sizeof *a) == 0;
}

static const char *input_difference(const struct sqz_input *a, const struct plain_input *b) {
    if (a->channels != b->channels || a->height != b->height || a->width != b->width) DIFFER("input size");
    if (a->resize_short != b->resize_short || a->squash != b->squash) DIFFER("input resizing");
    if ((unsigned)a->order != b->order || (unsigned)a->filter != b->filter) DIFFER("channel order or filter");
    if (!same_bits(&a->scale, &b->scale, 1) || !same_bits(a->mean, b->mean, 4) || !same_bits(a->std, b->std, 4))
        DIFFER("scale, mean or std");
    return NULL;
}

static bool same_window(const struct sqz_window *a, const uint32_t b[10]) {
    const uint32_t fields[10] = {a->kernel_h,   a->kernel_w, a->stride_h, a->stride_w,   a->dilation_h,
                                 a->dilation_w, a->pad_top,  a->pad_left, a->pad_bottom, a->pad_right};
    return memcmp(fields, b, sizeof fields) == 0;
}

static bool same_number(float a, float b) {
    return same_bits(&a, &b, 1);
}

static bool same_dims(const int64_t *a, const int64_t *b, uint32_t rank) {
    for (uint32_t i = 0; i < rank; i++)
        if (a[i] != b[i]) return false;
    return true;
}

/* The product's codes are a promise of the format, so they stand here as the document's numbers. */
static bool same_parameters(const struct sqz_node *node, const struct plain_node *b) {
    const union sqz_params *a = &node->params;
    switch (b->operator_code) {
    case 1:
        return same_window(&a->conv.window, b->window) && a->conv.groups == b->groups;
    case 4:
        return same_number(a->leaky_relu.slope, b->number[0]);
    case 8:
        return same_number(a->clip.low, b->number[0]) && same_number(a->clip.high, b->number[1]);
    case 9:
    case 10:
        return same_window(&a->pool.window, b->window) && a->pool.ceil_mode == b->ceil_mode &&
               (unsigned)a->pool.divisor == b->divisor;
    case 12:
        return a->adaptive_pool.out_h == b->out_h && a->adaptive_pool.out_w == b->out_w;
    case 13:
        return a->lrn.size == b->size && same_number(a->lrn.alpha, b->number[0]) &&
               same_number(a->lrn.beta, b->number[1]) && same_number(a->lrn.k, b->number[2]);
    case 15:
        return a->concat.axis == b->axis;
    case 19:
        return a->reshape.rank == b->rank && same_dims(a->reshape.dim, b->dim, b->rank);
    case 21:
        return a->softmax.axis == b->axis;
    case 22:
        return a->pad.top == b->pad[0] && a->pad.left == b->pad[1] && a->pad.bottom == b->pad[2] &&
               a->pad.right == b->pad[3] && same_number(a->pad.value, b->number[0]);
    default:
        return true;
    }
}

static bool same_reference(uint32_t a, int64_t b) {
    return b == PLAIN_NONE ? a == SQZ_NO_WEIGHT : a == b;
}

static const char *nodes_difference(const struct sqz_model *model, const struct plain_model *plain) {
    if (model->n_nodes != plain->n_nodes) DIFFER("%zu nodes and %zu", model->n_nodes, plain->n_nodes);
    if (model->output != plain->output) DIFFER("result");
    for (size_t i = 0; i < plain->n_nodes; i++) {
        const struct sqz_node *a = &model->nodes[i];
        const struct plain_node *b = &plain->nodes[i];
        if (strcmp(a->name, b->name) != 0) DIFFER("node %zu: %.40s and %.40s", i, a->name, b->name);
        if ((unsigned)a->op != b->operator_code) DIFFER("node %zu: operator %d and %u", i, a->op, b->operator_code);
        if (a->n_inputs != b->n_inputs) DIFFER("node %zu: number of inputs", i);
        for (size_t k = 0; k < b->n_inputs; k++)
            if (a->inputs[k] != b->inputs[k]) DIFFER("node %zu: input %zu", i, k);
        if (!same_reference(a->kernel, b->kernel) || !same_reference(a->bias, b->bias)) DIFFER("node %zu: weights", i);
        if (!same_parameters(a, b)) DIFFER("node %zu: parameters", i);
    }
    return NULL;
}

static const char *weights_difference(struct sqz_model *model, const struct plain_model *plain) {
    if (model->n_weights != plain->n_weights) DIFFER("%zu weights and %zu", model->n_weights, plain->n_weights);
    for (size_t i = 0; i < plain->n_weights; i++) {
        struct sqz_weight *a = &model->weights[i];
        const struct plain_weight *b = &plain->weights[i];
        if (strcmp(a->name, b->name) != 0) DIFFER("weight %zu: %.40s and %.40s", i, a->name, b->name);
        if ((unsigned)a->role != b->role) DIFFER("weight %zu: role", i);
        if (a->shape.rank != b->rank || memcmp(a->shape.dim, b->dim, b->rank * sizeof *b->dim) != 0)
            DIFFER("weight %zu: shape", i);
        if (a->count != b->count) DIFFER("weight %zu: count", i);
        if (sqz_weight_need_data(a, NULL) != SQZ_OK) DIFFER("weight %zu: no data", i);
        for (size_t k = 0; k < a->count; k++)
            if (!same_bits(&a->data[k], &b->values[k], 1))
                DIFFER("weight %zu, element %zu: %.9g and %.9g", i, k, (double)a->data[k], (double)b->values[k]);
    }
    return NULL;
}

static const char *strings_difference(const char *what, const char *const *a, size_t n_a, char *const *b, size_t n_b) {
    if (n_a != n_b) DIFFER("%s: %zu and %zu", what, n_a, n_b);
    for (size_t i = 0; i < n_b; i++)
        if (strcmp(a[i], b[i]) != 0) DIFFER("%s %zu: %.40s and %.40s", what, i, a[i], b[i]);
    return NULL;
}

static const char *record_difference(const struct sqz_image_record *a, const struct plain_record *b) {
    if (a->n_images != b->n_images) DIFFER("record: images");
    if (b->n_images == 0) return NULL;
    if (a->sample_nbits != b->sample || a->prefix_nbits != b->prefix) DIFFER("record: bits");
    if (a->n_prefixes != b->n_prefixes) DIFFER("record: number of prefixes");
    for (size_t i = 0; i < b->n_prefixes; i++)
        if (a->prefixes[i] != b->prefixes[i]) DIFFER("record: prefix %zu", i);
    return NULL;
}

const char *plain_difference(struct sqz_model *model, const struct plain_model *plain) {
    const char *text;
    if (strcmp(model->arch, plain->arch) != 0) DIFFER("arch: %.40s and %.40s", model->arch, plain->arch);
    if (strcmp(model->source, plain->source) != 0) DIFFER("source: %.40s and %.40s", model->source, plain->source);
    if ((text = input_difference(&model->input, &plain->input))) return text;
    if ((text = nodes_difference(model, plain))) return text;
    if ((text =
             strings_difference("class", model->class_names, model->n_classes_named, plain->classes, plain->n_classes)))
        return text;
    if ((text = strings_difference("history", model->history, model->n_history, plain->history, plain->n_history)))
        return text;
    if ((text = record_difference(&model->calibrated_on, &plain->record))) return text;
    return weights_difference(model, plain);
}

static uint32_t add_bytes(uint32_t crc, const void *data, size_t nbytes) {
    return (uint32_t)crc32(crc, data, (uInt)nbytes);
}

#define ADD(crc, field) add_bytes(crc, &(field), sizeof(field))

static uint32_t add_strings(uint32_t crc, char *const *strings, size_t n) {
    for (size_t i = 0; i < n; i++) crc = add_bytes(crc, strings[i], strlen(strings[i]) + 1);
    return crc;
}

static uint32_t add_node(uint32_t crc, const struct plain_node *node) {
    crc = add_strings(crc, &node->name, 1);
    crc = ADD(crc, node->operator_code);
    crc = add_bytes(crc, node->inputs, node->n_inputs * sizeof *node->inputs);
    crc = ADD(crc, node->kernel);
    crc = ADD(crc, node->bias);
    crc = ADD(crc, node->window);
    const uint32_t numbers[] = {node->groups, node->ceil_mode, node->divisor, node->out_h,
                                node->out_w,  node->size,      node->axis,    node->rank};
    crc = ADD(crc, numbers);
    crc = ADD(crc, node->dim);
    crc = ADD(crc, node->pad);
    return ADD(crc, node->number);
}

uint32_t plain_digest(const struct plain_model *plain) {
    const struct plain_input *input = &plain->input;
    const uint64_t sizes[] = {input->channels, input->height, input->width,  input->resize_short,
                              input->squash,   input->order,  input->filter, plain->output};
    uint32_t crc = add_strings(add_strings(0, &plain->arch, 1), &plain->source, 1);
    crc = ADD(crc, sizes);
    crc = ADD(crc, input->scale);
    crc = ADD(crc, input->mean);
    crc = ADD(crc, input->std);
    for (size_t i = 0; i < plain->n_nodes; i++) crc = add_node(crc, &plain->nodes[i]);
    for (size_t i = 0; i < plain->n_weights; i++) {
        const struct plain_weight *weight = &plain->weights[i];
        crc = add_strings(crc, &weight->name, 1);
        crc = ADD(crc, weight->role);
        crc = add_bytes(crc, weight->dim, weight->rank * sizeof *weight->dim);
        crc = add_bytes(crc, weight->values, (size_t)weight->count * sizeof *weight->values);
    }
    crc = add_strings(crc, plain->classes, plain->n_classes);
    crc = ADD(crc, plain->record.n_images);
    return add_bytes(crc, plain->record.prefixes, plain->record.n_prefixes * sizeof *plain->record.prefixes);
}
