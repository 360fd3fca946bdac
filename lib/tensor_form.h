/* tensor_form.h - how one packed tensor is stored: its lanes and its side information. Private to the tensor coder. */
#ifndef SQZ_LIB_TENSOR_FORM_H
#define SQZ_LIB_TENSOR_FORM_H

#include <stdbool.h>

#include "lib/bytes.h"
#include "lib/lanes.h"
#include "lib/layout.h"
#include "lib/packed.h"
#include "lib/range_tensor.h"

/* First byte of a section: bits 0-1 storage, 2-3 layout, 4-5 coder, 6 whether there is a trellis, 7: 0. */
enum sqz_storage { SQZ_STORAGE_FLOAT32, SQZ_STORAGE_FLOAT16, SQZ_STORAGE_CODEBOOK, SQZ_STORAGE_UNIFORM };

/* Rows that may have steps of their own: a thousand times beyond any layer, and reading them takes about a second. */
#define SQZ_FORM_MAX_STEPS ((size_t)1 << 24)

struct sqz_tensor_form {
    enum sqz_storage storage;
    enum sqz_layout layout;
    enum sqz_stream_coder coder;
    struct sqz_lanes lanes;
    size_t n_values;         /* symbols other than zero: codebook entries, or uniform levels in use */
    float *codebook;         /* [n_values], codebook only */
    uint32_t n_steps;        /* uniform only: 1 or n_rows */
    float *steps;            /* [n_steps] */
    uint32_t trellis_states; /* uniform only: 0 or as in struct sqz_packed; levels are then coded as their indices */
    int16_t *values; /* [n_values], uniform and Huffman only: ascending levels or indices; symbol i + 1 is values[i] */
    struct sqz_range_params range; /* range coder only, which uses nothing of what follows but lane_nbytes */
    unsigned width;                /* of a position: 1..SQZ_LAYOUT_MAX_WIDTH; 0 for dense */
    unsigned tuple;                /* values coded at a time */
    uint8_t *position_lengths;     /* [2^width] */
    uint8_t *value_lengths;        /* [sqz_form_value_symbols()] */
    size_t *entries;               /* [n_lanes], gaps only */
    size_t *lane_nbytes;           /* [n_lanes] */
    size_t codebook_nbits;         /* filled by reading: of the side information, what entries, steps and levels take */
};

/* Values before they are joined into tuples: dense and gaps have a symbol for zero, a bitmap has not. */
size_t sqz_form_base(const struct sqz_tensor_form *form);

/* Symbols of the Huffman code of values: base^tuple; 0 when the tuple is too long. */
size_t sqz_form_value_symbols(const struct sqz_tensor_form *form);

static inline size_t sqz_form_position_symbols(const struct sqz_tensor_form *form) {
    return form->layout == SQZ_LAYOUT_DENSE ? 0 : (size_t)1 << form->width;
}

void sqz_form_free(struct sqz_tensor_form *form);

/* Append the first byte, the length of the side information and the side information. */
enum sqz_status sqz_form_write(const struct sqz_tensor_form *form, struct sqz_buffer *out, struct sqz_error *err);

/*
 * Read the same from `in` (a section, at its start) for a tensor of the given shape, and
 * leave `in` at the first lane. The lanes fill the rest of the section
 * exactly. Every number is checked. `form` needs sqz_form_free() in every case.
 */
enum sqz_status sqz_form_read(struct sqz_tensor_form *form, struct sqz_reader *in, const struct sqz_shape *shape,
                              size_t count, const char *name, struct sqz_error *err);

#endif
