/* checkpoint_names.c - the names in a state_dict: prefixes of wrappers, and weights that are kept in two parts. */
#include "formats/pytorch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Components that wrappers insert at any depth: DataParallel and torch.compile. */
static bool is_wrapper(const char *component, size_t nbytes) {
    static const char *const wrappers[] = {"module", "_orig_mod"};
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
        if (strlen(wrappers[i]) == nbytes && memcmp(component, wrappers[i], nbytes) == 0) return true;
    return false;
}

/* "module.features.0.weight" and "features.module.0.weight" both become "features.0.weight". */
char *sqz_checkpoint_plain_name(struct sqz_arena *arena, const struct sqz_pickle_value *key) {
    char *name = sqz_arena_strndup(arena, key->as.text.data, key->as.text.nbytes);
    if (!name) return NULL;
    char *to = name;
    for (const char *from = name; *from;) {
        const char *dot = strchr(from, '.');
        size_t nbytes = dot ? (size_t)(dot - from) + 1 : strlen(from);
        if (!dot || !is_wrapper(from, nbytes - 1)) {
            memmove(to, from, nbytes);
            to += nbytes;
        }
        from += nbytes;
    }
    *to = 0;
    return name;
}

/* ---- a common prefix ---------------------------------------------------- */

/* Attribute under which training frameworks keep the network itself. */
static const char *const network_prefixes[] = {"model.", "net.", "network."};

static bool has_prefix(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool all_kernels_have(const struct sqz_checkpoint *checkpoint, const char *prefix) {
    size_t n = 0;
    for (size_t i = 0; i < checkpoint->n_entries; i++) {
        const struct sqz_checkpoint_entry *entry = &checkpoint->entries[i];
        if (entry->first.shape.rank < 2) continue;
        if (!has_prefix(entry->name, prefix)) return false;
        n++;
    }
    return n > 0;
}

static void strip(struct sqz_checkpoint *checkpoint, const char *prefix, const struct sqz_read_options *options) {
    size_t n = 0;
    for (size_t i = 0; i < checkpoint->n_entries; i++) {
        struct sqz_checkpoint_entry *entry = &checkpoint->entries[i];
        if (has_prefix(entry->name, prefix)) {
            entry->name += strlen(prefix);
            checkpoint->entries[n++] = *entry;
        } else if (options->warn) {
            char text[256];
            snprintf(text, sizeof text, "%.128s lies outside the network %s and is left out", entry->name, prefix);
            options->warn(options->warn_context, text);
        }
    }
    checkpoint->n_entries = n;
}

void sqz_checkpoint_strip_common(struct sqz_checkpoint *checkpoint, const struct sqz_read_options *options) {
    for (size_t i = 0; i < sizeof network_prefixes / sizeof *network_prefixes; i++)
        if (all_kernels_have(checkpoint, network_prefixes[i])) strip(checkpoint, network_prefixes[i], options);
}

/* ---- weights in two parts ----------------------------------------------- */

static int compare_entries(const void *a, const void *b) {
    const struct sqz_checkpoint_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Entries by name, for look-ups; NULL when memory is short. */
static struct sqz_checkpoint_entry **sort_by_name(struct sqz_checkpoint *checkpoint) {
    struct sqz_checkpoint_entry **sorted = sqz_alloc(checkpoint->n_entries, sizeof *sorted);
    if (!sorted) return NULL;
    for (size_t i = 0; i < checkpoint->n_entries; i++) sorted[i] = &checkpoint->entries[i];
    if (checkpoint->n_entries) qsort(sorted, checkpoint->n_entries, sizeof *sorted, compare_entries);
    return sorted;
}

static enum sqz_status check_distinct(struct sqz_checkpoint_entry *const *sorted, size_t n, struct sqz_error *err) {
    for (size_t i = 1; i < n; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            return sqz_fail(err, SQZ_MALFORMED, "two tensors have the name %s once wrappers' prefixes are removed",
                            sorted[i]->name);
    return SQZ_OK;
}

static struct sqz_checkpoint_entry *lookup(struct sqz_checkpoint_entry *const *sorted, size_t n, const char *name) {
    struct sqz_checkpoint_entry wanted = {.name = name}, *key = &wanted;
    struct sqz_checkpoint_entry **found = n ? bsearch(&key, sorted, n, sizeof *sorted, compare_entries) : NULL;
    return found ? *found : NULL;
}

/* How two tensors' names make one weight's: STEM first_suffix and STEM second_suffix make BEFORE the suffix. */
static const struct pairing {
    enum sqz_recipe recipe;
    const char *first_suffix, *second_suffix, *joined_suffix;
} pairings[] = {
    {SQZ_RECIPE_MASKED, "_orig", "_mask", ""},
    {SQZ_RECIPE_WEIGHT_NORM, ".weight_g", ".weight_v", ".weight"},
    {SQZ_RECIPE_WEIGHT_NORM, ".parametrizations.weight.original0", ".parametrizations.weight.original1", ".weight"},
};

static bool has_suffix(const char *name, const char *suffix) {
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}

/* `name` with its suffix of length `nbytes` replaced. */
static char *with_suffix(struct sqz_arena *arena, const char *name, size_t nbytes, const char *suffix) {
    size_t stem = strlen(name) - nbytes, n = strlen(suffix);
    char *result = sqz_arena_alloc(arena, stem + n + 1, 1);
    if (!result) return NULL;
    memcpy(result, name, stem);
    memcpy(result + stem, suffix, n + 1);
    return result;
}

/* The mask has the weight's own shape; the norms g are [out][1][1][1] for a v of [out][...]. */
static enum sqz_status check_pair(const struct sqz_checkpoint_entry *first, const struct sqz_checkpoint_entry *second,
                                  enum sqz_recipe recipe, struct sqz_error *err) {
    const struct sqz_shape *a = &first->first.shape, *b = &second->first.shape;
    bool fits = sqz_shape_equal(a, b);
    if (recipe == SQZ_RECIPE_WEIGHT_NORM)
        fits = a->rank == b->rank && a->rank > 0 && a->dim[0] == b->dim[0] && first->first.count == a->dim[0];
    char first_text[SQZ_SHAPE_TEXT], second_text[SQZ_SHAPE_TEXT];
    if (fits) return SQZ_OK;
    return sqz_fail(err, SQZ_SHAPE, "%s of shape %s does not fit %s of shape %s", first->name,
                    sqz_shape_format(a, first_text), second->name, sqz_shape_format(b, second_text));
}

/* Turn the entry of the first suffix into the weight; the partner loses its name and is removed later. */
static enum sqz_status join(struct sqz_checkpoint *checkpoint, struct sqz_checkpoint_entry *const *sorted, size_t n,
                            struct sqz_checkpoint_entry *first, const struct pairing *pairing, struct sqz_error *err) {
    size_t suffix = strlen(pairing->first_suffix);
    char *partner_name = with_suffix(&checkpoint->arena, first->name, suffix, pairing->second_suffix);
    char *joined = with_suffix(&checkpoint->arena, first->name, suffix, pairing->joined_suffix);
    if (!partner_name || !joined) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the list of tensors");
    struct sqz_checkpoint_entry *partner = lookup(sorted, n, partner_name);
    if (!partner) return sqz_fail(err, SQZ_MISSING_WEIGHT, "%s has no %s", first->name, partner_name);
    if (lookup(sorted, n, joined))
        return sqz_fail(err, SQZ_MALFORMED, "%s and %s stand side by side", joined, first->name);
    SQZ_TRY(check_pair(first, partner, pairing->recipe, err));
    first->recipe = pairing->recipe;
    first->second = partner->first;
    first->joined_name = joined;
    partner->dropped = true;
    return SQZ_OK;
}

/* A second part whose first part is missing. */
static enum sqz_status check_no_orphan(struct sqz_checkpoint *checkpoint, struct sqz_checkpoint_entry *const *sorted,
                                       size_t n, const struct sqz_checkpoint_entry *second,
                                       const struct pairing *pairing, struct sqz_error *err) {
    const char *wanted =
        with_suffix(&checkpoint->arena, second->name, strlen(pairing->second_suffix), pairing->first_suffix);
    if (!wanted) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the list of tensors");
    if (lookup(sorted, n, wanted)) return SQZ_OK;
    return sqz_fail(err, SQZ_MISSING_WEIGHT, "%s has no %s", second->name, wanted);
}

static enum sqz_status join_all(struct sqz_checkpoint *checkpoint, struct sqz_checkpoint_entry *const *sorted, size_t n,
                                struct sqz_error *err) {
    SQZ_TRY(check_distinct(sorted, n, err));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof pairings / sizeof *pairings; k++) {
            struct sqz_checkpoint_entry *entry = &checkpoint->entries[i];
            if (has_suffix(entry->name, pairings[k].first_suffix))
                SQZ_TRY(join(checkpoint, sorted, n, entry, &pairings[k], err));
            else if (has_suffix(entry->name, pairings[k].second_suffix))
                SQZ_TRY(check_no_orphan(checkpoint, sorted, n, entry, &pairings[k], err));
        }
    return SQZ_OK;
}

enum sqz_status sqz_checkpoint_merge(struct sqz_checkpoint *checkpoint, struct sqz_error *err) {
    struct sqz_checkpoint_entry **sorted = sort_by_name(checkpoint);
    if (!sorted) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the list of tensors");
    enum sqz_status status = join_all(checkpoint, sorted, checkpoint->n_entries, err);
    sqz_free(sorted);
    if (status != SQZ_OK) return status;
    size_t n = 0;
    for (size_t i = 0; i < checkpoint->n_entries; i++) {
        struct sqz_checkpoint_entry *entry = &checkpoint->entries[i];
        if (entry->dropped) continue;
        if (entry->joined_name) entry->name = entry->joined_name;
        checkpoint->entries[n++] = *entry;
    }
    checkpoint->n_entries = n;
    return SQZ_OK;
}
