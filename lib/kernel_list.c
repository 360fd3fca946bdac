/* kernel_list.c - the weights of a model that compression works on. */
#include "lib/kernel_list.h"

#include <math.h>

#include "lib/chunks.h"
#include "lib/parallel.h"

size_t sqz_kernel_indices(const struct sqz_model *model, size_t *indices) {
    size_t n = 0;
    for (size_t i = 0; i < model->n_weights; i++) {
        if (model->weights[i].role != SQZ_ROLE_KERNEL) continue;
        if (indices) indices[n] = i;
        n++;
    }
    return n;
}

struct finite_check {
    const float *data;
    size_t n;
    size_t *first; /* [chunks] index of the first value that is not finite, or n */
};

static void check_chunk(void *context, size_t chunk, int thread) {
    (void)thread;
    struct finite_check *check = context;
    size_t begin, end = sqz_chunk_range(check->n, chunk, &begin);
    while (begin < end && isfinite(check->data[begin])) begin++;
    check->first[chunk] = begin < end ? begin : check->n;
}

enum sqz_status sqz_kernel_check_finite(const struct sqz_model *model, size_t weight, struct sqz_error *err) {
    const struct sqz_weight *w = &model->weights[weight];
    if (!w->data) return SQZ_OK;
    size_t n_chunks = sqz_chunk_count(w->count), index = w->count;
    struct finite_check check = {w->data, w->count, sqz_alloc(n_chunks, sizeof *check.first)};
    if (!check.first) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    sqz_parallel_for(n_chunks, check_chunk, &check);
    for (size_t chunk = 0; chunk < n_chunks && index == w->count; chunk++) index = check.first[chunk];
    sqz_free(check.first);
    if (index == w->count) return SQZ_OK;
    return sqz_fail(err, SQZ_NONFINITE, "weight %s of layer %s holds %s at index %zu", w->name,
                    sqz_model_layer_name(model, weight), isnan(w->data[index]) ? "NaN" : "infinity", index);
}
