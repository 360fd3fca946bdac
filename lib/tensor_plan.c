/* tensor_plan.c - choice of layout, widths and Huffman tables for one tensor: the fewest bytes win. */
#include <math.h>
#include <string.h>

#include "lib/gaps.h"
#include "lib/memory.h"
#include "lib/side_code.h"
#include "lib/tensor_code.h"
#include "lib/trellis.h"

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* ---- symbols and tokens --------------------------------------------------------- */

/* What is coded for a uniform level. */
static int coded_level(const struct sqz_packed *packed, size_t i) {
    return packed->trellis_states ? sqz_trellis_index(packed->levels[i]) : packed->levels[i];
}

/* The levels (or indices) in use, ascending, and the symbol of each. */
static enum sqz_status map_uniform(const struct sqz_packed *packed, size_t count, struct sqz_tensor_form *form,
                                   uint16_t *symbols, struct sqz_error *err) {
    uint16_t map[2 * SQZ_MAX_LEVEL + 1] = {0};
    for (size_t i = 0; i < count; i++) map[coded_level(packed, i) + SQZ_MAX_LEVEL] = 1;
    map[SQZ_MAX_LEVEL] = 0;
    for (size_t i = 0; i < sizeof map / sizeof *map; i++) form->n_values += map[i];
    form->values = sqz_alloc(form->n_values, sizeof *form->values);
    if (!form->values) return no_memory(err);
    uint16_t symbol = 0;
    for (int level = -SQZ_MAX_LEVEL; level <= SQZ_MAX_LEVEL; level++) {
        if (!map[level + SQZ_MAX_LEVEL]) continue;
        form->values[symbol++] = (int16_t)level;
        map[level + SQZ_MAX_LEVEL] = symbol;
    }
    for (size_t i = 0; i < count; i++) symbols[i] = map[coded_level(packed, i) + SQZ_MAX_LEVEL];
    return SQZ_OK;
}

enum sqz_status sqz_symbols_of(const struct sqz_packed *packed, size_t count, struct sqz_tensor_form *form,
                               struct sqz_symbols *symbols, struct sqz_error *err) {
    *symbols = (struct sqz_symbols){.count = count};
    if (packed->kind == SQZ_LEVELS_CODEBOOK) {
        symbols->symbols = (const uint16_t *)packed->levels; /* none is negative */
        form->n_values = packed->n_codebook;
        return SQZ_OK;
    }
    symbols->owned = sqz_alloc(count, sizeof *symbols->owned);
    if (!symbols->owned) return no_memory(err);
    symbols->symbols = symbols->owned;
    return map_uniform(packed, count, form, symbols->owned, err);
}

enum sqz_status sqz_tokens_alloc(struct sqz_tokens *tokens, const struct sqz_lanes *lanes, struct sqz_error *err) {
    size_t capacity = sqz_lane_capacity(lanes);
    *tokens = (struct sqz_tokens){.positions = sqz_alloc(capacity, sizeof *tokens->positions),
                                  /* splitting a bitmap stores one value ahead */
                                  .values = sqz_alloc(capacity + 1, sizeof *tokens->values)};
    if (tokens->positions && tokens->values) return SQZ_OK;
    sqz_tokens_free(tokens);
    return no_memory(err);
}

void sqz_tokens_free(struct sqz_tokens *tokens) {
    sqz_free(tokens->positions);
    sqz_free(tokens->values);
    *tokens = (struct sqz_tokens){0};
}

enum sqz_status sqz_form_histograms(const struct sqz_tensor_form *form, const struct sqz_symbols *symbols,
                                    uint64_t *positions, uint64_t *values, struct sqz_error *err) {
    struct sqz_tokens tokens;
    SQZ_TRY(sqz_tokens_alloc(&tokens, &form->lanes, err));
    memset(positions, 0, sqz_form_position_symbols(form) * sizeof *positions);
    memset(values, 0, sqz_form_value_symbols(form) * sizeof *values);
    for (size_t lane = 0; lane < form->lanes.n_lanes; lane++) {
        const uint16_t *from = symbols->symbols + sqz_lane_start(&form->lanes, lane);
        sqz_layout_split(form->layout, form->width, from, sqz_lane_count(&form->lanes, lane), &tokens);
        size_t n = sqz_tuple_pack(tokens.values, tokens.n_values, (unsigned)sqz_form_base(form), form->tuple);
        for (size_t i = 0; i < tokens.n_positions; i++) positions[tokens.positions[i]]++;
        for (size_t i = 0; i < n; i++) values[tokens.values[i]]++;
    }
    sqz_tokens_free(&tokens);
    return SQZ_OK;
}

/* ---- prices ------------------------------------------------------------------------ */

struct table {
    uint8_t *lengths; /* [n] */
    uint64_t n_bits;  /* of the coded symbols and of the table itself */
};

/* Order-0 entropy of counts[n] in bits. */
static double entropy_bits(const uint64_t *counts, size_t n) {
    double total = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (!counts[i]) continue;
        total += (double)counts[i];
        sum += (double)counts[i] * log2((double)counts[i]);
    }
    return total > 0 ? total * log2(total) - sum : 0;
}

/* Bits of the side information for these lengths, priced on their own. */
static enum sqz_status price_lengths(const uint8_t *lengths, size_t n, uint64_t *n_bits, struct sqz_error *err) {
    struct sqz_buffer bytes = {0};
    struct sqz_range_encoder encoder;
    struct sqz_side_coder side;
    sqz_side_writer_start(&side, &encoder, &bytes);
    uint8_t *writable = (uint8_t *)(uintptr_t)lengths; /* a writer does not change them */
    sqz_side_lengths(&side, writable, n);
    sqz_range_encoder_finish(&encoder);
    enum sqz_status status = sqz_buffer_status(&bytes, err);
    *n_bits = 8 * (uint64_t)bytes.nbytes;
    sqz_buffer_free(&bytes);
    return status;
}

/* Lengths for `shape` (a histogram with the same symbols in use), priced for counts[n]. */
static enum sqz_status price_table(const uint64_t *counts, const uint64_t *shape, size_t n, uint8_t *lengths,
                                   uint64_t *n_bits, struct sqz_error *err) {
    size_t n_used = 0;
    for (size_t i = 0; i < n; i++) n_used += counts[i] != 0;
    SQZ_TRY(sqz_huffman_lengths(shape, n, sqz_huffman_limit(n_used), lengths, err));
    SQZ_TRY(price_lengths(lengths, n, n_bits, err));
    *n_bits += sqz_huffman_cost(counts, lengths, n);
    return SQZ_OK;
}

/* Each count is mixed with those beside it; symbols that do not occur stay so. */
static void smooth(const uint64_t *from, size_t n, uint64_t *to) {
    for (size_t i = 0; i < n; i++) {
        uint64_t below = i > 0 && from[i - 1] ? from[i - 1] : from[i];
        uint64_t above = i + 1 < n && from[i + 1] ? from[i + 1] : from[i];
        to[i] = from[i] ? below + 2 * from[i] + above : 0;
    }
}

/*
 * Symbols in order of value have smooth histograms, and a table made from a
 * smoothed one takes fewer bits than it loses on the symbols, as long as the
 * tensor is small. Each round widens the window; after three nothing more is won.
 */
#define SMOOTHING_ROUNDS 3
/* Not where the code would then take more than 1% above the entropy. */
#define SMOOTHING_MAX_LOSS 1.01

static enum sqz_status try_smoothed(const uint64_t *counts, size_t n, struct table *table, struct sqz_error *err) {
    uint64_t *shapes = sqz_alloc(2 * n, sizeof *shapes);
    uint8_t *lengths = sqz_alloc(n, 1);
    enum sqz_status status = shapes && lengths ? SQZ_OK : no_memory(err);
    const uint64_t *from = counts;
    const double most = SMOOTHING_MAX_LOSS * entropy_bits(counts, n);
    for (unsigned round = 0; status == SQZ_OK && round < SMOOTHING_ROUNDS; round++) {
        uint64_t *to = shapes + round % 2 * n, n_bits;
        smooth(from, n, to);
        from = to;
        status = price_table(counts, to, n, lengths, &n_bits, err);
        if (status != SQZ_OK || n_bits >= table->n_bits || (double)sqz_huffman_cost(counts, lengths, n) > most)
            continue;
        memcpy(table->lengths, lengths, n);
        table->n_bits = n_bits;
    }
    sqz_free(shapes);
    sqz_free(lengths);
    return status;
}

/* The cheapest table for counts[n]; table->lengths is allocated. */
static enum sqz_status make_table(const uint64_t *counts, size_t n, struct table *table, struct sqz_error *err) {
    *table = (struct table){.lengths = sqz_alloc(n, 1)};
    if (!table->lengths) return no_memory(err);
    enum sqz_status status = price_table(counts, counts, n, table->lengths, &table->n_bits, err);
    if (status == SQZ_OK) status = try_smoothed(counts, n, table, err);
    if (status == SQZ_OK) return SQZ_OK;
    sqz_free(table->lengths);
    table->lengths = NULL;
    return status;
}

/* ---- candidates -------------------------------------------------------------------- */

/* One way to code the tensor. Only layout, width, tuple and the two tables of `form` belong to it. */
struct candidate {
    enum sqz_layout layout;
    unsigned width, tuple;
    struct table positions, values;
};

struct plan {
    const struct sqz_tensor_form *form;
    const struct sqz_symbols *symbols;
    uint64_t *symbol_counts; /* [n_values + 1] */
    uint64_t *scratch;       /* counts of any stream */
    struct candidate best;
    uint64_t best_bits;
};

static void candidate_free(struct candidate *candidate) {
    sqz_free(candidate->positions.lengths);
    sqz_free(candidate->values.lengths);
    *candidate = (struct candidate){0};
}

/* Keep the cheaper of the best and this one, which is consumed. */
static void offer(struct plan *plan, struct candidate *candidate) {
    uint64_t n_bits = candidate->positions.n_bits + candidate->values.n_bits;
    if (plan->best.values.lengths && plan->best_bits <= n_bits) {
        candidate_free(candidate);
        return;
    }
    candidate_free(&plan->best);
    plan->best = *candidate;
    plan->best_bits = n_bits;
    *candidate = (struct candidate){0};
}

static struct sqz_tensor_form form_of(const struct plan *plan, const struct candidate *candidate) {
    struct sqz_tensor_form form = *plan->form;
    form.layout = candidate->layout;
    form.width = candidate->width;
    form.tuple = candidate->tuple;
    return form;
}

/* Above a loss of 0.5% against the entropy, longer tuples are tried: what is left below is not worth a larger table. */
#define TUPLE_WORTHWHILE 1.005

/* Replace the candidate's value table by that of the next longer tuple if that is cheaper; *longer says so. */
static enum sqz_status lengthen_tuple(struct plan *plan, struct candidate *candidate, bool *longer,
                                      struct sqz_error *err) {
    *longer = false;
    struct sqz_tensor_form form = form_of(plan, candidate);
    form.tuple++;
    size_t n = form.tuple <= SQZ_TUPLE_MAX ? sqz_form_value_symbols(&form) : 0;
    if (n == 0) return SQZ_OK;
    uint64_t *position_counts = plan->scratch, *value_counts = plan->scratch + SQZ_TUPLE_MAX_SYMBOLS;
    struct table table;
    SQZ_TRY(sqz_form_histograms(&form, plan->symbols, position_counts, value_counts, err));
    SQZ_TRY(make_table(value_counts, n, &table, err));
    if (table.n_bits >= candidate->values.n_bits) {
        sqz_free(table.lengths);
        return SQZ_OK;
    }
    sqz_free(candidate->values.lengths);
    candidate->values = table;
    candidate->tuple = form.tuple;
    *longer = true;
    return SQZ_OK;
}

/*
 * Complete and offer a candidate whose position table is made and whose values, one at a
 * time, have these counts; with tuples as long as they get cheaper. Consumes the candidate.
 */
static enum sqz_status offer_with_tuples(struct plan *plan, struct candidate *candidate, const uint64_t *counts,
                                         struct sqz_error *err) {
    struct sqz_tensor_form form = form_of(plan, candidate);
    size_t base = sqz_form_base(&form);
    enum sqz_status status = make_table(counts, base, &candidate->values, err);
    bool longer = false;
    if (status == SQZ_OK) {
        double n_bits = (double)sqz_huffman_cost(counts, candidate->values.lengths, base);
        longer = n_bits > entropy_bits(counts, base) * TUPLE_WORTHWHILE;
    }
    while (status == SQZ_OK && longer) status = lengthen_tuple(plan, candidate, &longer, err);
    if (status == SQZ_OK)
        offer(plan, candidate);
    else
        candidate_free(candidate);
    return status;
}

static enum sqz_status try_dense(struct plan *plan, struct sqz_error *err) {
    struct candidate candidate = {.layout = SQZ_LAYOUT_DENSE, .tuple = 1};
    return offer_with_tuples(plan, &candidate, plan->symbol_counts, err);
}

static enum sqz_status try_bitmap(struct plan *plan, unsigned width, struct sqz_error *err) {
    struct candidate candidate = {.layout = SQZ_LAYOUT_BITMAP, .width = width, .tuple = 1};
    uint64_t *counts = plan->scratch;
    memset(counts, 0, sizeof *counts << width);
    const struct sqz_lanes *lanes = &plan->form->lanes;
    for (size_t lane = 0; lane < lanes->n_lanes; lane++) {
        const uint16_t *symbols = plan->symbols->symbols + sqz_lane_start(lanes, lane);
        size_t n = sqz_lane_count(lanes, lane);
        for (size_t i = 0; i < n; i += width) {
            unsigned word = 0;
            for (unsigned j = 0; j < width && i + j < n; j++) word |= (unsigned)(symbols[i + j] != 0) << j;
            counts[word]++;
        }
    }
    SQZ_TRY(make_table(counts, (size_t)1 << width, &candidate.positions, err));
    return offer_with_tuples(plan, &candidate, plan->symbol_counts + 1, err);
}

/* The width whose fields and fillers take the fewest bits, by entropy and a price for each symbol of the table. */
static unsigned best_gap_width(struct plan *plan, const struct sqz_gap_runs *runs) {
    const double bits_of_table_symbol = 2; /* measured on the tables of SqueezeNet's layers: 1.5 to 2.5 */
    uint64_t *counts = plan->scratch, zeros = plan->symbol_counts[0];
    size_t n_symbols = plan->form->n_values + 1;
    unsigned best = 1;
    double best_bits = INFINITY;
    for (unsigned width = 1; width <= SQZ_GAPS_MAX_WIDTH; width++) {
        plan->symbol_counts[0] = sqz_gap_runs_fields(runs, width, counts);
        size_t n_used = 0;
        for (size_t i = 0; i < (size_t)1 << width; i++) n_used += counts[i] != 0;
        double bits = entropy_bits(counts, (size_t)1 << width) + entropy_bits(plan->symbol_counts, n_symbols) +
                      bits_of_table_symbol * (double)n_used;
        if (bits < best_bits) {
            best_bits = bits;
            best = width;
        }
    }
    plan->symbol_counts[0] = zeros;
    return best;
}

static enum sqz_status try_gaps(struct plan *plan, struct sqz_error *err) {
    struct sqz_gap_runs runs = {0};
    const struct sqz_lanes *lanes = &plan->form->lanes;
    enum sqz_status status = SQZ_OK;
    for (size_t lane = 0; status == SQZ_OK && lane < lanes->n_lanes; lane++)
        status = sqz_gap_runs_add(&runs, plan->symbols->symbols + sqz_lane_start(lanes, lane),
                                  sqz_lane_count(lanes, lane), err);
    if (status == SQZ_OK) {
        struct candidate candidate = {.layout = SQZ_LAYOUT_GAPS, .width = best_gap_width(plan, &runs), .tuple = 1};
        uint64_t zeros = plan->symbol_counts[0];
        plan->symbol_counts[0] = sqz_gap_runs_fields(&runs, candidate.width, plan->scratch);
        status = make_table(plan->scratch, (size_t)1 << candidate.width, &candidate.positions, err);
        if (status == SQZ_OK) status = offer_with_tuples(plan, &candidate, plan->symbol_counts, err);
        plan->symbol_counts[0] = zeros;
    }
    sqz_gap_runs_free(&runs);
    return status;
}

/* Weights of one kernel window, when a bitmap word can hold them: zeros cluster in windows. */
static unsigned window_width(const struct sqz_shape *shape) {
    if (shape->rank != 4 || shape->dim[2] > SQZ_LAYOUT_MAX_WIDTH || shape->dim[3] > SQZ_LAYOUT_MAX_WIDTH) return 0;
    uint64_t area = shape->dim[2] * shape->dim[3];
    return area > 1 && area <= SQZ_LAYOUT_MAX_WIDTH ? (unsigned)area : 0;
}

static enum sqz_status try_all(struct plan *plan, const struct sqz_shape *shape, struct sqz_error *err) {
    SQZ_TRY(try_dense(plan, err));
    if (plan->symbol_counts[0] == 0) return SQZ_OK; /* positions would only add to it */
    SQZ_TRY(try_bitmap(plan, 8, err));
    unsigned window = window_width(shape);
    if (window && window != 8) SQZ_TRY(try_bitmap(plan, window, err));
    return try_gaps(plan, err);
}

enum sqz_status sqz_form_plan(struct sqz_tensor_form *form, const struct sqz_symbols *symbols,
                              const struct sqz_shape *shape, struct sqz_error *err) {
    struct plan plan = {.form = form, .symbols = symbols};
    plan.symbol_counts = sqz_alloc0(form->n_values + 1 + 1, sizeof *plan.symbol_counts);
    plan.scratch = sqz_alloc(SQZ_TUPLE_MAX_SYMBOLS + SQZ_HUFFMAN_MAX_SYMBOLS, sizeof *plan.scratch);
    enum sqz_status status = plan.symbol_counts && plan.scratch ? SQZ_OK : no_memory(err);
    if (status == SQZ_OK) {
        for (size_t i = 0; i < symbols->count; i++) plan.symbol_counts[symbols->symbols[i]]++;
        status = try_all(&plan, shape, err);
    }
    if (status == SQZ_OK) {
        form->layout = plan.best.layout;
        form->width = plan.best.width;
        form->tuple = plan.best.tuple;
        form->position_lengths = plan.best.positions.lengths;
        form->value_lengths = plan.best.values.lengths;
    } else {
        candidate_free(&plan.best);
    }
    sqz_free(plan.symbol_counts);
    sqz_free(plan.scratch);
    return status;
}
