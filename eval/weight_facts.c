/* weight_facts.c - what kernels are chosen by: how many values a layer's weights have, and how many are zero. */
#include "eval/weight_facts.h"

#include <stdatomic.h>

#include "lib/chunks.h"
#include "lib/parallel.h"

/* A pass over all weights, chunk by chunk. */
struct scan {
    const struct sqz_weight *weight;
    atomic_size_t zeros;
    atomic_int low, high; /* of the levels; zero is always between them */
};

static void scan_data(void *context, size_t chunk, int thread) {
    (void)thread;
    struct scan *scan = context;
    size_t begin, end = sqz_chunk_range(scan->weight->count, chunk, &begin), zeros = 0;
    for (size_t i = begin; i < end; i++) zeros += scan->weight->data[i] == 0;
    atomic_fetch_add(&scan->zeros, zeros);
}

#define STRIP 64

static void scan_levels(void *context, size_t chunk, int thread) {
    (void)thread;
    struct scan *scan = context;
    const struct sqz_packed *packed = scan->weight->packed;
    size_t begin, end = sqz_chunk_range(packed->n_levels, chunk, &begin), zeros = 0;
    int16_t low = 0, high = 0;
    /* Strips of a fixed length and nothing wider than a level in them: compilers make vector code of that. */
    for (; end - begin >= STRIP; begin += STRIP) {
        int16_t n = 0;
        for (size_t i = 0; i < STRIP; i++) {
            int16_t level = packed->levels[begin + i];
            n = (int16_t)(n + (level == 0));
            low = level < low ? level : low;
            high = level > high ? level : high;
        }
        zeros += (size_t)n;
    }
    for (; begin < end; begin++) {
        int16_t level = packed->levels[begin];
        zeros += level == 0;
        low = level < low ? level : low;
        high = level > high ? level : high;
    }
    atomic_fetch_add(&scan->zeros, zeros);
    for (int old = atomic_load(&scan->low); low < old && !atomic_compare_exchange_weak(&scan->low, &old, low);)
        continue;
    for (int old = atomic_load(&scan->high); high > old && !atomic_compare_exchange_weak(&scan->high, &old, high);)
        continue;
}

/* Numbers of levels that a table must hold. */
static size_t count_values(const struct sqz_packed *packed, const struct scan *scan) {
    if (packed->kind == SQZ_LEVELS_CODEBOOK) return packed->n_codebook + (scan->zeros > 0);
    return (size_t)(scan->high - scan->low) + 1;
}

struct sqz_weight_facts sqz_weight_facts_of(const struct sqz_weight *weight) {
    struct scan scan = {.weight = weight};
    struct sqz_weight_facts facts = {.density = 1};
    sqz_parallel_for(sqz_chunk_count(weight->count), weight->packed ? scan_levels : scan_data, &scan);
    facts.n_nonzero = weight->count - scan.zeros;
    if (weight->count > 0) facts.density = (double)facts.n_nonzero / (double)weight->count;
    if (!weight->packed) return facts;
    size_t n = count_values(weight->packed, &scan);
    if (n > SQZ_MOST_VALUES) return facts;
    facts.n_values = n;
    facts.first_level = weight->packed->kind == SQZ_LEVELS_UNIFORM ? scan.low : scan.zeros == 0;
    facts.has_steps = weight->packed->kind == SQZ_LEVELS_UNIFORM && weight->packed->n_steps > 1;
    return facts;
}

void sqz_weight_table(const struct sqz_packed *packed, const struct sqz_weight_facts *facts,
                      float values[SQZ_MOST_VALUES]) {
    bool uniform = packed->kind == SQZ_LEVELS_UNIFORM;
    float step = uniform && packed->n_steps == 1 ? packed->steps[0] : 1;
    for (size_t i = 0; i < facts->n_values; i++) {
        int level = facts->first_level + (int)i;
        values[i] = uniform ? (float)level * step : level == 0 ? 0 : packed->codebook[level - 1];
    }
}
