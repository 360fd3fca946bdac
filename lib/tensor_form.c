/* tensor_form.c - lanes and side information of one packed tensor. */
#include "lib/tensor_form.h"

#include "lib/huffman.h"
#include "lib/memory.h"
#include "lib/side_code.h"
#include "lib/trellis.h"

size_t sqz_form_base(const struct sqz_tensor_form *form) {
    if (form->layout != SQZ_LAYOUT_BITMAP) return form->n_values + 1;
    return form->n_values ? form->n_values : 1;
}

size_t sqz_form_value_symbols(const struct sqz_tensor_form *form) {
    return sqz_tuple_symbols(sqz_form_base(form), form->tuple);
}

void sqz_form_free(struct sqz_tensor_form *form) {
    sqz_free(form->codebook);
    sqz_free(form->steps);
    sqz_free(form->values);
    sqz_free(form->position_lengths);
    sqz_free(form->value_lengths);
    sqz_free(form->entries);
    sqz_free(form->lane_nbytes);
    *form = (struct sqz_tensor_form){0};
}

/* ---- the same walk for both directions -------------------------------------- */

/* Bits of n_values: 0..256 entries, 0..2 * SQZ_MAX_LEVEL levels. */
#define CODEBOOK_COUNT_NBITS 9
#define UNIFORM_COUNT_NBITS 14
/* Bits of width and of tuple - 1. */
#define SMALL_NBITS 4
/* Bits of the logarithm of the states of a trellis. */
#define TRELLIS_NBITS 3

/* Allocate *array for a reader; a writer has it. */
static enum sqz_status need(struct sqz_side_coder *side, void *array_pointer, size_t n, size_t size,
                            struct sqz_error *err) {
    if (side->encoder) return SQZ_OK;
    void *array = sqz_alloc0(n, size);
    if (!array) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    memcpy(array_pointer, &array, sizeof array);
    return SQZ_OK;
}

static void code_count(struct sqz_side_coder *side, unsigned n_bits, size_t limit, size_t *count) {
    uint32_t v = (uint32_t)*count;
    sqz_side_raw(side, n_bits, &v);
    if (v > limit) {
        side->failed = true;
        v = 0;
    }
    *count = v;
}

static enum sqz_status code_codebook(struct sqz_side_coder *side, struct sqz_tensor_form *form, struct sqz_error *err) {
    code_count(side, CODEBOOK_COUNT_NBITS, (size_t)1 << SQZ_MAX_BITS, &form->n_values);
    SQZ_TRY(need(side, &form->codebook, form->n_values, sizeof *form->codebook, err));
    sqz_side_codebook(side, form->codebook, form->n_values);
    return SQZ_OK;
}

static enum sqz_status code_steps(struct sqz_side_coder *side, struct sqz_tensor_form *form, struct sqz_error *err) {
    uint32_t per_row = form->n_steps > 1;
    sqz_side_raw(side, 1, &per_row);
    if (per_row && form->lanes.n_rows > SQZ_FORM_MAX_STEPS) {
        side->failed = true;
        return SQZ_OK;
    }
    if (side->decoder) form->n_steps = per_row ? (uint32_t)form->lanes.n_rows : 1;
    SQZ_TRY(need(side, &form->steps, form->n_steps, sizeof *form->steps, err));
    sqz_side_steps(side, form->steps, form->n_steps);
    return SQZ_OK;
}

static void code_trellis(struct sqz_side_coder *side, struct sqz_tensor_form *form) {
    uint32_t more = side->encoder ? (uint32_t)__builtin_ctz(form->trellis_states) - SQZ_TRELLIS_MIN_LOG2 : 0;
    sqz_side_raw(side, TRELLIS_NBITS, &more);
    if (more > SQZ_TRELLIS_MAX_LOG2 - SQZ_TRELLIS_MIN_LOG2) {
        side->failed = true;
        return;
    }
    form->trellis_states = 1u << (more + SQZ_TRELLIS_MIN_LOG2);
}

/* The largest magnitude of what is coded for a weight. */
static int coded_limit(const struct sqz_tensor_form *form) {
    return form->trellis_states ? SQZ_TRELLIS_MAX_INDEX : SQZ_MAX_LEVEL;
}

static enum sqz_status code_uniform_values(struct sqz_side_coder *side, struct sqz_tensor_form *form,
                                           struct sqz_error *err) {
    code_count(side, UNIFORM_COUNT_NBITS, 2 * SQZ_MAX_LEVEL, &form->n_values);
    SQZ_TRY(need(side, &form->values, form->n_values, sizeof *form->values, err));
    sqz_side_values(side, form->values, form->n_values, coded_limit(form));
    return SQZ_OK;
}

/* Bounds of the levels: a codebook's follow from the signs of its entries. */
static void code_bounds(struct sqz_side_coder *side, struct sqz_tensor_form *form) {
    struct sqz_range_params *range = &form->range;
    if (form->storage == SQZ_STORAGE_CODEBOOK) {
        range->max_negative = 0;
        for (size_t i = 0; i < form->n_values; i++) range->max_negative += form->codebook[i] < 0;
        range->max_positive = (uint32_t)form->n_values - range->max_negative;
        return;
    }
    uint64_t negative = range->max_negative, positive = range->max_positive;
    sqz_side_number(side, SQZ_SIDE_VALUE, &negative);
    sqz_side_number(side, SQZ_SIDE_VALUE, &positive);
    uint64_t limit = (uint64_t)coded_limit(form);
    if (negative > limit || positive > limit) {
        side->failed = true;
        return;
    }
    range->max_negative = (uint32_t)negative;
    range->max_positive = (uint32_t)positive;
}

static void code_range_params(struct sqz_side_coder *side, struct sqz_tensor_form *form) {
    struct sqz_range_params *range = &form->range;
    code_bounds(side, form);
    uint32_t has_zero = range->has_zero, scan = range->scan, detail = range->detail;
    uint32_t shift = range->shift, activity = range->activity;
    sqz_side_raw(side, 1, &has_zero);
    sqz_side_raw(side, 1, &scan);
    sqz_side_raw(side, SQZ_RANGE_DETAIL_NBITS, &detail);
    sqz_side_raw(side, SQZ_RANGE_SHIFT_NBITS, &shift);
    sqz_side_raw(side, SQZ_RANGE_ACTIVITY_NBITS, &activity);
    if (detail >= SQZ_DETAIL_COUNT || (form->trellis_states && scan != SQZ_SCAN_BY_OUTPUT)) {
        side->failed = true;
        return;
    }
    range->has_zero = has_zero == 1;
    range->scan = (enum sqz_range_scan)scan;
    range->detail = (enum sqz_range_detail)detail;
    range->shift = shift;
    range->activity = activity;
    range->trellis_states = form->trellis_states;
}

static enum sqz_status code_tables(struct sqz_side_coder *side, struct sqz_tensor_form *form, struct sqz_error *err) {
    uint32_t width = form->width, tuple_less_one = form->tuple - 1;
    if (form->layout != SQZ_LAYOUT_DENSE) sqz_side_raw(side, SMALL_NBITS, &width);
    sqz_side_raw(side, SMALL_NBITS, &tuple_less_one);
    form->width = width;
    form->tuple = tuple_less_one + 1;
    bool width_right = form->layout == SQZ_LAYOUT_DENSE || (width >= 1 && width <= SQZ_LAYOUT_MAX_WIDTH);
    if (!width_right || form->tuple > SQZ_TUPLE_MAX || sqz_form_value_symbols(form) == 0) {
        side->failed = true;
        return SQZ_OK;
    }
    size_t n_positions = sqz_form_position_symbols(form), n_values = sqz_form_value_symbols(form);
    SQZ_TRY(need(side, &form->position_lengths, n_positions, 1, err));
    sqz_side_lengths(side, form->position_lengths, n_positions);
    SQZ_TRY(need(side, &form->value_lengths, n_values, 1, err));
    sqz_side_lengths(side, form->value_lengths, n_values);
    return SQZ_OK;
}

/* Numbers of about the same size, one for each lane, as differences from the one before. */
static void code_lane_numbers(struct sqz_side_coder *side, enum sqz_side_number kind, size_t *numbers, size_t n) {
    int64_t previous = 0;
    for (size_t i = 0; i < n && !side->failed; i++) {
        int64_t difference = (int64_t)numbers[i] - previous;
        sqz_side_signed(side, kind, &difference);
        int64_t number = previous + difference;
        if (number < 0 || number > INT64_MAX / 4) {
            side->failed = true;
            return;
        }
        numbers[i] = (size_t)number;
        previous = number;
    }
}

static enum sqz_status code_lanes(struct sqz_side_coder *side, struct sqz_tensor_form *form, struct sqz_error *err) {
    size_t n = form->lanes.n_lanes;
    if (form->coder == SQZ_STREAM_HUFFMAN && form->layout == SQZ_LAYOUT_GAPS) {
        SQZ_TRY(need(side, &form->entries, n, sizeof *form->entries, err));
        code_lane_numbers(side, SQZ_SIDE_ENTRIES, form->entries, n);
    }
    SQZ_TRY(need(side, &form->lane_nbytes, n, sizeof *form->lane_nbytes, err));
    code_lane_numbers(side, SQZ_SIDE_LANE, form->lane_nbytes, n - 1);
    return SQZ_OK;
}

static enum sqz_status code_form(struct sqz_side_coder *side, struct sqz_tensor_form *form, const uint8_t *start,
                                 struct sqz_error *err) {
    bool is_codebook = form->storage == SQZ_STORAGE_CODEBOOK, is_range = form->coder == SQZ_STREAM_RANGE;
    SQZ_TRY(is_codebook ? code_codebook(side, form, err) : code_steps(side, form, err));
    if (!side->failed && form->trellis_states) code_trellis(side, form);
    if (!side->failed && !is_codebook && !is_range) SQZ_TRY(code_uniform_values(side, form, err));
    if (side->decoder) form->codebook_nbits = (size_t)sqz_range_decoder_nbits(side->decoder, start);
    if (!side->failed && is_range) code_range_params(side, form);
    if (!side->failed && !is_range) SQZ_TRY(code_tables(side, form, err));
    if (!side->failed) SQZ_TRY(code_lanes(side, form, err));
    return SQZ_OK;
}

/* ---- writing and reading ------------------------------------------------------ */

enum sqz_status sqz_form_write(const struct sqz_tensor_form *form, struct sqz_buffer *out, struct sqz_error *err) {
    struct sqz_buffer bytes = {0};
    struct sqz_range_encoder encoder;
    struct sqz_side_coder side;
    struct sqz_tensor_form writable = *form; /* a writer changes nothing behind the pointers */
    sqz_side_writer_start(&side, &encoder, &bytes);
    enum sqz_status status = code_form(&side, &writable, NULL, err);
    sqz_range_encoder_finish(&encoder);
    if (status == SQZ_OK) status = sqz_buffer_status(&bytes, err);
    if (status == SQZ_OK && side.failed)
        status = sqz_fail(err, SQZ_LIMIT, "a tensor of %zu rows has too many steps", form->lanes.n_rows);
    if (status == SQZ_OK) {
        unsigned trellis = form->trellis_states != 0;
        sqz_put_u8(out, (uint8_t)(form->storage | form->layout << 2 | form->coder << 4 | trellis << 6));
        sqz_put_varint(out, bytes.nbytes);
        sqz_put_bytes(out, bytes.data, bytes.nbytes);
        status = sqz_buffer_status(out, err);
    }
    sqz_buffer_free(&bytes);
    return status;
}

static enum sqz_status check_lanes(struct sqz_tensor_form *form, size_t nbytes, const char *name,
                                   struct sqz_error *err) {
    size_t n = form->lanes.n_lanes, left = nbytes;
    for (size_t i = 0; i < n; i++) {
        if (form->entries && form->entries[i] > sqz_lane_count(&form->lanes, i))
            return sqz_fail(err, SQZ_MALFORMED, "weight %s: lane %zu has more entries than weights", name, i);
        if (i + 1 == n) form->lane_nbytes[i] = left;
        if (form->lane_nbytes[i] > left)
            return sqz_fail(err, SQZ_TRUNCATED, "weight %s: lane %zu runs past the end of its section", name, i);
        left -= form->lane_nbytes[i];
    }
    return SQZ_OK;
}

enum sqz_status sqz_form_read(struct sqz_tensor_form *form, struct sqz_reader *in, const struct sqz_shape *shape,
                              size_t count, const char *name, struct sqz_error *err) {
    *form = (struct sqz_tensor_form){0};
    unsigned first = sqz_read_u8(in);
    uint64_t nbytes = sqz_read_varint(in);
    if (in->failed || nbytes > sqz_reader_left(in))
        return sqz_fail(err, SQZ_TRUNCATED, "weight %s: the side information runs past the end of its section", name);
    form->storage = (enum sqz_storage)(first & 3);
    form->layout = (enum sqz_layout)(first >> 2 & 3);
    form->coder = (enum sqz_stream_coder)(first >> 4 & 3);
    bool trellis = first >> 6 & 1, trellis_right = !trellis || form->storage == SQZ_STORAGE_UNIFORM;
    if (first >> 7 || !trellis_right || form->storage < SQZ_STORAGE_CODEBOOK || form->layout >= SQZ_LAYOUT_COUNT)
        return sqz_fail(err, SQZ_MALFORMED, "weight %s: 0x%02x is not a form of storage", name, first);
    if (form->coder > SQZ_STREAM_RANGE)
        return sqz_fail(err, SQZ_UNSUPPORTED, "weight %s: unknown coder %u", name, (unsigned)form->coder);
    if (form->coder == SQZ_STREAM_RANGE && form->layout != SQZ_LAYOUT_DENSE)
        return sqz_fail(err, SQZ_MALFORMED, "weight %s: the range coder has a single layout", name);
    form->lanes = sqz_lanes_of(shape, count, form->coder);
    form->trellis_states = trellis; /* how many they are is read next */
    const uint8_t *bytes = sqz_read_bytes(in, (size_t)nbytes);
    struct sqz_range_decoder decoder;
    struct sqz_side_coder side;
    sqz_side_reader_start(&side, &decoder, bytes, (size_t)nbytes);
    SQZ_TRY(code_form(&side, form, bytes, err));
    if (side.failed || decoder.next < decoder.end)
        return sqz_fail(err, SQZ_MALFORMED, "weight %s: the side information is not valid", name);
    if (form->codebook_nbits > 8 * nbytes) form->codebook_nbits = 8 * (size_t)nbytes;
    return check_lanes(form, sqz_reader_left(in), name, err);
}
