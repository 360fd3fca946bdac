/* tensor_encode.c - one packed tensor to the bytes of its section. */
#include <string.h>

#include "lib/memory.h"
#include "lib/parallel.h"
#include "lib/tensor_code.h"

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* A Huffman code ready to be written: bits and their number for each symbol. */
struct code {
    uint16_t *bits;
    uint8_t *n_bits;
};

static enum sqz_status code_make(struct code *code, const uint8_t *lengths, size_t n, struct sqz_error *err) {
    *code = (struct code){.bits = sqz_alloc(n, sizeof *code->bits), .n_bits = sqz_alloc(n, 1)};
    if (!code->bits || !code->n_bits) return no_memory(err);
    sqz_huffman_codes(lengths, n, code->bits, code->n_bits);
    return SQZ_OK;
}

static void code_free(struct code *code) {
    sqz_free(code->bits);
    sqz_free(code->n_bits);
}

struct emission {
    struct sqz_tensor_form *form;
    const struct sqz_symbols *symbols;
    struct code positions, values;
    struct sqz_buffer *lanes; /* [n_lanes] */
};

static uint64_t stream_bits(const struct code *code, const uint16_t *symbols, size_t n) {
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) total += code->n_bits[symbols[i]];
    return total;
}

static void put_stream(struct sqz_bit_writer *writer, const struct code *code, const uint16_t *symbols, size_t n) {
    for (size_t i = 0; i < n; i++) sqz_bit_put(writer, code->bits[symbols[i]], code->n_bits[symbols[i]]);
}

/* A lane's buffer is marked failed when memory is short. */
static void emit_lane(void *context, size_t lane, int thread) {
    (void)thread;
    struct emission *emission = context;
    struct sqz_tensor_form *form = emission->form;
    struct sqz_buffer *out = &emission->lanes[lane];
    struct sqz_tokens tokens;
    if (sqz_tokens_alloc(&tokens, &form->lanes, NULL) != SQZ_OK) {
        out->failed = true;
        return;
    }
    const uint16_t *from = emission->symbols->symbols + sqz_lane_start(&form->lanes, lane);
    sqz_layout_split(form->layout, form->width, from, sqz_lane_count(&form->lanes, lane), &tokens);
    if (form->entries) form->entries[lane] = tokens.n_positions;
    size_t n = sqz_tuple_pack(tokens.values, tokens.n_values, (unsigned)sqz_form_base(form), form->tuple);
    uint64_t n_bits = stream_bits(&emission->positions, tokens.positions, tokens.n_positions) +
                      stream_bits(&emission->values, tokens.values, n);
    uint8_t *memory = sqz_buffer_reserve(out, sqz_bit_bytes(n_bits) + SQZ_BIT_SLACK);
    if (memory) {
        struct sqz_bit_writer writer = sqz_bit_writer_make(memory);
        put_stream(&writer, &emission->positions, tokens.positions, tokens.n_positions);
        put_stream(&writer, &emission->values, tokens.values, n);
        out->nbytes = sqz_bit_finish(&writer);
    }
    sqz_tokens_free(&tokens);
}

static enum sqz_status write_section(struct emission *emission, struct sqz_buffer *out, struct sqz_error *err) {
    struct sqz_tensor_form *form = emission->form;
    size_t n_lanes = form->lanes.n_lanes;
    for (size_t i = 0; i < n_lanes; i++) {
        SQZ_TRY(sqz_buffer_status(&emission->lanes[i], err));
        form->lane_nbytes[i] = emission->lanes[i].nbytes;
    }
    SQZ_TRY(sqz_form_write(form, out, err));
    for (size_t i = 0; i < n_lanes; i++) sqz_put_bytes(out, emission->lanes[i].data, emission->lanes[i].nbytes);
    return sqz_buffer_status(out, err);
}

static enum sqz_status emit(struct sqz_tensor_form *form, const struct sqz_symbols *symbols, struct sqz_buffer *out,
                            struct sqz_error *err) {
    size_t n_lanes = form->lanes.n_lanes;
    struct emission emission = {.form = form, .symbols = symbols};
    emission.lanes = sqz_alloc0(n_lanes, sizeof *emission.lanes);
    form->lane_nbytes = sqz_alloc0(n_lanes, sizeof *form->lane_nbytes);
    if (form->layout == SQZ_LAYOUT_GAPS) form->entries = sqz_alloc0(n_lanes, sizeof *form->entries);
    bool short_of_memory = !emission.lanes || !form->lane_nbytes || (form->layout == SQZ_LAYOUT_GAPS && !form->entries);
    enum sqz_status status = short_of_memory ? no_memory(err) : SQZ_OK;
    if (status == SQZ_OK)
        status = code_make(&emission.positions, form->position_lengths, sqz_form_position_symbols(form), err);
    if (status == SQZ_OK) status = code_make(&emission.values, form->value_lengths, sqz_form_value_symbols(form), err);
    if (status == SQZ_OK) {
        sqz_parallel_for(n_lanes, emit_lane, &emission);
        status = write_section(&emission, out, err);
    }
    for (size_t i = 0; emission.lanes && i < n_lanes; i++) sqz_buffer_free(&emission.lanes[i]);
    sqz_free(emission.lanes);
    code_free(&emission.positions);
    code_free(&emission.values);
    return status;
}

/* Copies of what packed owns, so that sqz_form_free() frees the form's own. */
static enum sqz_status copy_floats(const struct sqz_packed *packed, struct sqz_tensor_form *form,
                                   struct sqz_error *err) {
    form->n_steps = packed->n_steps;
    form->codebook = sqz_alloc(packed->n_codebook, sizeof *form->codebook);
    form->steps = sqz_alloc(packed->n_steps, sizeof *form->steps);
    if (!form->codebook || !form->steps) return no_memory(err);
    if (packed->n_codebook) memcpy(form->codebook, packed->codebook, packed->n_codebook * sizeof *form->codebook);
    if (packed->n_steps) memcpy(form->steps, packed->steps, packed->n_steps * sizeof *form->steps);
    return SQZ_OK;
}

static enum sqz_status huffman_section(struct sqz_tensor_form *form, const struct sqz_packed *packed,
                                       const struct sqz_shape *shape, size_t count, struct sqz_buffer *out,
                                       struct sqz_error *err) {
    struct sqz_symbols symbols = {0};
    form->coder = SQZ_STREAM_HUFFMAN;
    form->lanes = sqz_lanes_of(shape, count, form->coder);
    enum sqz_status status = sqz_symbols_of(packed, count, form, &symbols, err);
    if (status == SQZ_OK) status = sqz_form_plan(form, &symbols, shape, err);
    if (status == SQZ_OK) status = emit(form, &symbols, out, err);
    sqz_free(symbols.owned);
    return status;
}

/* What counts as a difference in size: less is not worth the range coder's time, nor overrides a wish for it. */
#define SIZE_MARGIN 0.005

/* What a coding has to beat. */
struct rival {
    size_t nbytes;      /* of the section */
    double first_lanes; /* bytes for each weight in its first lanes */
};

static struct rival rival_of(const struct sqz_tensor_form *form, size_t nbytes) {
    struct rival rival = {.nbytes = nbytes};
    size_t lanes_nbytes = 0, n = form->lanes.n_lanes < SQZ_LANES_GROUP ? form->lanes.n_lanes : SQZ_LANES_GROUP;
    for (size_t i = 0; i < n; i++) lanes_nbytes += form->lane_nbytes[i];
    size_t count = sqz_lane_start(&form->lanes, n);
    /* A single group is compared with all that it costs. */
    if (n == form->lanes.n_lanes) lanes_nbytes = nbytes;
    rival.first_lanes = count ? (double)lanes_nbytes / (double)count : 0;
    return rival;
}

/* Share by which a range-coded section may be larger than its Huffman-coded rival (or must be smaller). */
static double range_margin(enum sqz_coder coder, size_t count) {
    if (coder == SQZ_CODER_RANGE) return SIZE_MARGIN;
    return count > SQZ_LANES_GROUP_COUNT ? -SIZE_MARGIN : 0;
}

/* The storage of `packed`, and copies of its floats. */
static enum sqz_status form_start(struct sqz_tensor_form *form, const struct sqz_packed *packed,
                                  struct sqz_error *err) {
    *form = (struct sqz_tensor_form){0};
    form->storage = packed->kind == SQZ_LEVELS_CODEBOOK ? SQZ_STORAGE_CODEBOOK : SQZ_STORAGE_UNIFORM;
    form->trellis_states = packed->trellis_states;
    return copy_floats(packed, form, err);
}

/* A first lane is taken to stand for the others to within so much. */
#define FIRST_LANE_SLACK 1.0025

/* Append the range-coded section when it beats the rival by the margin; *done says so. */
static enum sqz_status try_range(const struct sqz_packed *packed, const struct sqz_shape *shape, size_t count,
                                 const struct rival *rival, double margin, struct sqz_buffer *out, bool *done,
                                 struct sqz_error *err) {
    struct sqz_tensor_form form;
    struct sqz_buffer section = {0};
    double first_limit = rival->first_lanes * (1 + margin) * FIRST_LANE_SLACK;
    enum sqz_status status = form_start(&form, packed, err);
    if (status == SQZ_OK) status = sqz_range_section(&form, packed, shape, count, first_limit, &section, err);
    *done = status == SQZ_OK && section.nbytes > 0 && (double)section.nbytes < (double)rival->nbytes * (1 + margin);
    if (*done) {
        sqz_put_bytes(out, section.data, section.nbytes);
        status = sqz_buffer_status(out, err);
    }
    sqz_buffer_free(&section);
    sqz_form_free(&form);
    return status;
}

enum sqz_status sqz_tensor_encode(const struct sqz_packed *packed, const struct sqz_shape *shape, size_t count,
                                  enum sqz_coder coder, const char *name, struct sqz_buffer *out,
                                  struct sqz_error *err) {
    SQZ_TRY(sqz_packed_check(packed, shape, name, err));
    struct sqz_buffer huffman = {0};
    struct sqz_tensor_form form;
    bool done = false;
    enum sqz_status status = form_start(&form, packed, err);
    if (status == SQZ_OK) status = huffman_section(&form, packed, shape, count, &huffman, err);
    struct rival rival = {0};
    if (status == SQZ_OK) rival = rival_of(&form, huffman.nbytes);
    sqz_form_free(&form);
    if (status == SQZ_OK && coder != SQZ_CODER_HUFFMAN)
        status = try_range(packed, shape, count, &rival, range_margin(coder, count), out, &done, err);
    if (status == SQZ_OK && !done) {
        sqz_put_bytes(out, huffman.data, huffman.nbytes);
        status = sqz_buffer_status(out, err);
    }
    sqz_buffer_free(&huffman);
    return status;
}
