/* compensate_codebook.c - weight sharing with compensation: centroids, rounding to them, and centroids again. */
#include <string.h>

#include "lib/compensate_codebook_fit.h"
#include "lib/memory.h"

/* Rounds of rounding and refitting: the second lowers the error by about 1%, the third by less, a fourth by nothing. */
#define DEFAULT_PASSES 3

static enum sqz_status check_options(const struct sqz_codebook_options *options, struct sqz_error *err) {
    if (options->bits < 1 || options->bits > SQZ_MAX_BITS)
        return sqz_fail(err, SQZ_ARGUMENT, "%u bits of a codebook are outside 1..%d", options->bits, SQZ_MAX_BITS);
    if (!(options->lambda >= 0) || !isfinite(options->lambda))
        return sqz_fail(err, SQZ_ARGUMENT, "lambda %g is not a number of at least 0", options->lambda);
    return SQZ_OK;
}

/* Bits of each level from how often it occurs, one half added to every count. */
static void price_levels(const int16_t *levels, size_t n, uint32_t n_values, float *nbits) {
    double counts[SQZ_MAX_CODEBOOK + 1], total = 0;
    for (uint32_t i = 0; i <= n_values; i++) counts[i] = 0.5;
    for (size_t i = 0; i < n; i++) counts[levels[i]]++;
    for (uint32_t i = 0; i <= n_values; i++) total += counts[i];
    for (uint32_t i = 0; i <= n_values; i++) nbits[i] = (float)log2(total / counts[i]);
}

/* Rounding, prices and refitting in turn; ends with levels and the centroids that fit them. */
static enum sqz_status fit_levels(const struct sqz_compensator *compensator, const struct sqz_codebook_options *options,
                                  double lambda, struct centroids *centroids, int16_t *levels, float *values,
                                  struct sqz_error *err) {
    size_t count = compensator->rows * compensator->n_inputs;
    float nbits[SQZ_MAX_CODEBOOK + 1] = {0};
    struct level_grid grid = {.values = centroids->values,
                              .n_values = centroids->n,
                              .zero = options->prune,
                              .free_rate = true,
                              .lambda = lambda,
                              .value_nbits = nbits};
    bool affordable = sqz_sweeps_affordable(compensator);
    uint32_t passes = options->passes > 0 ? options->passes : DEFAULT_PASSES;
    uint32_t sweeps = options->sweeps > 0 ? options->sweeps : SQZ_DEFAULT_SWEEPS;
    for (uint32_t pass = 0; pass < passes; pass++) {
        SQZ_TRY(sqz_compensate_round(compensator, &grid, levels, err));
        /* Coordinate descent finds the levels that suit the moved centroids without losing what GPTQ has found. */
        if (pass + 1 == passes && affordable && !options->no_sweeps)
            SQZ_TRY(sqz_compensate_sweep(compensator, &grid, sweeps, levels, err));
        if (affordable) SQZ_TRY(sqz_centroids_refit(compensator, levels, centroids, values, err));
        price_levels(levels, count, centroids->n, nbits);
        grid.free_rate = lambda == 0;
    }
    return SQZ_OK;
}

static enum sqz_status pack(const struct centroids *centroids, int16_t *levels, size_t count, struct sqz_packed **out,
                            struct sqz_error *err) {
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    float *codebook = sqz_alloc(centroids->n ? centroids->n : 1, sizeof *codebook);
    if (!packed || !codebook) {
        sqz_free(packed);
        sqz_free(codebook);
        sqz_free(levels);
        return sqz_compensate_no_memory(err);
    }
    memcpy(codebook, centroids->values, centroids->n * sizeof *codebook);
    *packed = (struct sqz_packed){.kind = SQZ_LEVELS_CODEBOOK,
                                  .n_levels = count,
                                  .levels = levels,
                                  .n_codebook = centroids->n,
                                  .codebook = codebook};
    sqz_codebook_drop_unused(packed);
    *out = packed;
    return SQZ_OK;
}

/* W to the nearest centroid, without compensation. */
static void plain_values(const struct sqz_compensator *compensator, const struct centroids *centroids, bool zero,
                         float *values) {
    const struct level_grid grid = {
        .values = centroids->values, .n_values = centroids->n, .zero = zero, .free_rate = true};
    size_t count = compensator->rows * compensator->n_inputs;
    for (size_t i = 0; i < count; i++) {
        float w = compensator->weights[i];
        values[i] =
            w == 0 && compensator->keep_zeros ? 0 : sqz_grid_value(&grid, 0, sqz_grid_choose(&grid, 0, (double)w, 1));
    }
}

static enum sqz_status compensate(const struct sqz_compensator *compensator, const struct sqz_codebook_options *options,
                                  float *plain, struct sqz_compensated *out, struct sqz_error *err) {
    size_t count = compensator->rows * compensator->n_inputs;
    struct centroids centroids;
    SQZ_TRY(sqz_centroids_fit(compensator, (uint32_t)1 << options->bits, options->prune, &centroids, err));
    plain_values(compensator, &centroids, options->prune, plain);
    /* A uniform quantiser's mean squared error is step^2 / 12. */
    double lambda = options->lambda * 12 * centroids.mean_square * compensator->sensitivity;
    int16_t *levels = sqz_alloc(count, sizeof *levels);
    if (!levels) return sqz_compensate_no_memory(err);
    enum sqz_status status = fit_levels(compensator, options, lambda, &centroids, levels, out->weights, err);
    if (status != SQZ_OK) {
        sqz_free(levels);
        return status;
    }
    SQZ_TRY(pack(&centroids, levels, count, &out->packed, err));
    sqz_packed_unpack(out->packed, compensator->rows, out->weights);
    out->stats.nbits = sqz_rate_entropy_nbits(levels, count);
    out->stats.lambda = lambda;
    return sqz_compensate_conclude(compensator, plain, out, err);
}

enum sqz_status sqz_compensate_codebook(const struct sqz_compensator *compensator,
                                        const struct sqz_codebook_options *options, struct sqz_compensated *out,
                                        struct sqz_error *err) {
    *out = (struct sqz_compensated){0};
    SQZ_TRY(check_options(options, err));
    size_t count = compensator->rows * compensator->n_inputs;
    float *plain = sqz_alloc(count, sizeof *plain);
    out->weights = sqz_alloc(count, sizeof *out->weights);
    enum sqz_status status =
        plain && out->weights ? compensate(compensator, options, plain, out, err) : sqz_compensate_no_memory(err);
    sqz_free(plain);
    if (status != SQZ_OK) sqz_compensated_free(out);
    return status;
}
