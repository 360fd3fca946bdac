/* checkpoint.c - finding the one state_dict in what torch.save() was given. */
#include "formats/pytorch.h"

#include <stdio.h>
#include <string.h>

/* Wrappers nest at most so deep: {"model": {"state_dict": {...}}}. */
#define MAX_NESTING 3

/* Two are an error already; more are only named in its text. */
#define MAX_CANDIDATES 8

/* Longest key path that a message or a choice by key uses. */
#define MAX_PATH_NBYTES 128

struct candidate {
    const struct sqz_pickle_value *dict;
    char path[MAX_PATH_NBYTES];
    bool has_kernels;
};

struct search {
    struct candidate candidates[MAX_CANDIDATES];
    size_t n;
};

static bool text_starts_with(const struct sqz_pickle_value *text, const char *prefix) {
    size_t n = strlen(prefix);
    return text->as.text.nbytes >= n && memcmp(text->as.text.data, prefix, n) == 0;
}

static bool text_ends_with(const struct sqz_pickle_value *text, const char *suffix) {
    size_t n = strlen(suffix);
    return text->as.text.nbytes >= n && memcmp(text->as.text.data + text->as.text.nbytes - n, suffix, n) == 0;
}

/* What training keeps beside the weights: tensors of the same shapes as theirs. */
static bool is_training_state(const struct sqz_pickle_value *key, const struct sqz_pickle_value *value) {
    return text_starts_with(key, "optim") || text_starts_with(key, "rng") || text_ends_with(key, "rng_state") ||
           text_ends_with(key, "optimizer") || text_ends_with(key, "scheduler") ||
           (sqz_pickle_get(value, "param_groups") && sqz_pickle_get(value, "state"));
}

/* Rank of a tensor value as far as it is readable, else 0. */
static size_t tensor_rank(const struct sqz_pickle_value *value) {
    struct sqz_torch_tensor tensor;
    if (sqz_torch_tensor_parse(value, "", &tensor, NULL) == SQZ_OK) return tensor.shape.rank;
    return 0;
}

enum content { NO_TENSORS, SOME_TENSORS, SOME_KERNELS };

/* Convolution and dense kernels have at least two dimensions; what cannot be read may be one. */
static enum content content_of(const struct sqz_pickle_value *dict) {
    enum content content = NO_TENSORS;
    for (size_t i = 0; i + 1 < dict->as.list.n_items; i += 2) {
        const struct sqz_pickle_value *key = dict->as.list.items[i], *value = dict->as.list.items[i + 1];
        if (key->kind != SQZ_PICKLE_TEXT || !sqz_torch_is_tensor(value)) continue;
        content = SOME_TENSORS;
        if (tensor_rank(value) >= 2) return SOME_KERNELS;
    }
    return content;
}

/* A state_dict's keys are paths of modules; a training record may hold single tensors, but under plain words. */
static bool has_module_paths(const struct sqz_pickle_value *dict) {
    for (size_t i = 0; i + 1 < dict->as.list.n_items; i += 2) {
        const struct sqz_pickle_value *key = dict->as.list.items[i];
        if (key->kind == SQZ_PICKLE_TEXT && key->as.text.nbytes && sqz_torch_is_tensor(dict->as.list.items[i + 1]) &&
            memchr(key->as.text.data, '.', key->as.text.nbytes))
            return true;
    }
    return false;
}

static void add_candidate(struct search *search, const struct sqz_pickle_value *dict, const char *path,
                          bool has_kernels) {
    if (search->n == MAX_CANDIDATES) return;
    struct candidate *candidate = &search->candidates[search->n++];
    *candidate = (struct candidate){.dict = dict, .has_kernels = has_kernels};
    snprintf(candidate->path, sizeof candidate->path, "%s", path);
}

/* Visit every dictionary once, however often and from wherever it is reachable. */
static void search_dict(struct search *search, struct sqz_pickle_value *dict, const char *path, int depth) {
    if (dict->visited) return;
    dict->visited = true;
    enum content content = content_of(dict);
    if (content != NO_TENSORS && has_module_paths(dict)) {
        add_candidate(search, dict, path, content == SOME_KERNELS);
        return;
    }
    size_t before = search->n;
    for (size_t i = 0; i + 1 < dict->as.list.n_items && depth < MAX_NESTING; i += 2) {
        const struct sqz_pickle_value *key = dict->as.list.items[i];
        struct sqz_pickle_value *value = dict->as.list.items[i + 1];
        if (key->kind != SQZ_PICKLE_TEXT || value->kind != SQZ_PICKLE_DICT) continue;
        if (value->visited || is_training_state(key, value)) continue;
        char inner[MAX_PATH_NBYTES];
        snprintf(inner, sizeof inner, "%s%s%.*s", path, *path ? "." : "",
                 key->as.text.nbytes < 64 ? (int)key->as.text.nbytes : 64, key->as.text.data);
        search_dict(search, value, inner, depth + 1);
    }
    /* A flat dictionary of tensors under plain words is a state_dict only where nothing inside it is one. */
    if (content != NO_TENSORS && search->n == before) add_candidate(search, dict, path, content == SOME_KERNELS);
}

/* Candidates without kernels (class weights of a loss) do not count beside one that has some. */
static void drop_minor_candidates(struct search *search) {
    size_t with_kernels = 0;
    for (size_t i = 0; i < search->n; i++) with_kernels += search->candidates[i].has_kernels;
    if (with_kernels == 0) return;
    size_t n = 0;
    for (size_t i = 0; i < search->n; i++)
        if (search->candidates[i].has_kernels) search->candidates[n++] = search->candidates[i];
    search->n = n;
}

static enum sqz_status choose(struct search *search, const char *wanted, const struct sqz_pickle_value **out,
                              struct sqz_error *err) {
    char list[(MAX_PATH_NBYTES + 4) * MAX_CANDIDATES] = "";
    if (!wanted) drop_minor_candidates(search);
    for (size_t i = 0; i < search->n; i++) {
        if (wanted && strcmp(search->candidates[i].path, wanted) == 0) {
            *out = search->candidates[i].dict;
            return SQZ_OK;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", search->candidates[i].path);
    }
    if (search->n == 0)
        return sqz_fail(err, SQZ_UNSUPPORTED, "the file holds no state_dict: no dictionary has tensors");
    if (wanted) return sqz_fail(err, SQZ_UNSUPPORTED, "the checkpoint has no state_dict %s; it has: %s", wanted, list);
    if (search->n > 1)
        return sqz_fail(err, SQZ_UNSUPPORTED,
                        "the checkpoint holds several state_dicts (%s): choose one of them by its key", list);
    *out = search->candidates[0].dict;
    return SQZ_OK;
}

static enum sqz_status find_dict(const struct sqz_pickle *pickle, const struct sqz_read_options *options,
                                 const struct sqz_pickle_value **out, struct sqz_error *err) {
    const struct sqz_pickle_value *root = pickle->root;
    if (sqz_torch_is_tensor(root)) return sqz_fail(err, SQZ_UNSUPPORTED, "the file holds one tensor, not a state_dict");
    if (root->kind != SQZ_PICKLE_DICT)
        return sqz_fail(err, SQZ_UNSUPPORTED, "the file holds %s, not a state_dict", sqz_pickle_kind_text(root));
    struct search search = {.n = 0};
    search_dict(&search, (struct sqz_pickle_value *)root, "", 0);
    return choose(&search, options->state_dict, out, err);
}

/* Packed parameters of a quantised layer stand in a tuple; as a tuple they would silently be lost. */
static bool holds_tensor(const struct sqz_pickle_value *value) {
    if (value->kind != SQZ_PICKLE_TUPLE && value->kind != SQZ_PICKLE_LIST) return false;
    for (size_t i = 0; i < value->as.list.n_items && i < 4; i++)
        if (sqz_torch_is_tensor(value->as.list.items[i])) return true;
    return false;
}

static enum sqz_status add_entry(struct sqz_checkpoint *checkpoint, const struct sqz_pickle_value *key,
                                 const struct sqz_pickle_value *value, struct sqz_error *err) {
    if (key->as.text.nbytes && memchr(key->as.text.data, 0, key->as.text.nbytes))
        return sqz_fail(err, SQZ_MALFORMED, "the name of a tensor contains a NUL");
    char *name = sqz_checkpoint_plain_name(&checkpoint->arena, key);
    if (!name) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the list of tensors");
    if (holds_tensor(value))
        return sqz_fail(err, SQZ_UNSUPPORTED,
                        "%s packs tensors into %s, as quantised layers do, which is not supported", name,
                        sqz_pickle_kind_text(value));
    if (!sqz_torch_is_tensor(value)) return SQZ_OK;
    if (checkpoint->n_entries == SQZ_MAX_WEIGHTS)
        return sqz_fail(err, SQZ_LIMIT, "the state_dict holds more than %d tensors", SQZ_MAX_WEIGHTS);
    struct sqz_checkpoint_entry *entry = &checkpoint->entries[checkpoint->n_entries++];
    entry->name = name;
    return sqz_torch_tensor_parse(value, name, &entry->first, err);
}

static enum sqz_status list_entries(const struct sqz_pickle_value *dict, struct sqz_checkpoint *out,
                                    struct sqz_error *err) {
    size_t n = dict->as.list.n_items / 2;
    if (n > SQZ_MAX_WEIGHTS) n = SQZ_MAX_WEIGHTS;
    out->entries = sqz_arena_alloc(&out->arena, n, sizeof *out->entries);
    if (!out->entries) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the list of tensors");
    for (size_t i = 0; i + 1 < dict->as.list.n_items; i += 2) {
        const struct sqz_pickle_value *key = dict->as.list.items[i];
        if (key->kind == SQZ_PICKLE_TEXT && !text_ends_with(key, "num_batches_tracked"))
            SQZ_TRY(add_entry(out, key, dict->as.list.items[i + 1], err));
    }
    return SQZ_OK;
}

enum sqz_status sqz_checkpoint_find(const struct sqz_pickle *pickle, const struct sqz_read_options *options,
                                    struct sqz_checkpoint *out, struct sqz_error *err) {
    const struct sqz_pickle_value *dict = NULL;
    *out = (struct sqz_checkpoint){0};
    enum sqz_status status = find_dict(pickle, options, &dict, err);
    if (status == SQZ_OK) status = list_entries(dict, out, err);
    if (status == SQZ_OK) sqz_checkpoint_strip_common(out, options);
    if (status == SQZ_OK) status = sqz_checkpoint_merge(out, err);
    if (status == SQZ_OK && out->n_entries == 0)
        status = sqz_fail(err, SQZ_UNSUPPORTED, "the state_dict holds no weights");
    if (status != SQZ_OK) sqz_checkpoint_free(out);
    return status;
}

void sqz_checkpoint_free(struct sqz_checkpoint *checkpoint) {
    sqz_arena_free(&checkpoint->arena);
    *checkpoint = (struct sqz_checkpoint){0};
}
