/* packed.c - a weight tensor reduced to a few shared values: restoring, checking, finding. */
#include "lib/packed.h"

#include <math.h>
#include <stdbool.h>

#include "lib/chunks.h"
#include "lib/codebook.h"
#include "lib/memory.h"
#include "lib/parallel.h"
#include "lib/trellis.h"

struct unpacking {
    const struct sqz_packed *packed;
    size_t channel_size; /* weights that share a step */
    float values[SQZ_MAX_CODEBOOK + 1];
    float *weights;
};

static void unpack_codebook(void *context, size_t chunk, int thread) {
    (void)thread;
    const struct unpacking *u = context;
    size_t begin, end = sqz_chunk_range(u->packed->n_levels, chunk, &begin);
    for (size_t i = begin; i < end; i++) u->weights[i] = u->values[u->packed->levels[i]];
}

static void unpack_uniform(void *context, size_t chunk, int thread) {
    (void)thread;
    const struct unpacking *u = context;
    size_t begin, end = sqz_chunk_range(u->packed->n_levels, chunk, &begin);
    while (begin < end) {
        size_t channel = begin / u->channel_size, left = u->channel_size - begin % u->channel_size;
        size_t stop = end - begin < left ? end : begin + left;
        float step = u->packed->steps[channel];
        for (size_t i = begin; i < stop; i++) u->weights[i] = (float)u->packed->levels[i] * step;
        begin = stop;
    }
}

void sqz_packed_unpack(const struct sqz_packed *packed, size_t first_dim, float *weights) {
    struct unpacking u = {.packed = packed, .weights = weights};
    size_t n = packed->n_levels;
    if (n == 0) return;
    if (packed->kind == SQZ_LEVELS_CODEBOOK) {
        for (uint32_t i = 0; i < packed->n_codebook; i++) u.values[i + 1] = packed->codebook[i];
        sqz_parallel_for(sqz_chunk_count(n), unpack_codebook, &u);
    } else {
        u.channel_size = packed->n_steps == 1 || first_dim == 0 ? n : n / first_dim;
        sqz_parallel_for(sqz_chunk_count(n), unpack_uniform, &u);
    }
}

size_t sqz_packed_nonzero(const struct sqz_packed *packed) {
    size_t n = 0;
    for (size_t i = 0; i < packed->n_levels; i++) n += packed->levels[i] != 0;
    return n;
}

static enum sqz_status check_codebook(const struct sqz_packed *packed, const char *name, struct sqz_error *err) {
    if (packed->n_codebook > SQZ_MAX_CODEBOOK)
        return sqz_fail(err, SQZ_MALFORMED, "weight %s has a codebook of %u entries, more than %u", name,
                        packed->n_codebook, SQZ_MAX_CODEBOOK);
    if (packed->n_steps != 0) return sqz_fail(err, SQZ_MALFORMED, "weight %s has a codebook and steps", name);
    if (packed->trellis_states != 0)
        return sqz_fail(err, SQZ_MALFORMED, "weight %s has a codebook and a trellis", name);
    for (uint32_t i = 0; i < packed->n_codebook; i++) {
        float value = packed->codebook[i];
        if (!isfinite(value) || value == 0)
            return sqz_fail(err, SQZ_MALFORMED, "entry %u in the codebook of weight %s is %g", i, name, (double)value);
        if (i > 0 && value <= packed->codebook[i - 1])
            return sqz_fail(err, SQZ_MALFORMED, "entry %u in the codebook of weight %s is not above the one before", i,
                            name);
    }
    bool used[SQZ_MAX_CODEBOOK + 1] = {false};
    for (size_t i = 0; i < packed->n_levels; i++) {
        int16_t level = packed->levels[i];
        if (level < 0 || (uint32_t)level > packed->n_codebook)
            return sqz_fail(err, SQZ_MALFORMED, "level %d at index %zu of weight %s is outside its codebook of %u",
                            level, i, name, packed->n_codebook);
        used[level] = true;
    }
    for (uint32_t level = 1; level <= packed->n_codebook; level++)
        if (!used[level])
            return sqz_fail(err, SQZ_MALFORMED, "entry %u in the codebook of weight %s is not used", level - 1, name);
    return SQZ_OK;
}

/* Of uniform levels within their bounds. */
static enum sqz_status check_trellis(const struct sqz_packed *packed, const struct sqz_shape *shape, const char *name,
                                     struct sqz_error *err) {
    if (packed->trellis_states == 0) return SQZ_OK;
    if (!sqz_trellis_is_valid(packed->trellis_states))
        return sqz_fail(err, SQZ_MALFORMED, "weight %s has a trellis of %u states", name, packed->trellis_states);
    for (size_t i = 0; i < packed->n_levels; i++)
        if (packed->levels[i] < -SQZ_TRELLIS_MAX_LEVEL || packed->levels[i] > SQZ_TRELLIS_MAX_LEVEL)
            return sqz_fail(err, SQZ_MALFORMED, "level %d at index %zu of weight %s is outside -%d..%d of a trellis",
                            packed->levels[i], i, name, SQZ_TRELLIS_MAX_LEVEL, SQZ_TRELLIS_MAX_LEVEL);
    struct sqz_lanes lanes = sqz_lanes_of(shape, packed->n_levels, SQZ_STREAM_RANGE);
    if (!sqz_trellis_obeyed(packed->trellis_states, &lanes, packed->levels))
        return sqz_fail(err, SQZ_MALFORMED, "the levels of weight %s do not obey its trellis of %u states", name,
                        packed->trellis_states);
    return SQZ_OK;
}

static enum sqz_status check_uniform(const struct sqz_packed *packed, const struct sqz_shape *shape, const char *name,
                                     struct sqz_error *err) {
    size_t channels = shape->rank ? (size_t)shape->dim[0] : 1;
    if (packed->n_codebook != 0) return sqz_fail(err, SQZ_MALFORMED, "weight %s has steps and a codebook", name);
    if (packed->n_steps != 1 && packed->n_steps != channels)
        return sqz_fail(err, SQZ_MALFORMED, "weight %s has %u steps for %zu output channels", name, packed->n_steps,
                        channels);
    for (uint32_t i = 0; i < packed->n_steps; i++)
        if (!(packed->steps[i] > 0) || !isfinite(packed->steps[i] * SQZ_MAX_LEVEL))
            return sqz_fail(err, SQZ_MALFORMED, "step %u of weight %s is %g", i, name, (double)packed->steps[i]);
    for (size_t i = 0; i < packed->n_levels; i++)
        if (packed->levels[i] < -SQZ_MAX_LEVEL || packed->levels[i] > SQZ_MAX_LEVEL)
            return sqz_fail(err, SQZ_MALFORMED, "level %d at index %zu of weight %s is outside -%d..%d",
                            packed->levels[i], i, name, SQZ_MAX_LEVEL, SQZ_MAX_LEVEL);
    return check_trellis(packed, shape, name, err);
}

enum sqz_status sqz_packed_check(const struct sqz_packed *packed, const struct sqz_shape *shape, const char *name,
                                 struct sqz_error *err) {
    size_t count;
    if (!sqz_shape_count(shape, &count) || count != packed->n_levels)
        return sqz_fail(err, SQZ_MALFORMED, "weight %s has %zu levels, which is not what its shape wants", name,
                        packed->n_levels);
    switch (packed->kind) {
    case SQZ_LEVELS_CODEBOOK:
        return check_codebook(packed, name, err);
    case SQZ_LEVELS_UNIFORM:
        return check_uniform(packed, shape, name, err);
    }
    return sqz_fail(err, SQZ_MALFORMED, "weight %s has an unknown kind of levels", name);
}

enum sqz_status sqz_packed_from_values(const float *weights, size_t n, struct sqz_packed **out, struct sqz_error *err) {
    float values[SQZ_MAX_CODEBOOK];
    uint32_t n_values;
    *out = NULL;
    if (!sqz_codebook_distinct(weights, n, SQZ_MAX_CODEBOOK, values, &n_values)) return SQZ_OK;
    return sqz_codebook_pack(weights, n, values, values, n_values, out, err);
}

void sqz_packed_free(struct sqz_packed *packed) {
    if (!packed) return;
    sqz_free(packed->levels);
    sqz_free(packed->codebook);
    sqz_free(packed->steps);
    sqz_free(packed);
}
