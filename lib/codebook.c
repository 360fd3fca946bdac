/* codebook.c - from float weights and cluster limits to the levels of a codebook. */
#include "lib/codebook.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/chunks.h"
#include "lib/memory.h"
#include "lib/parallel.h"

/* Slots of the hash set of distinct values: four times the most it can hold, so that probes stay short. */
#define N_SLOTS 1024
#define SLOT_BITS 10

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

bool sqz_codebook_distinct(const float *weights, size_t n, uint32_t limit, float *values, uint32_t *n_values) {
    uint32_t slots[N_SLOTS] = {0}; /* the bits of a value; 0 (which is never stored) marks a free slot */
    uint32_t found = 0, last = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &weights[i], sizeof bits);
        if (bits == last || bits << 1 == 0) continue;
        last = bits;
        uint32_t slot = bits * UINT32_C(2654435769) >> (32 - SLOT_BITS); /* Knuth's multiplicative hash */
        while (slots[slot] != 0 && slots[slot] != bits) slot = (slot + 1) % N_SLOTS;
        if (slots[slot] == bits) continue;
        if (found == limit || !isfinite(weights[i])) return false;
        slots[slot] = bits;
        values[found++] = weights[i];
    }
    qsort(values, found, sizeof *values, compare_floats);
    *n_values = found;
    return true;
}

struct assignment {
    const float *weights;
    size_t n;
    float lower[SQZ_MAX_CODEBOOK]; /* padded with infinity */
    uint32_t first_step;           /* of the binary search: the largest power of two below the number of clusters */
    int16_t *levels;
};

/* A search without branches: which cluster a weight falls into is noise to a predictor. */
static void assign_chunk(void *context, size_t chunk, int thread) {
    (void)thread;
    const struct assignment *a = context;
    size_t begin, end = sqz_chunk_range(a->n, chunk, &begin);
    for (size_t i = begin; i < end; i++) {
        float w = a->weights[i];
        uint32_t cluster = 0;
        for (uint32_t step = a->first_step; step > 0; step /= 2) cluster += a->lower[cluster + step] <= w ? step : 0;
        a->levels[i] = w == 0 ? 0 : (int16_t)(cluster + 1);
    }
}

enum sqz_status sqz_codebook_pack(const float *weights, size_t n, const float *lower, const float *codebook, uint32_t k,
                                  struct sqz_packed **out, struct sqz_error *err) {
    *out = NULL;
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    if (!packed) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    packed->kind = SQZ_LEVELS_CODEBOOK;
    packed->n_levels = n;
    packed->n_codebook = k;
    packed->levels = sqz_alloc(n, sizeof *packed->levels);
    packed->codebook = sqz_alloc(k, sizeof *packed->codebook);
    if (!packed->levels || !packed->codebook) {
        sqz_packed_free(packed);
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for %zu levels", n);
    }
    struct assignment a = {.weights = weights, .n = n, .levels = packed->levels};
    for (uint32_t i = 0; i < SQZ_MAX_CODEBOOK; i++) a.lower[i] = i < k ? lower[i] : INFINITY;
    for (uint32_t step = 1; step < k; step *= 2) a.first_step = step;
    sqz_parallel_for(sqz_chunk_count(n), assign_chunk, &a);
    if (k) memcpy(packed->codebook, codebook, k * sizeof *codebook);
    *out = packed;
    return SQZ_OK;
}

void sqz_codebook_drop_unused(struct sqz_packed *packed) {
    bool used[SQZ_MAX_CODEBOOK + 1] = {false};
    int16_t renumbered[SQZ_MAX_CODEBOOK + 1] = {0};
    for (size_t i = 0; i < packed->n_levels; i++) used[packed->levels[i]] = true;
    uint32_t kept = 0;
    for (uint32_t level = 1; level <= packed->n_codebook; level++) {
        if (!used[level]) continue;
        packed->codebook[kept++] = packed->codebook[level - 1];
        renumbered[level] = (int16_t)kept;
    }
    if (kept == packed->n_codebook) return;
    packed->n_codebook = kept;
    for (size_t i = 0; i < packed->n_levels; i++) packed->levels[i] = renumbered[packed->levels[i]];
}
