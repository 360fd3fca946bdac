/* pytorch.c - reading PyTorch's .pth and .pt files: archive, state_dict, weights, architecture. */
#include "formats/pytorch.h"

#include <math.h>

bool sqz_pytorch_probe(const struct sqz_source *source) {
    return sqz_torch_zip_probe(source) || sqz_torch_legacy_probe(source);
}

enum sqz_status sqz_torch_open(const struct sqz_source *source, struct sqz_torch_archive *out, struct sqz_error *err) {
    if (sqz_torch_zip_probe(source)) return sqz_torch_zip_open(source, out, err);
    return sqz_torch_legacy_open(source, out, err);
}

void sqz_torch_close(struct sqz_torch_archive *archive) {
    archive->close(archive);
    sqz_pickle_free(&archive->pickle);
}

/* ---- weights ------------------------------------------------------------ */

/* Shape and length of the weight that an entry's recipe makes: the mask's, or that of v. */
static const struct sqz_torch_tensor *result_of(const struct sqz_checkpoint_entry *entry) {
    return entry->recipe == SQZ_RECIPE_WEIGHT_NORM ? &entry->second : &entry->first;
}

/* Names and shapes of a checkpoint's weights, without data. */
static enum sqz_status list_weights(const struct sqz_checkpoint *checkpoint, struct sqz_torch_weights *out,
                                    struct sqz_error *err) {
    *out = (struct sqz_torch_weights){0};
    struct sqz_named_tensor *tensors = sqz_arena_alloc(&out->arena, checkpoint->n_entries, sizeof *tensors);
    for (size_t i = 0; tensors && i < checkpoint->n_entries; i++) {
        tensors[i].shape = result_of(&checkpoint->entries[i])->shape;
        tensors[i].name = sqz_arena_strdup(&out->arena, checkpoint->entries[i].name);
        if (!tensors[i].name) tensors = NULL;
    }
    if (!tensors) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the list of tensors");
    out->tensors = tensors;
    out->n = checkpoint->n_entries;
    return SQZ_OK;
}

/* Held against the limit before anything is allocated: repeated elements let a small file name a huge tensor. */
static enum sqz_status check_limit(const struct sqz_checkpoint *checkpoint, size_t limit, struct sqz_error *err) {
    size_t left = limit / sizeof(float);
    for (size_t i = 0; i < checkpoint->n_entries; i++) {
        const struct sqz_checkpoint_entry *entry = &checkpoint->entries[i];
        size_t count = result_of(entry)->count;
        if (count > left)
            return sqz_fail(err, SQZ_LIMIT, "the weights up to %s take more than the limit of %zu bytes", entry->name,
                            limit);
        left -= count;
    }
    return SQZ_OK;
}

/* v * g / |v|, with the norm of each output channel in double precision. */
static void apply_weight_norm(const float *g, float *v, size_t n_channels, size_t n) {
    for (size_t c = 0; c < n_channels; c++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += (double)v[c * n + i] * v[c * n + i];
        double scale = (double)g[c] / sqrt(sum);
        for (size_t i = 0; i < n; i++) v[c * n + i] = (float)(v[c * n + i] * scale);
    }
}

static enum sqz_status load_entry(struct sqz_torch_archive *archive, const struct sqz_checkpoint_entry *entry,
                                  float **out, struct sqz_error *err) {
    float *first, *second;
    SQZ_TRY(sqz_torch_tensor_load(archive, &entry->first, entry->name, &first, err));
    *out = first;
    if (entry->recipe == SQZ_RECIPE_PLAIN) return SQZ_OK;
    enum sqz_status status = sqz_torch_tensor_load(archive, &entry->second, entry->name, &second, err);
    if (status != SQZ_OK) {
        sqz_free(first);
        *out = NULL;
        return status;
    }
    if (entry->recipe == SQZ_RECIPE_MASKED) {
        for (size_t i = 0; i < entry->first.count; i++) first[i] *= second[i];
        sqz_free(second);
    } else {
        size_t n_channels = entry->first.count;
        if (n_channels) apply_weight_norm(first, second, n_channels, entry->second.count / n_channels);
        sqz_free(first);
        *out = second;
    }
    return SQZ_OK;
}

static enum sqz_status load_weights(struct sqz_torch_archive *archive, const struct sqz_checkpoint *checkpoint,
                                    struct sqz_torch_weights *weights, struct sqz_error *err) {
    for (size_t i = 0; i < checkpoint->n_entries; i++)
        SQZ_TRY(load_entry(archive, &checkpoint->entries[i], &weights->tensors[i].data, err));
    return SQZ_OK;
}

void sqz_torch_weights_free(struct sqz_torch_weights *weights) {
    for (size_t i = 0; i < weights->n; i++) sqz_free(weights->tensors[i].data);
    sqz_arena_free(&weights->arena);
    *weights = (struct sqz_torch_weights){0};
}

/* ---- files -------------------------------------------------------------- */

/* List the weights; with `match`, refuse a file that is no known architecture before its weights are read. */
static enum sqz_status read_archive(struct sqz_torch_archive *archive, const struct sqz_read_options *options,
                                    bool match, const char **arch, struct sqz_torch_weights *out,
                                    struct sqz_error *err) {
    struct sqz_checkpoint checkpoint;
    SQZ_TRY(sqz_checkpoint_find(&archive->pickle, options, &checkpoint, err));
    enum sqz_status status = list_weights(&checkpoint, out, err);
    if (status == SQZ_OK && match) status = sqz_arch_match(options->arch, out->tensors, out->n, arch, err);
    if (status == SQZ_OK) status = check_limit(&checkpoint, options->max_nbytes, err);
    if (status == SQZ_OK) status = load_weights(archive, &checkpoint, out, err);
    sqz_checkpoint_free(&checkpoint);
    if (status != SQZ_OK) sqz_torch_weights_free(out);
    return status;
}

static enum sqz_status read_file(const struct sqz_source *source, const struct sqz_read_options *options, bool match,
                                 const char **arch, struct sqz_torch_weights *out, struct sqz_error *err) {
    struct sqz_torch_archive archive;
    SQZ_TRY(sqz_torch_open(source, &archive, err));
    enum sqz_status status = read_archive(&archive, options, match, arch, out, err);
    sqz_torch_close(&archive);
    return status;
}

enum sqz_status sqz_torch_read_weights(const struct sqz_source *source, const struct sqz_read_options *options,
                                       struct sqz_torch_weights *out, struct sqz_error *err) {
    return read_file(source, options, false, NULL, out, err);
}

enum sqz_status sqz_pytorch_read(const struct sqz_source *source, const struct sqz_read_options *options,
                                 struct sqz_model **out, struct sqz_error *err) {
    struct sqz_torch_weights weights;
    const char *arch;
    struct sqz_model *model = NULL;
    *out = NULL;
    SQZ_TRY(read_file(source, options, true, &arch, &weights, err));
    enum sqz_status status = sqz_arch_build(arch, weights.tensors, weights.n, &model, err);
    sqz_torch_weights_free(&weights);
    if (status != SQZ_OK) return status;
    model->source = "pytorch";
    status = sqz_model_check(model, err);
    if (status == SQZ_OK)
        *out = model;
    else
        sqz_model_free(model);
    return status;
}
