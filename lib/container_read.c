/* container_read.c - the bytes of a .sqz file to a model, tensors and lanes in parallel. */
#include <string.h>

#include "lib/container_file.h"
#include "lib/graph_code.h"
#include "lib/half.h"
#include "lib/parallel.h"
#include "lib/tensor_code.h"

/* Bound on the weights as float32 when the caller sets none. */
#define DEFAULT_MAX_NBYTES ((size_t)8 << 30)

struct decoding {
    struct sqz_model *model;
    const struct sqz_section *sections;
    enum sqz_status *statuses; /* [n_weights] */
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

/* ---- one tensor on one thread ------------------------------------------------------------ */

static enum sqz_status decode_section(struct decoding *decoding, size_t i, struct sqz_error *err) {
    const struct sqz_section *section = &decoding->sections[i];
    struct sqz_weight *weight = &decoding->model->weights[i];
    SQZ_TRY(check_crc(decoding, i, err));
    if (is_float(section)) return decode_floats(weight, section, err);
    return sqz_tensor_decode(section->data, section->nbytes, &weight->shape, weight->count, weight->name,
                             &weight->packed, err);
}

static bool is_shared(const struct decoding *decoding, size_t i) {
    return !is_float(&decoding->sections[i]) && decoding->model->weights[i].count > SQZ_LANES_GROUP_COUNT;
}

static void decode_small(void *context, size_t i, int thread) {
    (void)thread;
    struct decoding *decoding = context;
    if (!is_shared(decoding, i)) decoding->statuses[i] = decode_section(decoding, i, NULL);
}

/* ---- one tensor on all threads -------------------------------------------------------------- */

struct shared_decoding {
    const struct sqz_tensor_decoder *decoder;
    enum sqz_status *statuses; /* [groups] */
};

static void decode_group(void *context, size_t group, int thread) {
    (void)thread;
    struct shared_decoding *shared = context;
    shared->statuses[group] = sqz_tensor_decode_group(shared->decoder, group, NULL);
}

static enum sqz_status decode_groups(const struct sqz_tensor_decoder *decoder, struct sqz_error *err) {
    size_t n = sqz_tensor_groups(decoder);
    struct shared_decoding shared = {.decoder = decoder, .statuses = sqz_alloc0(n, sizeof *shared.statuses)};
    if (!shared.statuses) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    sqz_parallel_for(n, decode_group, &shared);
    enum sqz_status status = SQZ_OK;
    for (size_t i = 0; status == SQZ_OK && i < n; i++) {
        if (shared.statuses[i] == SQZ_OK) continue;
        /* Once more on this thread, for the message. */
        status = sqz_tensor_decode_group(decoder, i, err);
        if (status == SQZ_OK) status = sqz_fail(err, shared.statuses[i], "weight %s cannot be decoded", decoder->name);
    }
    sqz_free(shared.statuses);
    return status;
}

static enum sqz_status decode_shared(struct decoding *decoding, size_t i, struct sqz_error *err) {
    const struct sqz_section *section = &decoding->sections[i];
    struct sqz_weight *weight = &decoding->model->weights[i];
    SQZ_TRY(check_crc(decoding, i, err));
    struct sqz_tensor_decoder decoder;
    enum sqz_status status =
        sqz_tensor_open(&decoder, section->data, section->nbytes, &weight->shape, weight->count, weight->name, err);
    if (status == SQZ_OK) status = decode_groups(&decoder, err);
    if (status == SQZ_OK) weight->packed = sqz_tensor_take(&decoder);
    sqz_tensor_close(&decoder);
    return status;
}

/* ---- the file ---------------------------------------------------------------------------------- */

static enum sqz_status decode_sections(struct decoding *decoding, struct sqz_error *err) {
    size_t n = decoding->model->n_weights;
    for (size_t i = 0; i < n; i++)
        if (is_shared(decoding, i)) SQZ_TRY(decode_shared(decoding, i, err));
    sqz_parallel_for(n, decode_small, decoding);
    for (size_t i = 0; i < n; i++) {
        if (decoding->statuses[i] == SQZ_OK) continue;
        SQZ_TRY(decode_section(decoding, i, err));
        return sqz_fail(err, decoding->statuses[i], "weight %s cannot be decoded", decoding->model->weights[i].name);
    }
    return SQZ_OK;
}

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
    if (status == SQZ_OK) {
        decoding.statuses = sqz_alloc0(model->n_weights, sizeof *decoding.statuses);
        status =
            decoding.statuses ? decode_sections(&decoding, err) : sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
        sqz_free(decoding.statuses);
    }
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
