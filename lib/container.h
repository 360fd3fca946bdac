/* container.h - the .sqz file: writing, reading whole or tensor by tensor, and accounting. Format: formats/SQZ.md. */
#ifndef SQZ_LIB_CONTAINER_H
#define SQZ_LIB_CONTAINER_H

#include "lib/bytes.h"
#include "lib/model.h"

enum sqz_coder {
    SQZ_CODER_AUTO,    /* the smaller of the others; for a large tensor range must save 0.5%, see tensor_code.h */
    SQZ_CODER_HUFFMAN, /* canonical Huffman; see tensor_code.h */
    SQZ_CODER_RANGE,   /* adaptive binary range coder with contexts; Huffman where that is smaller by more than 0.5% */
};

enum sqz_bias_kind {
    SQZ_BIAS_FP16,
    SQZ_BIAS_FP32,
    SQZ_BIAS_8BIT,  /* uniform levels of 8 bits, one step for each tensor; scales stay fp16 */
    SQZ_BIAS_10BIT, /* the same with 10 */
};

struct sqz_encode_options {
    enum sqz_coder coder;
    enum sqz_bias_kind bias; /* biases, scales and shifts */
};

/*
 * Encode the whole model. Kernels without packed levels are stored as float32
 * (fp16 where that is exact). Deterministic: the same model and options give
 * the same bytes for any thread count. SQZ_NONFINITE: a reader would refuse it.
 */
enum sqz_status sqz_container_encode(const struct sqz_model *model, const struct sqz_encode_options *options,
                                     struct sqz_buffer *out, struct sqz_error *err);

bool sqz_container_probe(const void *data, size_t nbytes);

/* Decode a whole file, tensors in parallel. `max_nbytes` bounds the weights as float32; 0: 8 GiB. */
enum sqz_status sqz_container_decode(const void *data, size_t nbytes, size_t max_nbytes, struct sqz_model **out,
                                     struct sqz_error *err);

/* Where the bytes of a file go; the fields add up to its size. Filled by sqz_container_ledger(). */
struct sqz_ledger {
    size_t header_nbytes;   /* magic, version, sizes, checksums, index */
    size_t graph_nbytes;    /* deflated graph, input description, class names */
    size_t codebook_nbytes; /* centroids and steps */
    size_t table_nbytes;    /* Huffman code lengths or initial contexts, stream sizes */
    size_t value_nbytes;    /* coded levels */
    size_t position_nbytes; /* coded positions of the survivors */
    size_t bias_nbytes;     /* biases, scales, shifts */
    size_t float_nbytes;    /* kernels that were not quantised */
};

/* How one tensor is stored: the columns of the Deep Compression paper's Table 4. */
struct sqz_tensor_stats {
    const char *layer, *name; /* borrowed from the model */
    const char *layout;       /* "gaps", "bitmap", "dense", "float32", "float16" */
    const char *coder;        /* "huffman", "range", "raw" */
    size_t count, nonzero;
    double weight_bits;       /* per surviving weight before entropy coding: ceil(log2(shared values)) */
    double weight_bits_coded; /* and after */
    double index_bits;        /* per surviving weight: the gap field, before entropy coding */
    double index_bits_coded;
    double entropy_nbits;  /* order-0 entropy of all coded symbols, in bits (the bound for Huffman) */
    size_t stream_nbits;   /* bits of the coded streams, without tables */
    size_t section_nbytes; /* whole section in the file */
};

/* The stats array has model->n_weights entries, in the model's order (a decode of the same bytes). */
enum sqz_status sqz_container_ledger(const void *data, size_t nbytes, const struct sqz_model *model,
                                     struct sqz_ledger *ledger, struct sqz_tensor_stats *stats, struct sqz_error *err);

#endif
