/* tensor_code.h - one packed tensor as the bytes of its section, and back. Format: formats/SQZ.md, "Packed tensors". */
#ifndef SQZ_LIB_TENSOR_CODE_H
#define SQZ_LIB_TENSOR_CODE_H

#include "lib/bytes.h"
#include "lib/container.h"
#include "lib/huffman.h"
#include "lib/packed.h"
#include "lib/tensor_form.h"

/*
 * Append the section of `packed`, in the layout that takes the fewest bytes.
 * SQZ_CODER_AUTO takes the smaller of Huffman and range coder, but for a tensor
 * of more than SQZ_LANES_GROUP_COUNT weights, whose decoding takes time, the
 * range coder must save 0.5%; SQZ_CODER_RANGE takes the range coder unless
 * Huffman is smaller by more than 0.5%. The result depends on the tensor and
 * `coder` alone. `name` is used in messages. SQZ_MALFORMED when packed breaks its
 * promises, SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_tensor_encode(const struct sqz_packed *packed, const struct sqz_shape *shape, size_t count,
                                  enum sqz_coder coder, const char *name, struct sqz_buffer *out,
                                  struct sqz_error *err);

/*
 * Decoding goes in three steps, so that threads can share a tensor: open
 * (side information, tables, memory for the result), any groups in any order
 * on any threads, take. `data` must stay in place until close.
 */
struct sqz_tensor_decoder {
    struct sqz_tensor_form form;
    struct sqz_shape shape;
    const char *name;
    struct sqz_packed *packed;
    struct sqz_huffman_decoder positions, values;
    uint8_t *digits;      /* of tuples, when tuple > 1 */
    size_t *lane_offsets; /* [n_lanes] into data */
    const uint8_t *data;  /* the section */
};

/* Close `decoder` in every case. SQZ_MALFORMED, SQZ_TRUNCATED, SQZ_UNSUPPORTED, SQZ_OUT_OF_MEMORY. */
enum sqz_status sqz_tensor_open(struct sqz_tensor_decoder *decoder, const void *data, size_t nbytes,
                                const struct sqz_shape *shape, size_t count, const char *name, struct sqz_error *err);

size_t sqz_tensor_groups(const struct sqz_tensor_decoder *decoder);

/* Decode one group of lanes into the result: four Huffman lanes or one range-coded one. */
enum sqz_status sqz_tensor_decode_group(const struct sqz_tensor_decoder *decoder, size_t group, struct sqz_error *err);

/* The result, owned by the caller from now on. */
struct sqz_packed *sqz_tensor_take(struct sqz_tensor_decoder *decoder);

void sqz_tensor_close(struct sqz_tensor_decoder *decoder);

/* All of it on one thread. */
enum sqz_status sqz_tensor_decode(const void *data, size_t nbytes, const struct sqz_shape *shape, size_t count,
                                  const char *name, struct sqz_packed **out, struct sqz_error *err);

/* ---- what both sides of the coder share ------------------------------------- */

/* A tensor's levels as symbols: 0 for zero, otherwise 1 + the index of the level's value. */
struct sqz_symbols {
    const uint16_t *symbols; /* [count]; a codebook's levels as they are, uniform ones in `owned` */
    uint16_t *owned;
    size_t count;
};

/* Fill *symbols and, for uniform levels, form->values. */
enum sqz_status sqz_symbols_of(const struct sqz_packed *packed, size_t count, struct sqz_tensor_form *form,
                               struct sqz_symbols *symbols, struct sqz_error *err);

/* Levels of a tensor as the range coder sees them: a codebook's entries counted from zero outwards, with a sign. */
struct sqz_signed_levels {
    const int16_t *levels; /* [count]; uniform levels as they are, a codebook's in `owned` */
    int16_t *owned;
    uint32_t n_negative; /* entries of a codebook below zero */
};

enum sqz_status sqz_signed_levels_of(const struct sqz_packed *packed, size_t count, struct sqz_signed_levels *out,
                                     struct sqz_error *err);

/* The inverse for a codebook of which n_negative entries are below zero, in place. */
void sqz_signed_levels_undo(int16_t *levels, size_t count, uint32_t n_negative);

/*
 * Append a range-coded section; `form` has storage and floats, the rest is
 * chosen here. Nothing is appended when the first lane takes `limit` bytes or
 * more for each weight.
 */
enum sqz_status sqz_range_section(struct sqz_tensor_form *form, const struct sqz_packed *packed,
                                  const struct sqz_shape *shape, size_t count, double limit, struct sqz_buffer *out,
                                  struct sqz_error *err);

/* Tokens for the longest lane. */
enum sqz_status sqz_tokens_alloc(struct sqz_tokens *tokens, const struct sqz_lanes *lanes, struct sqz_error *err);
void sqz_tokens_free(struct sqz_tokens *tokens);

/* Symbol counts of the streams of a tensor: positions[form position symbols], values[base^tuple]. */
enum sqz_status sqz_form_histograms(const struct sqz_tensor_form *form, const struct sqz_symbols *symbols,
                                    uint64_t *positions, uint64_t *values, struct sqz_error *err);

/*
 * Choose layout, width, tuple and Huffman tables: fills those fields of
 * `form`, whose storage, lanes and values are set.
 */
enum sqz_status sqz_form_plan(struct sqz_tensor_form *form, const struct sqz_symbols *symbols,
                              const struct sqz_shape *shape, struct sqz_error *err);

#endif
