/* dataset_list.c - text lists of labels: "file index" lines, one label per line in order, and synset ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/dataset_parts.h"

/* ---- lines --------------------------------------------------------------- */

struct lines {
    const char *next, *end;
    size_t number; /* of the line last read, from 1 */
};

struct span {
    const char *text;
    size_t length;
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static struct lines lines_of(const struct sqz_source *source) {
    const char *text = (const char *)source->data;
    size_t skip = source->nbytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* byte order mark */
    return (struct lines){text + skip, text + source->nbytes, 0};
}

/* The next line that is not blank, without white space around it; false at the end. */
static bool next_line(struct lines *lines, struct span *out) {
    while (lines->next < lines->end) {
        const char *start = lines->next, *newline = memchr(start, '\n', (size_t)(lines->end - start));
        const char *stop = newline ? newline : lines->end;
        lines->next = newline ? newline + 1 : lines->end;
        lines->number++;
        while (start < stop && is_blank(*start)) start++;
        while (start < stop && is_blank(stop[-1])) stop--;
        *out = (struct span){start, (size_t)(stop - start)};
        if (start < stop) return true;
    }
    return false;
}

/* ---- synsets ------------------------------------------------------------- */

bool sqz_is_synset(const char *text, size_t length) {
    if (length != 9 || text[0] != 'n') return false;
    for (size_t i = 1; i < length; i++)
        if (text[i] < '0' || text[i] > '9') return false;
    return true;
}

static int compare_synsets(const void *a, const void *b) {
    return strcmp(((const struct sqz_synset *)a)->id, ((const struct sqz_synset *)b)->id);
}

static enum sqz_status parse_synsets(const struct sqz_source *source, struct sqz_synsets *out, struct sqz_error *err) {
    struct lines lines = lines_of(source);
    struct span line;
    size_t n = 0;
    while (next_line(&lines, &line)) n++;
    struct sqz_synset *sorted = sqz_alloc(n, sizeof *sorted);
    if (!sorted) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for a list of %zu synsets", n);
    lines = lines_of(source);
    for (size_t i = 0; i < n && next_line(&lines, &line); i++) {
        if (line.length < 9 || !sqz_is_synset(line.text, 9) || (line.length > 9 && !is_blank(line.text[9]))) {
            sqz_free(sorted);
            return sqz_fail(err, SQZ_BAD_LABEL, "line %zu of the synset list does not start with a synset id",
                            lines.number);
        }
        memcpy(sorted[i].id, line.text, 9);
        sorted[i].id[9] = '\0';
        sorted[i].class_index = (int)i;
    }
    qsort(sorted, n, sizeof *sorted, compare_synsets);
    *out = (struct sqz_synsets){n, sorted};
    return SQZ_OK;
}

enum sqz_status sqz_synsets_read(const char *folder, struct sqz_synsets *out, struct sqz_error *err) {
    static const char *const names[] = {"synset_words.txt", "synsets.txt"};
    *out = (struct sqz_synsets){0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[SQZ_DATASET_PATH];
        struct sqz_source source;
        SQZ_TRY(sqz_join_path(folder, names[i], path, err));
        enum sqz_status status = sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, NULL);
        if (status == SQZ_NOT_FOUND) continue;
        if (status != SQZ_OK) return sqz_fail(err, status, "the synset list %s cannot be read", path);
        status = parse_synsets(&source, out, err);
        sqz_source_close(&source);
        if (status != SQZ_OK) sqz_error_set_file(err, path);
        return status;
    }
    return SQZ_OK;
}

int sqz_synsets_find(const struct sqz_synsets *synsets, const char *id) {
    struct sqz_synset key = {.class_index = 0};
    snprintf(key.id, sizeof key.id, "%s", id);
    const struct sqz_synset *found =
        synsets->n ? bsearch(&key, synsets->sorted, synsets->n, sizeof key, compare_synsets) : NULL;
    return found ? found->class_index : -1;
}

void sqz_synsets_free(struct sqz_synsets *synsets) {
    sqz_free(synsets->sorted);
    *synsets = (struct sqz_synsets){0};
}

/* ---- labels -------------------------------------------------------------- */

struct list {
    const struct sqz_dataset_options *options;
    const char *path;   /* of the list */
    const char *folder; /* of the images */
    struct sqz_synsets synsets;
    struct lines lines;
};

/* A whole number, maybe with a sign: what a label looks like even where it is out of range. */
static bool is_integer(struct span word) {
    size_t i = word.length > 1 && word.text[0] == '-' ? 1 : 0;
    if (i == word.length) return false;
    for (; i < word.length; i++)
        if (word.text[i] < '0' || word.text[i] > '9') return false;
    return true;
}

static bool is_label(struct span word) {
    return is_integer(word) || sqz_is_synset(word.text, word.length);
}

/* Find the synset list beside the label list, or else beside the images. */
static enum sqz_status need_synsets(struct list *list, struct sqz_error *err) {
    if (list->synsets.n > 0) return SQZ_OK;
    char beside[SQZ_DATASET_PATH];
    SQZ_TRY(sqz_path_beside(list->path, ".", beside, sizeof beside, err));
    SQZ_TRY(sqz_synsets_read(beside, &list->synsets, err));
    if (list->synsets.n == 0 && list->folder) SQZ_TRY(sqz_synsets_read(list->folder, &list->synsets, err));
    if (list->synsets.n == 0)
        return sqz_fail(err, SQZ_BAD_LABEL,
                        "line %zu gives a synset id, but there is no synset_words.txt beside the list or the images",
                        list->lines.number);
    return SQZ_OK;
}

static enum sqz_status parse_label(struct list *list, struct span word, int *out, struct sqz_error *err) {
    char text[16], where[48];
    snprintf(where, sizeof where, "line %zu", list->lines.number);
    if (word.length >= sizeof text)
        return sqz_fail(err, SQZ_BAD_LABEL, "the label in %s is out of range: it has %zu digits", where, word.length);
    memcpy(text, word.text, word.length);
    text[word.length] = '\0';
    if (is_integer(word)) return sqz_dataset_base_label(list->options, strtol(text, NULL, 10), where, out, err);
    SQZ_TRY(need_synsets(list, err));
    *out = sqz_synsets_find(&list->synsets, text);
    if (*out < 0)
        return sqz_fail(err, SQZ_BAD_LABEL, "the synset id %s in %s is not in the list of synsets", text, where);
    return SQZ_OK;
}

/* Split "name label" at the last white space; without a label the whole line is the name. */
static void split_line(struct span line, struct span *name, struct span *label) {
    size_t start = line.length;
    while (start > 0 && !is_blank(line.text[start - 1])) start--;
    size_t stop = start;
    while (stop > 0 && is_blank(line.text[stop - 1])) stop--;
    *label = (struct span){line.text + start, line.length - start};
    *name = (struct span){line.text, stop};
    if (stop > 0 && is_label(*label)) return;
    *name = line;
    *label = (struct span){NULL, 0};
}

static enum sqz_status add_named(struct sqz_dataset *dataset, struct list *list, struct span line,
                                 struct sqz_error *err) {
    struct span name, word;
    char text[SQZ_DATASET_PATH];
    int label = -1;
    split_line(line, &name, &word);
    if (name.length >= sizeof text || memchr(name.text, '\0', name.length))
        return sqz_fail(err, SQZ_MALFORMED, "line %zu holds no file name", list->lines.number);
    memcpy(text, name.text, name.length);
    text[name.length] = '\0';
    if (word.text)
        SQZ_TRY(parse_label(list, word, &label, err));
    else if (list->options->need_labels)
        return sqz_fail(err, SQZ_BAD_LABEL, "line %zu gives no label for %s", list->lines.number, text);
    return sqz_dataset_add(dataset, text, label, NULL, err);
}

static enum sqz_status read_in_order(struct sqz_dataset *dataset, struct list *list, struct sqz_error *err) {
    struct span line;
    size_t i = 0;
    for (; next_line(&list->lines, &line); i++) {
        if (!is_label(line)) return sqz_fail(err, SQZ_BAD_LABEL, "line %zu is not a class index", list->lines.number);
        if (i < dataset->count) SQZ_TRY(parse_label(list, line, &dataset->entries[i].label, err));
    }
    if (i != dataset->count)
        return sqz_fail(err, SQZ_BAD_LABEL, "the list has %zu labels for %zu images", i, dataset->count);
    return SQZ_OK;
}

static enum sqz_status open_flat_folder(struct sqz_dataset *dataset, const char *path, struct sqz_error *err) {
    struct sqz_folder folder;
    SQZ_TRY(sqz_folder_read(path, &folder, err));
    enum sqz_status status = sqz_dataset_open_flat(dataset, path, &folder, err);
    sqz_folder_free(&folder);
    return status;
}

/* The last component of a path, for descriptions. */
static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static enum sqz_status read_list(struct sqz_dataset *dataset, struct list *list, struct sqz_error *err) {
    struct lines peek = list->lines;
    struct span line;
    if (!next_line(&peek, &line)) return sqz_fail(err, SQZ_BAD_LABEL, "the list of labels is empty");
    if (is_label(line)) {
        SQZ_TRY(open_flat_folder(dataset, list->folder, err));
        SQZ_TRY(read_in_order(dataset, list, err));
    } else {
        dataset->root = sqz_arena_strdup(&dataset->arena, list->folder);
        if (!dataset->root) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for opening a data set");
        while (next_line(&list->lines, &line)) SQZ_TRY(add_named(dataset, list, line, err));
    }
    snprintf(dataset->how, sizeof dataset->how, "folder with %.100s%s%s", base_name(list->path),
             is_label(line) ? " in the order of file names" : "", list->options->one_based ? " counted from 1" : "");
    return SQZ_OK;
}

static enum sqz_status with_list(struct sqz_dataset *dataset, const char *path, const char *list_path,
                                 const struct sqz_dataset_options *options, struct sqz_error *err,
                                 enum sqz_status (*read)(struct sqz_dataset *, struct list *, struct sqz_error *)) {
    struct sqz_source source;
    struct list list = {.options = options, .path = list_path, .folder = path};
    enum sqz_status status = sqz_source_open(list_path, SQZ_SOURCE_LIMIT, &source, err);
    if (status == SQZ_OK) {
        list.lines = lines_of(&source);
        status = read(dataset, &list, err);
        sqz_synsets_free(&list.synsets);
        sqz_source_close(&source);
    }
    if (status != SQZ_OK) sqz_error_set_file(err, list_path);
    return status;
}

enum sqz_status sqz_dataset_open_list(struct sqz_dataset *dataset, const char *path, const char *list,
                                      const struct sqz_dataset_options *options, struct sqz_error *err) {
    return with_list(dataset, path, list, options, err, read_list);
}

enum sqz_status sqz_dataset_label_in_order(struct sqz_dataset *dataset, const char *list,
                                           const struct sqz_dataset_options *options, struct sqz_error *err) {
    return with_list(dataset, NULL, list, options, err, read_in_order);
}
