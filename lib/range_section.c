/* range_section.c - a range-coded section: signed levels, choice of scan and contexts by trial, lanes in parallel. */
#include <string.h>

#include "lib/memory.h"
#include "lib/parallel.h"
#include "lib/tensor_code.h"

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

enum sqz_status sqz_signed_levels_of(const struct sqz_packed *packed, size_t count, struct sqz_signed_levels *out,
                                     struct sqz_error *err) {
    *out = (struct sqz_signed_levels){.levels = packed->levels};
    if (packed->kind == SQZ_LEVELS_UNIFORM) return SQZ_OK;
    out->owned = sqz_alloc(count, sizeof *out->owned);
    if (!out->owned) return no_memory(err);
    for (uint32_t i = 0; i < packed->n_codebook; i++) out->n_negative += packed->codebook[i] < 0;
    const int n_negative = (int)out->n_negative;
    for (size_t i = 0; i < count; i++) {
        int level = packed->levels[i];
        out->owned[i] = (int16_t)(level == 0 ? 0 : level > n_negative ? level - n_negative : level - n_negative - 1);
    }
    out->levels = out->owned;
    return SQZ_OK;
}

void sqz_signed_levels_undo(int16_t *levels, size_t count, uint32_t n_negative) {
    const int n = (int)n_negative;
    for (size_t i = 0; i < count; i++)
        levels[i] = (int16_t)(levels[i] == 0 ? 0 : levels[i] > 0 ? levels[i] + n : levels[i] + n + 1);
}

/* ---- trials --------------------------------------------------------------------------- */

/* Bytes of the first lane with these parameters; it stands for the others. */
static enum sqz_status trial(const struct sqz_tensor_form *form, const struct sqz_range_params *params,
                             const struct sqz_shape *shape, const int16_t *levels, size_t *nbytes,
                             struct sqz_error *err) {
    const struct sqz_lanes *lanes = &form->lanes;
    size_t n_rows = lanes->row ? sqz_lane_count(lanes, 0) / lanes->row : lanes->n_rows;
    struct sqz_range_geometry geometry = sqz_range_geometry_of(shape, n_rows, lanes->row, params->scan);
    struct sqz_buffer bytes = {0};
    enum sqz_status status = sqz_range_encode_rows(params, &geometry, levels, &bytes, NULL, err);
    *nbytes = bytes.nbytes;
    sqz_buffer_free(&bytes);
    return status;
}

/* First the scan, then with the better one the detail of the contexts. *best is the size of the first lane. */
static enum sqz_status choose(struct sqz_tensor_form *form, const struct sqz_shape *shape, const int16_t *levels,
                              size_t *best, struct sqz_error *err) {
    static const struct {
        enum sqz_range_scan scan;
        enum sqz_range_detail detail;
        bool best_scan;
    } trials[] = {
        {SQZ_SCAN_BY_OUTPUT, SQZ_DETAIL_FULL, false},
        {SQZ_SCAN_BY_INPUT, SQZ_DETAIL_FULL, false},
        {SQZ_SCAN_BY_OUTPUT, SQZ_DETAIL_HALF, true},
        {SQZ_SCAN_BY_OUTPUT, SQZ_DETAIL_NONE, true},
    };
    *best = SIZE_MAX;
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        struct sqz_range_params params = form->range;
        size_t nbytes;
        if (trials[i].scan == SQZ_SCAN_BY_INPUT && form->range.trellis_states) continue;
        if (!trials[i].best_scan) params.scan = trials[i].scan;
        params.detail = trials[i].detail;
        SQZ_TRY(trial(form, &params, shape, levels, &nbytes, err));
        if (nbytes >= *best) continue;
        *best = nbytes;
        form->range = params;
    }
    return SQZ_OK;
}

/* ---- lanes ------------------------------------------------------------------------------ */

struct emission {
    const struct sqz_tensor_form *form;
    const struct sqz_shape *shape;
    const int16_t *levels;
    struct sqz_buffer *lanes; /* [n_lanes] */
};

static void emit_lane(void *context, size_t lane, int thread) {
    (void)thread;
    struct emission *emission = context;
    const struct sqz_lanes *lanes = &emission->form->lanes;
    size_t n_rows = lanes->row ? sqz_lane_count(lanes, lane) / lanes->row : lanes->n_rows;
    struct sqz_range_geometry geometry =
        sqz_range_geometry_of(emission->shape, n_rows, lanes->row, emission->form->range.scan);
    const int16_t *levels = emission->levels + sqz_lane_start(lanes, lane);
    struct sqz_buffer *out = &emission->lanes[lane];
    if (sqz_range_encode_rows(&emission->form->range, &geometry, levels, out, NULL, NULL) != SQZ_OK) out->failed = true;
}

static enum sqz_status write_lanes(struct emission *emission, struct sqz_tensor_form *form, struct sqz_buffer *out,
                                   struct sqz_error *err) {
    size_t n = form->lanes.n_lanes;
    for (size_t i = 0; i < n; i++) {
        SQZ_TRY(sqz_buffer_status(&emission->lanes[i], err));
        form->lane_nbytes[i] = emission->lanes[i].nbytes;
    }
    SQZ_TRY(sqz_form_write(form, out, err));
    for (size_t i = 0; i < n; i++) sqz_put_bytes(out, emission->lanes[i].data, emission->lanes[i].nbytes);
    return sqz_buffer_status(out, err);
}

enum sqz_status sqz_range_section(struct sqz_tensor_form *form, const struct sqz_packed *packed,
                                  const struct sqz_shape *shape, size_t count, double limit, struct sqz_buffer *out,
                                  struct sqz_error *err) {
    struct sqz_signed_levels levels;
    form->coder = SQZ_STREAM_RANGE;
    form->layout = SQZ_LAYOUT_DENSE;
    form->lanes = sqz_lanes_of(shape, count, form->coder);
    form->n_values = packed->n_codebook;
    SQZ_TRY(sqz_signed_levels_of(packed, count, &levels, err));
    form->range.trellis_states = packed->trellis_states;
    sqz_range_params_of(&form->range, levels.levels, count);
    if (packed->kind == SQZ_LEVELS_CODEBOOK) {
        /* As a reader will find them, from the codebook. */
        form->range.max_negative = levels.n_negative;
        form->range.max_positive = packed->n_codebook - levels.n_negative;
    }
    size_t n_lanes = form->lanes.n_lanes;
    struct emission emission = {.form = form, .shape = shape, .levels = levels.levels};
    emission.lanes = sqz_alloc0(n_lanes, sizeof *emission.lanes);
    form->lane_nbytes = sqz_alloc0(n_lanes, sizeof *form->lane_nbytes);
    enum sqz_status status = emission.lanes && form->lane_nbytes ? SQZ_OK : no_memory(err);
    size_t first_nbytes = 0;
    if (status == SQZ_OK) status = choose(form, shape, levels.levels, &first_nbytes, err);
    if (status == SQZ_OK && (double)first_nbytes < limit * (double)sqz_lane_count(&form->lanes, 0)) {
        sqz_parallel_for(n_lanes, emit_lane, &emission);
        status = write_lanes(&emission, form, out, err);
    }
    for (size_t i = 0; emission.lanes && i < n_lanes; i++) sqz_buffer_free(&emission.lanes[i]);
    sqz_free(emission.lanes);
    sqz_free(levels.owned);
    return status;
}
