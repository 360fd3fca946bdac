/* tensor_decode.c - the bytes of a section to one packed tensor, several lanes at a time. */
#include <stdio.h>
#include <string.h>

#include "lib/gaps.h"
#include "lib/memory.h"
#include "lib/tensor_code.h"
#include "lib/trellis.h"

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* ---- opening --------------------------------------------------------------------- */

/* The result, with everything but the levels in it. */
static enum sqz_status make_packed(struct sqz_tensor_decoder *decoder, size_t count, struct sqz_error *err) {
    struct sqz_tensor_form *form = &decoder->form;
    struct sqz_packed *packed = decoder->packed = sqz_alloc0(1, sizeof *packed);
    if (!packed) return no_memory(err);
    packed->kind = form->storage == SQZ_STORAGE_CODEBOOK ? SQZ_LEVELS_CODEBOOK : SQZ_LEVELS_UNIFORM;
    packed->n_levels = count;
    packed->levels = sqz_alloc(count, sizeof *packed->levels);
    if (!packed->levels) return no_memory(err);
    if (packed->kind == SQZ_LEVELS_CODEBOOK) {
        packed->n_codebook = (uint32_t)form->n_values;
        packed->codebook = form->codebook;
        form->codebook = NULL;
    } else {
        packed->n_steps = form->n_steps;
        packed->trellis_states = form->trellis_states;
        packed->steps = form->steps;
        form->steps = NULL;
    }
    return SQZ_OK;
}

static enum sqz_status make_tables(struct sqz_tensor_decoder *decoder, struct sqz_error *err) {
    const struct sqz_tensor_form *form = &decoder->form;
    char what[256];
    snprintf(what, sizeof what, "positions of weight %.200s", decoder->name);
    SQZ_TRY(sqz_huffman_decoder_init(&decoder->positions, form->position_lengths, sqz_form_position_symbols(form), what,
                                     err));
    snprintf(what, sizeof what, "values of weight %.200s", decoder->name);
    SQZ_TRY(sqz_huffman_decoder_init(&decoder->values, form->value_lengths, sqz_form_value_symbols(form), what, err));
    if (form->tuple == 1) return SQZ_OK;
    decoder->digits = sqz_alloc(sqz_form_value_symbols(form), form->tuple);
    if (!decoder->digits) return no_memory(err);
    sqz_tuple_digits((unsigned)sqz_form_base(form), form->tuple, decoder->digits);
    return SQZ_OK;
}

enum sqz_status sqz_tensor_open(struct sqz_tensor_decoder *decoder, const void *data, size_t nbytes,
                                const struct sqz_shape *shape, size_t count, const char *name, struct sqz_error *err) {
    *decoder = (struct sqz_tensor_decoder){.name = name, .data = data};
    struct sqz_reader in = sqz_reader_make(data, nbytes);
    SQZ_TRY(sqz_form_read(&decoder->form, &in, shape, count, name, err));
    const struct sqz_tensor_form *form = &decoder->form;
    decoder->lane_offsets = sqz_alloc(form->lanes.n_lanes, sizeof *decoder->lane_offsets);
    if (!decoder->lane_offsets) return no_memory(err);
    size_t offset = in.offset;
    for (size_t i = 0; i < form->lanes.n_lanes; i++) {
        decoder->lane_offsets[i] = offset;
        offset += form->lane_nbytes[i];
    }
    decoder->shape = *shape;
    if (form->coder == SQZ_STREAM_HUFFMAN) SQZ_TRY(make_tables(decoder, err));
    return make_packed(decoder, count, err);
}

size_t sqz_tensor_groups(const struct sqz_tensor_decoder *decoder) {
    size_t n_lanes = decoder->form.lanes.n_lanes;
    return decoder->form.coder == SQZ_STREAM_RANGE ? n_lanes : (n_lanes + SQZ_LANES_GROUP - 1) / SQZ_LANES_GROUP;
}

struct sqz_packed *sqz_tensor_take(struct sqz_tensor_decoder *decoder) {
    struct sqz_packed *packed = decoder->packed;
    /* Huffman lanes are cut otherwise than machines are started, so that indices wait until all are there. */
    if (packed->trellis_states && decoder->form.coder == SQZ_STREAM_HUFFMAN) {
        struct sqz_lanes lanes = sqz_lanes_of(&decoder->shape, packed->n_levels, SQZ_STREAM_RANGE);
        sqz_trellis_restore(packed->trellis_states, &lanes, packed->levels);
    }
    decoder->packed = NULL;
    return packed;
}

void sqz_tensor_close(struct sqz_tensor_decoder *decoder) {
    sqz_packed_free(decoder->packed);
    sqz_huffman_decoder_free(&decoder->positions);
    sqz_huffman_decoder_free(&decoder->values);
    sqz_free(decoder->digits);
    sqz_free(decoder->lane_offsets);
    sqz_form_free(&decoder->form);
    *decoder = (struct sqz_tensor_decoder){0};
}

/* ---- a group of lanes --------------------------------------------------------------- */

struct group {
    const struct sqz_tensor_decoder *decoder;
    size_t n_lanes;
    size_t lanes[SQZ_LANES_GROUP]; /* lane number in the tensor */
    struct sqz_bit_reader readers[SQZ_LANES_GROUP];
    uint16_t *symbols[SQZ_LANES_GROUP]; /* where the lane's result goes */
    size_t counts[SQZ_LANES_GROUP];     /* symbols of the lane */
    uint16_t *positions[SQZ_LANES_GROUP];
    size_t n_positions[SQZ_LANES_GROUP];
    uint16_t *values[SQZ_LANES_GROUP];
    size_t n_values[SQZ_LANES_GROUP];
    uint16_t *memory; /* of positions and values */
};

static void group_start(struct group *group, const struct sqz_tensor_decoder *decoder, size_t index) {
    const struct sqz_tensor_form *form = &decoder->form;
    *group = (struct group){.decoder = decoder};
    for (size_t k = 0; k < SQZ_LANES_GROUP; k++) {
        size_t lane = index * SQZ_LANES_GROUP + k;
        if (lane >= form->lanes.n_lanes) break;
        group->lanes[k] = lane;
        group->readers[k] = sqz_bit_reader_make(decoder->data + decoder->lane_offsets[lane], form->lane_nbytes[lane]);
        group->symbols[k] = (uint16_t *)decoder->packed->levels + sqz_lane_start(&form->lanes, lane);
        group->counts[k] = sqz_lane_count(&form->lanes, lane);
        if (form->layout == SQZ_LAYOUT_BITMAP)
            group->n_positions[k] = (group->counts[k] + form->width - 1) / form->width;
        if (form->layout == SQZ_LAYOUT_GAPS) group->n_positions[k] = form->entries[lane];
        group->n_lanes++;
    }
}

/* A stream of symbols that no code exists for cannot have any. */
static enum sqz_status decode_stream(struct group *group, const struct sqz_huffman_decoder *code, const size_t *counts,
                                     uint16_t *const *out, struct sqz_error *err) {
    for (size_t k = 0; k < group->n_lanes; k++)
        if (counts[k] && code->n_used == 0)
            return sqz_fail(err, SQZ_MALFORMED, "weight %s: symbols without a Huffman table", group->decoder->name);
    sqz_huffman_decode(code, group->readers, counts, out, group->n_lanes);
    return SQZ_OK;
}

/* Values of the lanes into group->values, or straight into the result when they are the symbols. */
static enum sqz_status decode_values(struct group *group, struct sqz_error *err) {
    const struct sqz_tensor_form *form = &group->decoder->form;
    const unsigned tuple = form->tuple;
    if (tuple == 1) return decode_stream(group, &group->decoder->values, group->n_values, group->values, err);
    uint16_t *tuples[SQZ_LANES_GROUP];
    size_t n_tuples[SQZ_LANES_GROUP], total = 0;
    for (size_t k = 0; k < group->n_lanes; k++) total += n_tuples[k] = (group->n_values[k] + tuple - 1) / tuple;
    uint16_t *memory = sqz_alloc(total, sizeof *memory);
    if (!memory) return no_memory(err);
    for (size_t k = 0, used = 0; k < group->n_lanes; used += n_tuples[k++]) tuples[k] = memory + used;
    enum sqz_status status = decode_stream(group, &group->decoder->values, n_tuples, tuples, err);
    for (size_t k = 0; status == SQZ_OK && k < group->n_lanes; k++)
        sqz_tuple_unpack(tuples[k], group->decoder->digits, tuple, group->values[k], group->n_values[k]);
    sqz_free(memory);
    return status;
}

/* Memory for positions and as many values as there are weights: neither stream is longer. */
static enum sqz_status group_reserve(struct group *group, struct sqz_error *err) {
    size_t total = 0;
    for (size_t k = 0; k < group->n_lanes; k++) total += group->n_positions[k] + group->counts[k];
    group->memory = sqz_alloc(total, sizeof *group->memory);
    if (!group->memory) return no_memory(err);
    uint16_t *next = group->memory;
    for (size_t k = 0; k < group->n_lanes; k++) {
        group->positions[k] = next;
        group->values[k] = next + group->n_positions[k];
        next += group->n_positions[k] + group->counts[k];
    }
    return SQZ_OK;
}

static enum sqz_status decode_dense(struct group *group, struct sqz_error *err) {
    for (size_t k = 0; k < group->n_lanes; k++) {
        group->values[k] = group->symbols[k];
        group->n_values[k] = group->counts[k];
    }
    return decode_values(group, err);
}

static enum sqz_status decode_bitmap(struct group *group, struct sqz_error *err) {
    const struct sqz_tensor_decoder *decoder = group->decoder;
    const unsigned width = decoder->form.width;
    SQZ_TRY(decode_stream(group, &decoder->positions, group->n_positions, group->positions, err));
    for (size_t k = 0; k < group->n_lanes; k++)
        if (!sqz_bitmap_count(group->positions[k], width, group->counts[k], &group->n_values[k]))
            return sqz_fail(err, SQZ_MALFORMED, "weight %s: the bitmap of lane %zu is longer than the lane",
                            decoder->name, group->lanes[k]);
    for (size_t k = 0; k < group->n_lanes; k++)
        if (group->n_values[k] && decoder->form.n_values == 0)
            return sqz_fail(err, SQZ_MALFORMED, "weight %s: lane %zu has weights but there are no values",
                            decoder->name, group->lanes[k]);
    SQZ_TRY(decode_values(group, err));
    for (size_t k = 0; k < group->n_lanes; k++)
        sqz_bitmap_place(group->positions[k], width, group->values[k], group->symbols[k], group->counts[k]);
    return SQZ_OK;
}

static enum sqz_status decode_gaps(struct group *group, struct sqz_error *err) {
    const struct sqz_tensor_decoder *decoder = group->decoder;
    SQZ_TRY(decode_stream(group, &decoder->positions, group->n_positions, group->positions, err));
    for (size_t k = 0; k < group->n_lanes; k++) group->n_values[k] = group->n_positions[k];
    SQZ_TRY(decode_values(group, err));
    for (size_t k = 0; k < group->n_lanes; k++) {
        memset(group->symbols[k], 0, group->counts[k] * sizeof *group->symbols[k]);
        if (!sqz_gaps_decode(group->positions[k], group->values[k], group->n_positions[k], group->symbols[k],
                             group->counts[k]))
            return sqz_fail(err, SQZ_MALFORMED, "weight %s: the gaps of lane %zu run past its end", decoder->name,
                            group->lanes[k]);
    }
    return SQZ_OK;
}

/* Symbols of uniform levels to the levels, in place. */
static void symbols_to_levels(const struct sqz_tensor_form *form, uint16_t *symbols, size_t n) {
    int16_t *levels = (int16_t *)symbols;
    for (size_t i = 0; i < n; i++) levels[i] = symbols[i] ? form->values[symbols[i] - 1] : 0;
}

static enum sqz_status decode_huffman_lanes(const struct sqz_tensor_decoder *decoder, size_t index,
                                            struct sqz_error *err) {
    const struct sqz_tensor_form *form = &decoder->form;
    struct group group;
    group_start(&group, decoder, index);
    enum sqz_status status = SQZ_OK;
    if (form->layout != SQZ_LAYOUT_DENSE) status = group_reserve(&group, err);
    if (status == SQZ_OK) {
        if (form->layout == SQZ_LAYOUT_DENSE)
            status = decode_dense(&group, err);
        else if (form->layout == SQZ_LAYOUT_BITMAP)
            status = decode_bitmap(&group, err);
        else
            status = decode_gaps(&group, err);
    }
    sqz_free(group.memory);
    for (size_t k = 0; status == SQZ_OK && k < group.n_lanes; k++) {
        if (!sqz_bit_at_end(&group.readers[k]))
            return sqz_fail(err, SQZ_MALFORMED, "weight %s: lane %zu does not end where its codes end", decoder->name,
                            group.lanes[k]);
        if (form->storage == SQZ_STORAGE_UNIFORM) symbols_to_levels(form, group.symbols[k], group.counts[k]);
    }
    return status;
}

static enum sqz_status decode_range_lane(const struct sqz_tensor_decoder *decoder, size_t lane, struct sqz_error *err) {
    const struct sqz_tensor_form *form = &decoder->form;
    const struct sqz_lanes *lanes = &form->lanes;
    size_t count = sqz_lane_count(lanes, lane), n_rows = lanes->row ? count / lanes->row : lanes->n_rows;
    int16_t *levels = decoder->packed->levels + sqz_lane_start(lanes, lane);
    struct sqz_range_geometry geometry = sqz_range_geometry_of(&decoder->shape, n_rows, lanes->row, form->range.scan);
    SQZ_TRY(sqz_range_decode_rows(&form->range, &geometry, decoder->data + decoder->lane_offsets[lane],
                                  form->lane_nbytes[lane], levels, decoder->name, err));
    if (form->storage == SQZ_STORAGE_CODEBOOK) sqz_signed_levels_undo(levels, count, form->range.max_negative);
    return SQZ_OK;
}

enum sqz_status sqz_tensor_decode_group(const struct sqz_tensor_decoder *decoder, size_t index, struct sqz_error *err) {
    if (decoder->form.coder == SQZ_STREAM_RANGE) return decode_range_lane(decoder, index, err);
    return decode_huffman_lanes(decoder, index, err);
}

enum sqz_status sqz_tensor_decode(const void *data, size_t nbytes, const struct sqz_shape *shape, size_t count,
                                  const char *name, struct sqz_packed **out, struct sqz_error *err) {
    struct sqz_tensor_decoder decoder;
    enum sqz_status status = sqz_tensor_open(&decoder, data, nbytes, shape, count, name, err);
    for (size_t i = 0; status == SQZ_OK && i < sqz_tensor_groups(&decoder); i++)
        status = sqz_tensor_decode_group(&decoder, i, err);
    if (status == SQZ_OK) *out = sqz_tensor_take(&decoder);
    sqz_tensor_close(&decoder);
    return status;
}
