/* container_ledger.c - where the bytes of a .sqz file go, and the columns of the Deep Compression paper's Table 4. */
#include <math.h>
#include <string.h>

#include "lib/container_file.h"
#include "lib/memory.h"
#include "lib/tensor_code.h"

/* Bits of the streams of one tensor, by kind. */
struct stream_bits {
    uint64_t positions, values; /* coded */
    double entropy;             /* order-0 bound of both */
    uint64_t n_positions;       /* symbols: bitmap words or gap entries */
};

static double entropy_bits(const uint64_t *counts, size_t n) {
    double total = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (!counts[i]) continue;
        total += (double)counts[i];
        sum += (double)counts[i] * log2((double)counts[i]);
    }
    return total > 0 ? total * log2(total) - sum : 0;
}

static enum sqz_status count_streams(const struct sqz_tensor_form *form, const struct sqz_symbols *symbols,
                                     struct stream_bits *bits, struct sqz_error *err) {
    struct sqz_tensor_form single = *form;
    single.tuple = 1;
    size_t n_positions = sqz_form_position_symbols(form), n_values = sqz_form_value_symbols(form);
    size_t base = sqz_form_base(form);
    uint64_t *positions = sqz_alloc(n_positions, sizeof *positions);
    uint64_t *values = sqz_alloc(n_values, sizeof *values);
    enum sqz_status status = SQZ_OK;
    if (!positions || !values) status = sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    if (status == SQZ_OK) status = sqz_form_histograms(form, symbols, positions, values, err);
    if (status == SQZ_OK) {
        bits->positions = sqz_huffman_cost(positions, form->position_lengths, n_positions);
        bits->values = sqz_huffman_cost(values, form->value_lengths, n_values);
        for (size_t i = 0; i < n_positions; i++) bits->n_positions += positions[i];
        status = sqz_form_histograms(&single, symbols, positions, values, err);
    }
    if (status == SQZ_OK) bits->entropy = entropy_bits(positions, n_positions) + entropy_bits(values, base);
    sqz_free(positions);
    sqz_free(values);
    return status;
}

/* A range-coded tensor: zero flags are its positions, and the bound is the entropy of its levels. */
static enum sqz_status count_range_streams(const struct sqz_tensor_form *form, const struct sqz_symbols *symbols,
                                           const struct sqz_weight *weight, struct stream_bits *bits,
                                           struct sqz_error *err) {
    struct sqz_signed_levels levels;
    const struct sqz_lanes *lanes = &form->lanes;
    double flags = 0;
    uint64_t total = 0;
    SQZ_TRY(sqz_signed_levels_of(weight->packed, weight->count, &levels, err));
    enum sqz_status status = SQZ_OK;
    for (size_t i = 0; status == SQZ_OK && i < lanes->n_lanes; i++) {
        size_t n_rows = lanes->row ? sqz_lane_count(lanes, i) / lanes->row : lanes->n_rows;
        struct sqz_range_geometry geometry =
            sqz_range_geometry_of(&weight->shape, n_rows, lanes->row, form->range.scan);
        struct sqz_buffer bytes = {0};
        status = sqz_range_encode_rows(&form->range, &geometry, levels.levels + sqz_lane_start(lanes, i), &bytes,
                                       &flags, err);
        total += 8 * (uint64_t)bytes.nbytes;
        sqz_buffer_free(&bytes);
    }
    sqz_free(levels.owned);
    if (status != SQZ_OK) return status;
    bits->positions = (uint64_t)flags < total ? (uint64_t)flags : total;
    bits->values = total - bits->positions;
    uint64_t *counts = sqz_alloc0(2 * SQZ_MAX_LEVEL + 1, sizeof *counts);
    if (!counts) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (size_t i = 0; i < symbols->count; i++) counts[symbols->symbols[i]]++;
    bits->entropy = entropy_bits(counts, 2 * SQZ_MAX_LEVEL + 1);
    sqz_free(counts);
    return SQZ_OK;
}

static double per_survivor(double n_bits, size_t nonzero) {
    return nonzero ? n_bits / (double)nonzero : 0;
}

static void fill_stats(const struct sqz_tensor_form *form, size_t n_values, const struct stream_bits *bits,
                       struct sqz_tensor_stats *stats) {
    static const char *const layouts[] = {"dense", "bitmap", "gaps"};
    stats->layout = layouts[form->layout];
    stats->coder = form->coder == SQZ_STREAM_RANGE ? "range" : "huffman";
    stats->weight_bits = n_values ? ceil(log2((double)n_values)) : 0;
    stats->weight_bits_coded = per_survivor((double)bits->values, stats->nonzero);
    double index_bits = 0;
    if (form->layout == SQZ_LAYOUT_GAPS) index_bits = (double)bits->n_positions * form->width;
    bool has_flags = form->coder == SQZ_STREAM_RANGE && form->range.has_zero;
    if (form->layout == SQZ_LAYOUT_BITMAP || has_flags) index_bits = (double)stats->count;
    stats->index_bits = per_survivor(index_bits, stats->nonzero);
    stats->index_bits_coded = per_survivor((double)bits->positions, stats->nonzero);
    stats->entropy_nbits = bits->entropy;
    stats->stream_nbits = (size_t)(bits->positions + bits->values);
}

static enum sqz_status count_packed(const struct sqz_weight *weight, const struct sqz_section *section,
                                    struct sqz_ledger *ledger, struct sqz_tensor_stats *stats, struct sqz_error *err) {
    struct sqz_tensor_form form, mapped = {0};
    struct sqz_symbols symbols = {0};
    struct stream_bits bits = {0};
    struct sqz_reader in = sqz_reader_make(section->data, section->nbytes);
    enum sqz_status status = sqz_form_read(&form, &in, &weight->shape, weight->count, weight->name, err);
    if (status == SQZ_OK) status = sqz_packed_check(weight->packed, &weight->shape, weight->name, err);
    if (status == SQZ_OK) status = sqz_symbols_of(weight->packed, weight->count, &mapped, &symbols, err);
    bool is_range = form.coder == SQZ_STREAM_RANGE;
    bool other_trellis = form.trellis_states != weight->packed->trellis_states;
    bool more_values = mapped.n_values > form.n_values && !(is_range && form.storage == SQZ_STORAGE_UNIFORM);
    if (status == SQZ_OK && (other_trellis || more_values))
        status = sqz_fail(err, SQZ_ARGUMENT, "weight %s is not the one in the file", weight->name);
    if (status == SQZ_OK)
        status = is_range ? count_range_streams(&form, &symbols, weight, &bits, err)
                          : count_streams(&form, &symbols, &bits, err);
    if (status == SQZ_OK) {
        size_t streams = sqz_reader_left(&in), side = section->nbytes - streams;
        size_t codebook = sqz_bit_bytes(form.codebook_nbits);
        size_t positions = (size_t)((bits.positions + 4) / 8);
        if (positions > streams) positions = streams;
        if (weight->role == SQZ_ROLE_KERNEL) {
            ledger->codebook_nbytes += codebook;
            ledger->table_nbytes += side - codebook;
            ledger->position_nbytes += positions;
            ledger->value_nbytes += streams - positions;
        } else {
            ledger->bias_nbytes += section->nbytes;
        }
        stats->nonzero = sqz_packed_nonzero(weight->packed);
        fill_stats(&form, mapped.n_values, &bits, stats);
    }
    sqz_free(symbols.owned);
    sqz_form_free(&mapped);
    sqz_form_free(&form);
    return status;
}

static void count_floats(const struct sqz_weight *weight, const struct sqz_section *section, struct sqz_ledger *ledger,
                         struct sqz_tensor_stats *stats) {
    bool half = section->data[0] == SQZ_STORAGE_FLOAT16;
    *(weight->role == SQZ_ROLE_KERNEL ? &ledger->float_nbytes : &ledger->bias_nbytes) += section->nbytes;
    stats->layout = half ? "float16" : "float32";
    stats->coder = "raw";
    for (size_t i = 0; weight->data && i < weight->count; i++) stats->nonzero += weight->data[i] != 0;
    stats->weight_bits = stats->weight_bits_coded = half ? 16 : 32;
    stats->stream_nbits = 8 * (section->nbytes - 1);
    stats->entropy_nbits = (double)stats->stream_nbits;
}

enum sqz_status sqz_container_ledger(const void *data, size_t nbytes, const struct sqz_model *model,
                                     struct sqz_ledger *ledger, struct sqz_tensor_stats *stats, struct sqz_error *err) {
    *ledger = (struct sqz_ledger){0};
    struct sqz_container_file file;
    enum sqz_status status = sqz_container_file_open(&file, data, nbytes, err);
    if (status == SQZ_OK && file.n_sections != model->n_weights)
        status =
            sqz_fail(err, SQZ_ARGUMENT, "the file has %zu tensors, the model %zu", file.n_sections, model->n_weights);
    size_t sections = 0;
    for (size_t i = 0; status == SQZ_OK && i < file.n_sections; i++) {
        const struct sqz_section *section = &file.sections[i];
        const struct sqz_weight *weight = &model->weights[i];
        stats[i] = (struct sqz_tensor_stats){.layer = sqz_model_layer_name(model, i),
                                             .name = weight->name,
                                             .count = weight->count,
                                             .section_nbytes = section->nbytes};
        sections += section->nbytes;
        bool is_float = section->nbytes && section->data[0] <= SQZ_STORAGE_FLOAT16;
        if (is_float != !weight->packed)
            status = sqz_fail(err, SQZ_ARGUMENT, "weight %s is not the one in the file", weight->name);
        else if (is_float)
            count_floats(weight, section, ledger, &stats[i]);
        else
            status = count_packed(weight, section, ledger, &stats[i], err);
    }
    ledger->graph_nbytes = file.deflated_nbytes;
    ledger->header_nbytes = nbytes - sections - file.deflated_nbytes;
    sqz_container_file_close(&file);
    return status;
}
