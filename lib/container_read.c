/* container_read.c - the bytes of a .sqz file to a model, tensors and lanes in parallel. */
#include <stdlib.h>

#include "lib/container_file.h"
#include "lib/graph_code.h"
#include "lib/half.h"
#include "lib/parallel.h"
#include "lib/tensor_code.h"

/* Bound on the weights as float32 when the caller sets none. */
#define DEFAULT_MAX_NBYTES ((size_t)8 << 30)

/* A tensor of several groups, which may be decoded on different threads. */
struct shared_tensor {
    size_t weight;
    struct sqz_tensor_decoder decoder;
};

/* What one thread does at a time: a whole tensor, or one group of a shared one. */
struct task {
    struct shared_tensor *shared; /* NULL: the whole tensor */
    size_t weight, group;
    size_t count; /* weights, for the order */
    enum sqz_status status;
};

struct decoding {
    struct sqz_model *model;
    const struct sqz_section *sections;
    enum sqz_status *statuses; /* [n_weights] */
    size_t n_shared, n_tasks;
    struct shared_tensor *shared; /* [n_weights], n_shared in use */
    struct task *tasks;           /* [n_tasks] */
};

static enum sqz_status check_crc(const struct decoding *decoding, size_t i, struct sqz_error *err) {
    const struct sqz_section *section = &decoding->sections[i];
    const char *name = decoding->model->weights[i].name;
    if (sqz_crc32(section->data, section->nbytes) != section->crc)
        return sqz_fail(err, SQZ_CHECKSUM, "the checksum of weight %s does not match", name);
    if (section->nbytes == 0) return sqz_fail(err, SQZ_TRUNCATED, "the section of weight %s is empty", name);
    return SQZ_OK;
}

static bool is_float(const struct sqz_section *section) {
    return section->nbytes && section->data[0] <= SQZ_STORAGE_FLOAT16;
}

static enum sqz_status decode_floats(struct sqz_weight *weight, const struct sqz_section *section,
                                     struct sqz_error *err) {
    bool half = section->data[0] == SQZ_STORAGE_FLOAT16;
    struct sqz_reader in = sqz_reader_make(section->data + 1, section->nbytes - 1);
    size_t size = half ? 2 : 4;
    if (sqz_reader_left(&in) / size != weight->count || sqz_reader_left(&in) % size)
        return sqz_fail(err, sqz_reader_left(&in) / size < weight->count ? SQZ_TRUNCATED : SQZ_MALFORMED,
                        "the section of weight %s holds %zu bytes instead of %zu values", weight->name,
                        sqz_reader_left(&in), weight->count);
    weight->data = sqz_alloc(weight->count, sizeof *weight->data);
    if (!weight->data) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (size_t i = 0; i < weight->count; i++)
        weight->data[i] = half ? sqz_half_to_float(sqz_read_u16(&in)) : sqz_read_f32(&in);
    return SQZ_OK;
}

/* ---- pieces of work ------------------------------------------------------------------------- */

static enum sqz_status decode_section(struct decoding *decoding, size_t i, struct sqz_error *err) {
    const struct sqz_section *section = &decoding->sections[i];
    struct sqz_weight *weight = &decoding->model->weights[i];
    SQZ_TRY(check_crc(decoding, i, err));
    if (is_float(section)) return decode_floats(weight, section, err);
    return sqz_tensor_decode(section->data, section->nbytes, &weight->shape, weight->count, weight->name,
                             &weight->packed, err);
}

/* Open tensor number `index` of those that are shared out by groups. */
static void open_shared(void *context, size_t index, int thread) {
    (void)thread;
    struct decoding *decoding = context;
    struct shared_tensor *shared = &decoding->shared[index];
    const struct sqz_section *section = &decoding->sections[shared->weight];
    const struct sqz_weight *weight = &decoding->model->weights[shared->weight];
    enum sqz_status status = check_crc(decoding, shared->weight, NULL);
    if (status == SQZ_OK)
        status = sqz_tensor_open(&shared->decoder, section->data, section->nbytes, &weight->shape, weight->count,
                                 weight->name, NULL);
    decoding->statuses[shared->weight] = status;
}

static void run_task(void *context, size_t index, int thread) {
    (void)thread;
    struct decoding *decoding = context;
    struct task *task = &decoding->tasks[index];
    task->status = task->shared ? sqz_tensor_decode_group(&task->shared->decoder, task->group, NULL)
                                : decode_section(decoding, task->weight, NULL);
}

/* ---- sharing them out ----------------------------------------------------------------------------- */

/* Long ones first, so that the last ones to finish are short; then in the file's order. */
static int compare_tasks(const void *a, const void *b) {
    const struct task *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    if (x->weight != y->weight) return x->weight < y->weight ? -1 : 1;
    return x->group < y->group ? -1 : x->group > y->group;
}

static bool is_shared(const struct decoding *decoding, size_t i) {
    return !is_float(&decoding->sections[i]) && decoding->model->weights[i].count > SQZ_LANES_GROUP_COUNT;
}

static enum sqz_status open_all_shared(struct decoding *decoding, struct sqz_error *err) {
    size_t n = decoding->model->n_weights;
    decoding->shared = sqz_alloc0(n, sizeof *decoding->shared);
    decoding->statuses = sqz_alloc0(n, sizeof *decoding->statuses);
    if (!decoding->shared || !decoding->statuses) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (size_t i = 0; i < n; i++)
        if (is_shared(decoding, i)) decoding->shared[decoding->n_shared++].weight = i;
    sqz_parallel_for(decoding->n_shared, open_shared, decoding);
    return SQZ_OK;
}

static enum sqz_status list_tasks(struct decoding *decoding, struct sqz_error *err) {
    const struct sqz_model *model = decoding->model;
    size_t n = model->n_weights - decoding->n_shared;
    for (size_t k = 0; k < decoding->n_shared; k++)
        if (decoding->statuses[decoding->shared[k].weight] == SQZ_OK)
            n += sqz_tensor_groups(&decoding->shared[k].decoder);
    struct task *task = decoding->tasks = sqz_alloc0(n, sizeof *decoding->tasks);
    if (!task) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (size_t k = 0; k < decoding->n_shared; k++) {
        struct shared_tensor *shared = &decoding->shared[k];
        if (decoding->statuses[shared->weight] != SQZ_OK) continue;
        size_t n_groups = sqz_tensor_groups(&shared->decoder), count = model->weights[shared->weight].count;
        for (size_t g = 0; g < n_groups; g++)
            *task++ = (struct task){.shared = shared, .weight = shared->weight, .group = g, .count = count / n_groups};
    }
    for (size_t i = 0; i < model->n_weights; i++)
        if (!is_shared(decoding, i)) *task++ = (struct task){.weight = i, .count = model->weights[i].count};
    decoding->n_tasks = (size_t)(task - decoding->tasks);
    qsort(decoding->tasks, decoding->n_tasks, sizeof *decoding->tasks, compare_tasks);
    return SQZ_OK;
}

/* The first weight in the file's order that failed is decoded once more on this thread, for the message. */
static enum sqz_status first_failure(struct decoding *decoding, struct sqz_error *err) {
    for (size_t t = 0; t < decoding->n_tasks; t++)
        if (decoding->tasks[t].status != SQZ_OK)
            decoding->statuses[decoding->tasks[t].weight] = decoding->tasks[t].status;
    for (size_t i = 0; i < decoding->model->n_weights; i++) {
        if (decoding->statuses[i] == SQZ_OK) continue;
        SQZ_TRY(decode_section(decoding, i, err));
        return sqz_fail(err, decoding->statuses[i], "weight %s cannot be decoded", decoding->model->weights[i].name);
    }
    return SQZ_OK;
}

static enum sqz_status decode_sections(struct decoding *decoding, struct sqz_error *err) {
    SQZ_TRY(open_all_shared(decoding, err));
    SQZ_TRY(list_tasks(decoding, err));
    sqz_parallel_for(decoding->n_tasks, run_task, decoding);
    SQZ_TRY(first_failure(decoding, err));
    for (size_t k = 0; k < decoding->n_shared; k++)
        decoding->model->weights[decoding->shared[k].weight].packed = sqz_tensor_take(&decoding->shared[k].decoder);
    return SQZ_OK;
}

static void decoding_free(struct decoding *decoding) {
    for (size_t k = 0; k < decoding->n_shared; k++) sqz_tensor_close(&decoding->shared[k].decoder);
    sqz_free(decoding->shared);
    sqz_free(decoding->statuses);
    sqz_free(decoding->tasks);
}

/* ---- the file ---------------------------------------------------------------------------------- */

static enum sqz_status decode_file(const struct sqz_container_file *file, size_t max_nbytes, struct sqz_model **out,
                                   struct sqz_error *err) {
    struct sqz_buffer graph = {0};
    enum sqz_status status = sqz_container_inflate(file, &graph, err);
    struct sqz_model *model = NULL;
    if (status == SQZ_OK) status = sqz_graph_decode(graph.data, graph.nbytes, max_nbytes, &model, err);
    sqz_buffer_free(&graph);
    if (status != SQZ_OK) return status;
    struct decoding decoding = {.model = model, .sections = file->sections};
    if (model->n_weights != file->n_sections)
        status = sqz_fail(err, SQZ_MALFORMED, "the index has %zu tensors, the graph %zu", file->n_sections,
                          model->n_weights);
    if (status == SQZ_OK) status = decode_sections(&decoding, err);
    decoding_free(&decoding);
    if (status == SQZ_OK) status = sqz_model_check(model, err);
    if (status == SQZ_OK)
        *out = model;
    else
        sqz_model_free(model);
    return status;
}

enum sqz_status sqz_container_decode(const void *data, size_t nbytes, size_t max_nbytes, struct sqz_model **out,
                                     struct sqz_error *err) {
    struct sqz_container_file file;
    enum sqz_status status = sqz_container_file_open(&file, data, nbytes, err);
    if (status == SQZ_OK) status = decode_file(&file, max_nbytes ? max_nbytes : DEFAULT_MAX_NBYTES, out, err);
    sqz_container_file_close(&file);
    return status;
}
