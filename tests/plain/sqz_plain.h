/* sqz_plain.h - a second, plain decoder of the .sqz format, written from formats/SQZ.md alone, in the order of its
 * text.
 */
#ifndef SQZ_TESTS_PLAIN_SQZ_PLAIN_H
#define SQZ_TESTS_PLAIN_SQZ_PLAIN_H

#include <stddef.h>
#include <stdint.h>

/*
 * It shares nothing with the product: no header, no allocator, no names of
 * codes. It is slow, holds everything at once and knows no threads. Its use is
 * to disagree with the product where the document and the product differ.
 */

enum { PLAIN_NONE = -1 };

/* One node: the fields that its operator does not have are 0. */
struct plain_node {
    char *name;
    unsigned operator_code;
    size_t n_inputs;
    uint32_t *inputs;
    int64_t kernel, bias; /* index of a weight, or PLAIN_NONE */
    uint32_t window[10];  /* in the order of the document */
    uint32_t groups;
    uint32_t ceil_mode, divisor;
    uint32_t out_h, out_w;
    uint32_t size, axis;
    uint32_t rank;
    int64_t dim[6];
    uint32_t pad[4]; /* top, left, bottom, right */
    float number[3]; /* the operator's floats, in the order of the document */
};

struct plain_weight {
    char *name;
    unsigned role;
    uint32_t rank;
    uint64_t dim[6];
    uint64_t count;
    float *values; /* [count] */
};

struct plain_input {
    uint32_t channels, height, width;
    uint64_t resize_short;
    unsigned squash, order, filter;
    float scale, mean[4], std[4];
};

struct plain_record {
    uint64_t n_images; /* 0: there is no record */
    unsigned sample, prefix;
    size_t n_prefixes;
    uint32_t prefixes[128];
};

struct plain_model {
    char *arch, *source;
    struct plain_input input;
    size_t n_nodes;
    struct plain_node *nodes;
    size_t output;
    size_t n_weights;
    struct plain_weight *weights;
    size_t n_classes;
    char **classes;
    size_t n_history;
    char **history;
    struct plain_record record;
};

/*
 * Decode a whole file. NULL and *out on success; otherwise one sentence that
 * says why the file is refused, and *out is NULL. max_nbytes bounds all
 * weights together as float32.
 */
const char *sqz_plain_decode(const uint8_t *data, size_t nbytes, uint64_t max_nbytes, struct plain_model **out);
void sqz_plain_free(struct plain_model *model);

#endif
