/* prune.c - magnitude pruning. */

/*
 * Every rule comes down to one decision per kernel: remove the weights whose
 * magnitude lies below a limit, and of those equal to it keep the first few.
 * All decisions are made before the first weight changes, so a call that
 * fails leaves the model as it was.
 */
#include "lib/prune.h"

#include <float.h>
#include <math.h>

#include "lib/chunks.h"
#include "lib/codebook.h"
#include "lib/kernel_list.h"
#include "lib/parallel.h"
#include "lib/select.h"

enum scope {
    SCOPE_NONE,  /* no rule matches: left alone */
    SCOPE_LAYER, /* decided by the kernel's own weights */
    SCOPE_POOL,  /* decided together with the others of the pool */
};

struct kernel {
    size_t weight;
    size_t n;
    float *data;
    bool unpacked; /* data was made for this call from packed weights */
    enum scope scope;
    double value; /* of the rule */
    size_t nonzero;
    bool floored;
    uint32_t limit; /* magnitudes below are removed */
    size_t keep;    /* how many of those equal to the limit stay: the first ones */
};

struct pruning {
    struct sqz_model *model;
    const struct sqz_prune_options *options;
    struct kernel *kernels;
    size_t n;
    struct sqz_span *spans;       /* [n] for selections */
    struct chunk_result *results; /* [chunks of the largest kernel] */
};

/* What one pass over a chunk finds; each pass uses the members it needs. */
struct chunk_result {
    struct sqz_rank rank;
    uint32_t largest_removed;
    double sum;
};

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* ---- passes over a kernel ---------------------------------------------------- */

struct pass {
    const struct kernel *kernel;
    struct chunk_result *results;
    uint32_t limit;
    double mean;
};

static void rank_chunk(void *context, size_t chunk, int thread) {
    (void)thread;
    const struct pass *pass = context;
    struct sqz_rank rank = {0, 0};
    size_t begin, end = sqz_chunk_range(pass->kernel->n, chunk, &begin);
    for (size_t i = begin; i < end; i++) {
        uint32_t magnitude = sqz_magnitude(pass->kernel->data[i]);
        rank.below += magnitude < pass->limit;
        rank.equal += magnitude == pass->limit;
    }
    pass->results[chunk].rank = rank;
}

/* How many weights of a kernel have a magnitude below and equal to `limit`; per chunk in p->results. */
static struct sqz_rank rank_kernel(struct pruning *p, const struct kernel *kernel, uint32_t limit) {
    struct pass pass = {.kernel = kernel, .results = p->results, .limit = limit};
    struct sqz_rank rank = {0, 0};
    sqz_parallel_for(sqz_chunk_count(kernel->n), rank_chunk, &pass);
    for (size_t chunk = 0; chunk < sqz_chunk_count(kernel->n); chunk++) {
        rank.below += p->results[chunk].rank.below;
        rank.equal += p->results[chunk].rank.equal;
    }
    return rank;
}

/* Sum of the weights (mean NAN) or of their squared distances from `mean`. */
static void sum_chunk(void *context, size_t chunk, int thread) {
    (void)thread;
    const struct pass *pass = context;
    double sum = 0;
    size_t begin, end = sqz_chunk_range(pass->kernel->n, chunk, &begin);
    for (size_t i = begin; i < end; i++) {
        double x = pass->kernel->data[i];
        sum += isnan(pass->mean) ? x : (x - pass->mean) * (x - pass->mean);
    }
    pass->results[chunk].sum = sum;
}

static double sum_kernel(struct pruning *p, const struct kernel *kernel, double mean) {
    struct pass pass = {.kernel = kernel, .results = p->results, .mean = mean};
    double sum = 0;
    sqz_parallel_for(sqz_chunk_count(kernel->n), sum_chunk, &pass);
    for (size_t chunk = 0; chunk < sqz_chunk_count(kernel->n); chunk++) sum += p->results[chunk].sum;
    return sum;
}

/* Over all weights of the layer, zeros included. */
static double standard_deviation(struct pruning *p, const struct kernel *kernel) {
    double n = (double)kernel->n, mean = sum_kernel(p, kernel, NAN) / n;
    return sqrt(sum_kernel(p, kernel, mean) / n);
}

/* results[chunk].rank.equal says how many of the weights equal to the limit stay in the chunk. */
static void remove_chunk(void *context, size_t chunk, int thread) {
    (void)thread;
    const struct pass *pass = context;
    struct chunk_result *result = &pass->results[chunk];
    float *data = pass->kernel->data;
    size_t keep = result->rank.equal, begin, end = sqz_chunk_range(pass->kernel->n, chunk, &begin);
    uint32_t largest = 0;
    for (size_t i = begin; i < end; i++) {
        uint32_t magnitude = sqz_magnitude(data[i]);
        if (magnitude > pass->limit) continue;
        if (magnitude == pass->limit && keep > 0) {
            keep--;
            continue;
        }
        if (magnitude > largest) largest = magnitude;
        data[i] = 0;
    }
    result->largest_removed = largest;
}

/* Carry out the decision; returns the bits of the largest magnitude removed. */
static uint32_t remove_weights(struct pruning *p, const struct kernel *kernel) {
    struct pass pass = {.kernel = kernel, .results = p->results, .limit = kernel->limit};
    size_t n_chunks = sqz_chunk_count(kernel->n), keep = kernel->keep;
    rank_kernel(p, kernel, kernel->limit);
    for (size_t chunk = 0; chunk < n_chunks; chunk++) {
        size_t *equal = &p->results[chunk].rank.equal;
        if (*equal > keep) *equal = keep;
        keep -= *equal;
    }
    sqz_parallel_for(n_chunks, remove_chunk, &pass);
    uint32_t largest = 0;
    for (size_t chunk = 0; chunk < n_chunks; chunk++)
        if (p->results[chunk].largest_removed > largest) largest = p->results[chunk].largest_removed;
    return largest;
}

/* ---- decisions ------------------------------------------------------------------ */

/* floor(n * (1 - density) + 0.5), the number of zeros that a density asks for. */
static size_t zeros_of_density(size_t n, double density) {
    return (size_t)floor((double)n * (1 - density) + 0.5);
}

/* Decide that exactly `zeros` weights of one kernel are zero, unless more are already. */
static bool decide_zeros(struct kernel *kernel, size_t zeros) {
    struct sqz_span span = {kernel->data, kernel->n};
    struct sqz_rank rank;
    kernel->limit = 0;
    if (zeros <= kernel->n - kernel->nonzero) return true;
    if (!sqz_select_magnitude(&span, 1, zeros, &kernel->limit, &rank)) return false;
    kernel->keep = rank.equal - (zeros - rank.below);
    return true;
}

/* Decide to remove magnitudes of at most t. */
static void decide_threshold(struct kernel *kernel, double t) {
    float at_most = t >= FLT_MAX ? FLT_MAX : (float)t;
    if ((double)at_most > t) at_most = nextafterf(at_most, 0);
    kernel->limit = sqz_magnitude(at_most);
    kernel->keep = 0;
}

/* Smallest number of weights that a kernel of the pool is left with. */
static size_t pool_floor(const struct pruning *p, const struct kernel *kernel) {
    return p->options->min_per_layer < kernel->nonzero ? p->options->min_per_layer : kernel->nonzero;
}

/* Spans and numbers of the pool, without the kernels that stand on their floor; returns the number of spans. */
static size_t gather_pool(const struct pruning *p, size_t *zeros_wanted, size_t *zeros) {
    size_t n_spans = 0, n = 0, on_floor = 0;
    double density = 1;
    *zeros = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct kernel *kernel = &p->kernels[i];
        if (kernel->scope != SCOPE_POOL) continue;
        n += kernel->n;
        density = kernel->value;
        if (kernel->floored) {
            on_floor += kernel->n - pool_floor(p, kernel);
        } else {
            *zeros += kernel->n - kernel->nonzero;
            p->spans[n_spans++] = (struct sqz_span){kernel->data, kernel->n};
        }
    }
    size_t wanted = zeros_of_density(n, density);
    *zeros_wanted = wanted > on_floor ? wanted - on_floor : 0;
    return n_spans;
}

/* Hand the pool's decision to its kernels; *any_floored when some would be left with too little. */
static void distribute(struct pruning *p, uint32_t limit, size_t keep, bool *any_floored) {
    *any_floored = false;
    for (size_t i = 0; i < p->n; i++) {
        struct kernel *kernel = &p->kernels[i];
        if (kernel->scope != SCOPE_POOL || kernel->floored) continue;
        struct sqz_rank rank = rank_kernel(p, kernel, limit);
        kernel->limit = limit;
        kernel->keep = rank.equal < keep ? rank.equal : keep;
        keep -= kernel->keep;
        if (kernel->n - rank.below - (rank.equal - kernel->keep) < pool_floor(p, kernel))
            kernel->floored = *any_floored = true;
    }
}

/*
 * One limit for the whole pool. A kernel that it would take below its floor
 * keeps exactly its floor and leaves the pool, and the others make up for
 * what it keeps; that repeats until no other falls below its own.
 */
static bool decide_pool(struct pruning *p) {
    for (bool any_floored = true; any_floored;) {
        size_t wanted, zeros, n_spans = gather_pool(p, &wanted, &zeros);
        uint32_t limit = 0;
        struct sqz_rank rank = {0, 0};
        any_floored = false;
        if (wanted > zeros && n_spans > 0) {
            if (!sqz_select_magnitude(p->spans, n_spans, wanted, &limit, &rank)) return false;
            distribute(p, limit, rank.equal - (wanted - rank.below), &any_floored);
        } else {
            distribute(p, 0, 0, &any_floored);
        }
    }
    for (size_t i = 0; i < p->n; i++) {
        struct kernel *kernel = &p->kernels[i];
        if (kernel->floored && !decide_zeros(kernel, kernel->n - pool_floor(p, kernel))) return false;
    }
    return true;
}

static bool decide(struct pruning *p) {
    bool pool = false;
    for (size_t i = 0; i < p->n; i++) {
        struct kernel *kernel = &p->kernels[i];
        if (kernel->scope == SCOPE_POOL) pool = true;
        if (kernel->scope != SCOPE_LAYER || kernel->n == 0) continue;
        switch (p->options->rule) {
        case SQZ_PRUNE_DENSITY:
            if (!decide_zeros(kernel, zeros_of_density(kernel->n, kernel->value))) return false;
            break;
        case SQZ_PRUNE_THRESHOLD:
            decide_threshold(kernel, kernel->value);
            break;
        case SQZ_PRUNE_SENSITIVITY:
            decide_threshold(kernel, kernel->value * standard_deviation(p, kernel));
            break;
        }
    }
    return !pool || decide_pool(p);
}

/* ---- the whole model -------------------------------------------------------------- */

static enum sqz_status check_options(const struct sqz_model *model, const struct sqz_prune_options *options,
                                     struct sqz_error *err) {
    for (size_t i = 0; i < options->n_values; i++) {
        double value = options->values[i].value;
        const char *layers = options->values[i].pattern ? options->values[i].pattern : "all layers";
        switch (options->rule) {
        case SQZ_PRUNE_DENSITY:
            if (!(value > 0 && value <= 1))
                return sqz_fail(err, SQZ_ARGUMENT, "density %g for %s is not above 0 and at most 1", value, layers);
            break;
        case SQZ_PRUNE_THRESHOLD:
        case SQZ_PRUNE_SENSITIVITY:
            if (!(value >= 0 && isfinite(value)))
                return sqz_fail(err, SQZ_ARGUMENT, "%s %g for %s is not a number of at least 0",
                                options->rule == SQZ_PRUNE_THRESHOLD ? "threshold" : "sensitivity", value, layers);
            break;
        default:
            return sqz_fail(err, SQZ_ARGUMENT, "unknown pruning rule %d", (int)options->rule);
        }
    }
    return sqz_layer_value_check(options->values, options->n_values, model, err);
}

/* The scope of a kernel and the value that holds for it. */
static void find_rule(const struct pruning *p, struct kernel *kernel) {
    const struct sqz_prune_options *options = p->options;
    const char *layer = sqz_model_layer_name(p->model, kernel->weight);
    for (size_t i = options->n_values; i > 0; i--) {
        const struct sqz_layer_value *rule = &options->values[i - 1];
        double value = sqz_layer_value_get(rule, 1, layer, NAN);
        if (isnan(value)) continue;
        bool pool = options->global && options->rule == SQZ_PRUNE_DENSITY && !rule->pattern;
        kernel->scope = pool ? SCOPE_POOL : SCOPE_LAYER;
        kernel->value = value;
        return;
    }
}

/* Find data, number of survivors and rule of every kernel. */
static enum sqz_status open_kernels(struct pruning *p, struct sqz_error *err) {
    for (size_t i = 0; i < p->n; i++) {
        struct kernel *kernel = &p->kernels[i];
        struct sqz_weight *weight = &p->model->weights[kernel->weight];
        kernel->n = weight->count;
        kernel->unpacked = !weight->data;
        SQZ_TRY(sqz_weight_need_data(weight, err));
        kernel->data = weight->data;
        SQZ_TRY(sqz_kernel_check_finite(p->model, kernel->weight, err));
        kernel->nonzero = kernel->n - rank_kernel(p, kernel, 0).equal;
        find_rule(p, kernel);
    }
    return SQZ_OK;
}

/* Give back the float values of weights that had only been packed. */
static void close_kernels(struct pruning *p) {
    for (size_t i = 0; i < p->n; i++) {
        struct sqz_weight *weight = &p->model->weights[p->kernels[i].weight];
        if (!p->kernels[i].unpacked) continue;
        sqz_free(weight->data);
        weight->data = NULL;
    }
}

static void prune_packed(struct sqz_packed *packed, const float *data) {
    for (size_t i = 0; i < packed->n_levels; i++)
        if (data[i] == 0) packed->levels[i] = 0;
    if (packed->kind == SQZ_LEVELS_CODEBOOK) sqz_codebook_drop_unused(packed);
}

static void carry_out(struct pruning *p, struct sqz_prune_stats *stats) {
    for (size_t i = 0; i < p->n; i++) {
        struct kernel *kernel = &p->kernels[i];
        struct sqz_weight *weight = &p->model->weights[kernel->weight];
        uint32_t largest = kernel->limit > 0 ? remove_weights(p, kernel) : 0;
        if (largest > 0 && weight->packed) prune_packed(weight->packed, kernel->data);
        stats[i] = (struct sqz_prune_stats){.weight = kernel->weight,
                                            .count = kernel->n,
                                            .nonzero_before = kernel->nonzero,
                                            .nonzero_after = kernel->n - rank_kernel(p, kernel, 0).equal,
                                            .floored = kernel->floored};
        memcpy(&stats[i].threshold, &largest, sizeof largest);
        stats[i].max_change = stats[i].threshold;
    }
}

static enum sqz_status prune_kernels(struct pruning *p, const size_t *indices, struct sqz_prune_stats *stats,
                                     struct sqz_error *err) {
    for (size_t i = 0; i < p->n; i++) p->kernels[i] = (struct kernel){.weight = indices[i], .scope = SCOPE_NONE};
    enum sqz_status status = open_kernels(p, err);
    if (status == SQZ_OK && !decide(p)) status = no_memory(err);
    if (status == SQZ_OK) carry_out(p, stats);
    close_kernels(p);
    return status;
}

enum sqz_status sqz_prune(struct sqz_model *model, const struct sqz_prune_options *options,
                          struct sqz_prune_stats *stats, size_t *n_stats, struct sqz_error *err) {
    *n_stats = 0;
    SQZ_TRY(check_options(model, options, err));
    struct pruning p = {.model = model, .options = options, .n = sqz_kernel_indices(model, NULL)};
    size_t *indices = sqz_alloc(p.n, sizeof *indices), largest = 0;
    p.kernels = sqz_alloc(p.n, sizeof *p.kernels);
    p.spans = sqz_alloc(p.n, sizeof *p.spans);
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    if (indices) {
        sqz_kernel_indices(model, indices);
        for (size_t i = 0; i < p.n; i++)
            if (model->weights[indices[i]].count > largest) largest = model->weights[indices[i]].count;
        p.results = sqz_alloc(sqz_chunk_count(largest), sizeof *p.results);
    }
    if (p.results && p.kernels && p.spans)
        status = prune_kernels(&p, indices, stats, err);
    else
        no_memory(err);
    sqz_free(p.results);
    sqz_free(p.spans);
    sqz_free(p.kernels);
    sqz_free(indices);
    if (status == SQZ_OK) *n_stats = p.n;
    return status;
}
