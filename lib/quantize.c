/* quantize.c - weight sharing: a codebook for each kernel of a model. */
#include "lib/quantize.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "lib/chunks.h"
#include "lib/codebook.h"
#include "lib/kernel_list.h"
#include "lib/kmeans.h"
#include "lib/memory.h"
#include "lib/parallel.h"

/* The paper's choice (arXiv 1510.00149 table 4): 8 bits for convolutions, 5 for dense layers. */
#define CONV_BITS 8
#define DENSE_BITS 5

/*
 * Larger kernels are packed one after another, with all threads on each, so
 * that only one of them has its sorted copy in memory; the smaller ones are
 * packed side by side.
 */
#define LARGE_KERNEL ((size_t)2 << 20)

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* ---- one kernel ------------------------------------------------------------ */

struct error_sums {
    const float *weights;
    const struct sqz_packed *packed;
    struct chunk_errors {
        double square, most;
        size_t nonzero;
    } * chunks;
};

static void sum_errors(void *context, size_t chunk, int thread) {
    (void)thread;
    struct error_sums *e = context;
    struct chunk_errors sums = {0};
    size_t begin, end = sqz_chunk_range(e->packed->n_levels, chunk, &begin);
    for (size_t i = begin; i < end; i++) {
        int16_t level = e->packed->levels[i];
        if (level == 0) continue;
        double error = fabs((double)e->weights[i] - (double)e->packed->codebook[level - 1]);
        sums.square += error * error;
        if (error > sums.most) sums.most = error;
        sums.nonzero++;
    }
    e->chunks[chunk] = sums;
}

static enum sqz_status measure(const float *weights, const struct sqz_packed *packed, struct sqz_quantize_stats *stats,
                               struct sqz_error *err) {
    size_t n_chunks = sqz_chunk_count(packed->n_levels);
    struct error_sums e = {weights, packed, sqz_alloc(n_chunks, sizeof *e.chunks)};
    if (!e.chunks) return no_memory(err);
    sqz_parallel_for(n_chunks, sum_errors, &e);
    double square = 0, most = 0;
    for (size_t chunk = 0; chunk < n_chunks; chunk++) {
        square += e.chunks[chunk].square;
        if (e.chunks[chunk].most > most) most = e.chunks[chunk].most;
        stats->nonzero += e.chunks[chunk].nonzero;
    }
    sqz_free(e.chunks);
    stats->n_codebook = packed->n_codebook;
    stats->mse = stats->nonzero ? square / (double)stats->nonzero : 0;
    stats->max_change = (float)most;
    return SQZ_OK;
}

/* Cluster the survivors, of which there are more distinct ones than k, and find codebook and limits. */
static enum sqz_status cluster(const float *weights, size_t n, const struct sqz_quantize_options *options, uint32_t *k,
                               float *lower, float *codebook, struct sqz_error *err) {
    struct sqz_sorted sorted;
    struct sqz_clusters clusters;
    enum sqz_status status = sqz_sorted_build(weights, n, &sorted, err);
    if (status == SQZ_OK) {
        if (options->method == SQZ_KMEANS_OPTIMAL)
            status = sqz_kmeans_optimal(&sorted, *k, &clusters, err);
        else
            sqz_kmeans_lloyd(&sorted, *k, options->init, options->seed, options->max_iterations, &clusters);
    }
    if (status == SQZ_OK) {
        if (options->rate_weight > 0) sqz_kmeans_entropy(&sorted, options->rate_weight, &clusters);
        sqz_clusters_codebook(&sorted, &clusters, lower, codebook);
        *k = clusters.k;
    }
    sqz_sorted_free(&sorted);
    return status;
}

static enum sqz_status pack_kernel(struct sqz_weight *weight, const struct sqz_quantize_options *options,
                                   struct sqz_quantize_stats *stats, struct sqz_error *err) {
    float lower[SQZ_MAX_CODEBOOK], codebook[SQZ_MAX_CODEBOOK];
    const float *values = codebook;
    uint32_t k = (uint32_t)1 << stats->bits;
    struct sqz_packed *packed;
    SQZ_TRY(sqz_weight_need_data(weight, err));
    if (sqz_codebook_distinct(weight->data, weight->count, k, lower, &k))
        values = lower;
    else
        SQZ_TRY(cluster(weight->data, weight->count, options, &k, lower, codebook, err));
    SQZ_TRY(sqz_codebook_pack(weight->data, weight->count, lower, values, k, &packed, err));
    enum sqz_status status = measure(weight->data, packed, stats, err);
    if (status != SQZ_OK) {
        sqz_packed_free(packed);
        return status;
    }
    sqz_packed_free(weight->packed);
    weight->packed = packed;
    sqz_free(weight->data);
    weight->data = NULL;
    return SQZ_OK;
}

/* ---- all kernels ------------------------------------------------------------- */

struct quantizing {
    struct sqz_model *model;
    const struct sqz_quantize_options *options;
    struct sqz_quantize_stats *stats; /* [n] in the order of the model */
    size_t *order;                    /* [n] indices of stats, largest kernel first */
    enum sqz_status *status;          /* [n] in the same order */
    size_t n;
    size_t first; /* place in the order where the parallel part begins */
    atomic_size_t done;
    size_t total; /* weights */
};

static void pack_one(void *context, size_t i, int thread) {
    struct quantizing *q = context;
    size_t place = q->first + i;
    struct sqz_quantize_stats *stats = &q->stats[q->order[place]];
    q->status[place] = pack_kernel(&q->model->weights[stats->weight], q->options, stats, NULL);
    size_t done = atomic_fetch_add(&q->done, stats->count) + stats->count;
    /* From the calling thread only, so that the callback need not be safe against itself. */
    if (thread == 0 && q->options->progress) q->options->progress(q->options->progress_context, done, q->total);
}

/* Stable insertion of each kernel behind the larger ones. */
static void order_by_size(struct quantizing *q) {
    for (size_t i = 0; i < q->n; i++) {
        size_t place = i;
        for (; place > 0 && q->stats[q->order[place - 1]].count < q->stats[i].count; place--)
            q->order[place] = q->order[place - 1];
        q->order[place] = i;
    }
}

static enum sqz_status pack_all(struct quantizing *q, struct sqz_error *err) {
    order_by_size(q);
    size_t n_large = 0;
    while (n_large < q->n && q->stats[q->order[n_large]].count > LARGE_KERNEL) n_large++;
    for (; q->first < n_large; q->first++) pack_one(q, 0, 0);
    sqz_parallel_for(q->n - n_large, pack_one, q);
    for (size_t place = 0; place < q->n; place++)
        if (q->status[place] != SQZ_OK)
            return sqz_fail(err, q->status[place], "not enough memory to share the weights of layer %s",
                            sqz_model_layer_name(q->model, q->stats[q->order[place]].weight));
    if (q->options->progress) q->options->progress(q->options->progress_context, q->total, q->total);
    return SQZ_OK;
}

static bool is_dense(const struct sqz_model *model, size_t weight) {
    for (size_t i = 0; i < model->n_nodes; i++)
        if (model->nodes[i].kernel == weight) return model->nodes[i].op == SQZ_OP_DENSE;
    return false;
}

static enum sqz_status prepare(struct quantizing *q, struct sqz_error *err) {
    for (size_t i = 0; i < q->n; i++) {
        size_t weight = q->order[i];
        const char *layer = sqz_model_layer_name(q->model, weight);
        double bits = sqz_layer_value_get(q->options->bits, q->options->n_bits, layer,
                                          is_dense(q->model, weight) ? DENSE_BITS : CONV_BITS);
        SQZ_TRY(sqz_kernel_check_finite(q->model, weight, err));
        q->stats[i] = (struct sqz_quantize_stats){
            .weight = weight, .count = q->model->weights[weight].count, .bits = (unsigned)bits};
        q->total += q->stats[i].count;
    }
    return SQZ_OK;
}

static enum sqz_status check_options(const struct sqz_model *model, const struct sqz_quantize_options *options,
                                     struct sqz_error *err) {
    for (size_t i = 0; i < options->n_bits; i++) {
        double bits = options->bits[i].value;
        if (!(bits >= 1 && bits <= SQZ_MAX_BITS) || bits != floor(bits))
            return sqz_fail(err, SQZ_ARGUMENT, "%g bits for %s: a codebook has 1 to %d bits, a whole number", bits,
                            options->bits[i].pattern ? options->bits[i].pattern : "all layers", SQZ_MAX_BITS);
    }
    if (options->method != SQZ_KMEANS_LLOYD && options->method != SQZ_KMEANS_OPTIMAL)
        return sqz_fail(err, SQZ_ARGUMENT, "unknown k-means method %d", (int)options->method);
    if (options->init != SQZ_INIT_LINEAR && options->init != SQZ_INIT_DENSITY && options->init != SQZ_INIT_KMEANSPP)
        return sqz_fail(err, SQZ_ARGUMENT, "unknown k-means initialisation %d", (int)options->init);
    if (!(options->rate_weight >= 0 && options->rate_weight <= 1e6))
        return sqz_fail(err, SQZ_ARGUMENT, "a rate weight of %g is not in [0, 1e6]", options->rate_weight);
    return sqz_layer_value_check(options->bits, options->n_bits, model, err);
}

enum sqz_status sqz_quantize(struct sqz_model *model, const struct sqz_quantize_options *options,
                             struct sqz_quantize_stats *stats, size_t *n_stats, struct sqz_error *err) {
    *n_stats = 0;
    SQZ_TRY(check_options(model, options, err));
    struct quantizing q = {.model = model, .options = options, .stats = stats, .n = sqz_kernel_indices(model, NULL)};
    q.order = sqz_alloc(q.n, sizeof *q.order);
    q.status = sqz_alloc0(q.n, sizeof *q.status);
    enum sqz_status status;
    if (!q.order || !q.status) {
        status = no_memory(err);
    } else {
        sqz_kernel_indices(model, q.order);
        status = prepare(&q, err);
        if (status == SQZ_OK) status = pack_all(&q, err);
    }
    sqz_free(q.order);
    sqz_free(q.status);
    if (status == SQZ_OK) *n_stats = q.n;
    return status;
}
