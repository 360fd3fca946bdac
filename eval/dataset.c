/* dataset.c - opens labelled image sets whatever their layout, and loads one image at a time. */
#include "eval/dataset.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "eval/dataset_parts.h"
#include "eval/image_parts.h"

/* ---- building ------------------------------------------------------------ */

enum sqz_status sqz_dataset_add(struct sqz_dataset *dataset, const char *name, int label, const uint8_t *raw,
                                struct sqz_error *err) {
    if (dataset->count == SQZ_DATASET_MAX_IMAGES)
        return sqz_fail(err, SQZ_LIMIT, "the data set has more than %zu images", SQZ_DATASET_MAX_IMAGES);
    if (dataset->count == dataset->capacity) {
        size_t capacity = dataset->capacity ? 2 * dataset->capacity : 256;
        void *entries = sqz_realloc(dataset->entries, capacity, sizeof *dataset->entries);
        if (!entries) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for a list of %zu images", capacity);
        dataset->entries = entries;
        dataset->capacity = capacity;
    }
    const char *copy = sqz_arena_strdup(&dataset->arena, name);
    if (!copy) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for the names of %zu images", dataset->count + 1);
    dataset->entries[dataset->count++] = (struct sqz_dataset_entry){copy, raw, label};
    return SQZ_OK;
}

enum sqz_status sqz_dataset_keep(struct sqz_dataset *dataset, const char *path, struct sqz_source *out,
                                 struct sqz_error *err) {
    void *sources = sqz_realloc(dataset->sources, dataset->n_sources + 1, sizeof *dataset->sources);
    if (!sources) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for opening %s", path);
    dataset->sources = sources;
    enum sqz_status status = sqz_source_open(path, SQZ_SOURCE_LIMIT, out, err);
    if (status != SQZ_OK) {
        sqz_error_set_file(err, path);
        return status;
    }
    dataset->sources[dataset->n_sources++] = *out;
    return SQZ_OK;
}

enum sqz_status sqz_dataset_base_label(const struct sqz_dataset_options *options, long number, const char *what,
                                       int *out, struct sqz_error *err) {
    long first = options->one_based ? 1 : 0;
    if (number < first || number - first > INT_MAX)
        return sqz_fail(err, SQZ_BAD_LABEL, "the label %ld of %s is out of range: labels start at %ld", number, what,
                        first);
    *out = (int)(number - first);
    return SQZ_OK;
}

enum sqz_status sqz_join_path(const char *folder, const char *name, char buffer[SQZ_DATASET_PATH],
                              struct sqz_error *err) {
    size_t length = strlen(folder);
    const char *separator = length > 0 && folder[length - 1] == '/' ? "" : "/";
    if (snprintf(buffer, SQZ_DATASET_PATH, "%s%s%s", folder, separator, name) >= SQZ_DATASET_PATH)
        return sqz_fail(err, SQZ_LIMIT, "the path of %.64s... is longer than %d bytes", name, SQZ_DATASET_PATH);
    return SQZ_OK;
}

/* ---- opening ------------------------------------------------------------- */

/* The test split where a folder holds several: MNIST's t10k, CIFAR's test. */
static bool is_test_split(const char *name) {
    return strncmp(name, "t10k", 4) == 0 || strncmp(name, "test", 4) == 0;
}

/* IDX images of a folder: the only file, or the only one of a test split. *out stays NULL when there is none. */
static enum sqz_status choose_idx(const struct sqz_folder *folder, const char **out, struct sqz_error *err) {
    const char *any = NULL, *test = NULL;
    size_t n_any = 0, n_test = 0;
    for (size_t i = 0; i < folder->n_files; i++) {
        const char *images = strstr(folder->files[i], "images");
        if (!images || !strstr(images, "idx3")) continue;
        any = folder->files[i];
        n_any++;
        if (is_test_split(any)) {
            test = any;
            n_test++;
        }
    }
    if (n_any > 1 && n_test != 1)
        return sqz_fail(err, SQZ_ARGUMENT, "the folder holds %zu IDX image files; name one of them, for example %s",
                        n_any, any);
    *out = n_any > 1 ? test : any;
    return SQZ_OK;
}

static bool stat_regular(const char *path, size_t *out_nbytes) {
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return false;
    *out_nbytes = (size_t)st.st_size;
    return true;
}

/* Collect the CIFAR batches of a folder into paths (arena of the set): those of the test split if there are any. */
static enum sqz_status find_cifar(struct sqz_dataset *dataset, const char *path, const struct sqz_folder *folder,
                                  const char **paths, size_t *out_n, struct sqz_error *err) {
    size_t n = 0;
    bool only_test = false;
    for (size_t i = 0; i < folder->n_files; i++) {
        char full[SQZ_DATASET_PATH];
        size_t nbytes;
        SQZ_TRY(sqz_join_path(path, folder->files[i], full, err));
        if (!stat_regular(full, &nbytes) || !sqz_is_cifar(folder->files[i], nbytes)) continue;
        bool test = is_test_split(folder->files[i]);
        if (test && !only_test) n = 0;
        only_test |= test;
        if (only_test && !test) continue;
        paths[n] = sqz_arena_strdup(&dataset->arena, full);
        if (!paths[n++]) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for the names of %zu files", n);
    }
    *out_n = n;
    return SQZ_OK;
}

static enum sqz_status open_cifar_folder(struct sqz_dataset *dataset, const char *path, const struct sqz_folder *folder,
                                         const struct sqz_dataset_options *options, bool *out_found,
                                         struct sqz_error *err) {
    const char **paths = sqz_alloc(folder->n_files, sizeof *paths);
    if (!paths) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for the names of %zu files", folder->n_files);
    size_t n = 0;
    enum sqz_status status = find_cifar(dataset, path, folder, paths, &n, err);
    *out_found = n > 0;
    if (status == SQZ_OK && n > 0) status = sqz_dataset_open_cifar(dataset, paths, n, options, err);
    sqz_free(paths);
    return status;
}

static enum sqz_status open_listed_folder(struct sqz_dataset *dataset, const char *path,
                                          const struct sqz_folder *folder, const struct sqz_dataset_options *options,
                                          struct sqz_error *err) {
    const char *idx = NULL;
    bool cifar = false;
    char full[SQZ_DATASET_PATH];
    if (!options->labels && sqz_folder_has(folder, "labels.txt")) {
        SQZ_TRY(sqz_join_path(path, "labels.txt", full, err));
        return sqz_dataset_open_list(dataset, path, full, options, err);
    }
    SQZ_TRY(choose_idx(folder, &idx, err));
    if (idx) {
        SQZ_TRY(sqz_join_path(path, idx, full, err));
        return sqz_dataset_open_idx(dataset, full, options, err);
    }
    SQZ_TRY(open_cifar_folder(dataset, path, folder, options, &cifar, err));
    if (cifar) return SQZ_OK;
    if (options->labels) return sqz_dataset_open_list(dataset, path, options->labels, options, err);
    if (folder->n_folders > 0) SQZ_TRY(sqz_dataset_open_classes(dataset, path, folder, options, err));
    if (dataset->count == 0) SQZ_TRY(sqz_dataset_open_flat(dataset, path, folder, err));
    return SQZ_OK;
}

static enum sqz_status open_folder(struct sqz_dataset *dataset, const char *path,
                                   const struct sqz_dataset_options *options, struct sqz_error *err) {
    struct sqz_folder folder;
    SQZ_TRY(sqz_folder_read(path, &folder, err));
    enum sqz_status status = open_listed_folder(dataset, path, &folder, options, err);
    sqz_folder_free(&folder);
    return status;
}

static enum sqz_status open_file(struct sqz_dataset *dataset, const char *path,
                                 const struct sqz_dataset_options *options, struct sqz_error *err) {
    struct sqz_source source;
    SQZ_TRY(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, err));
    bool idx = sqz_is_idx(source.data, source.nbytes), cifar = sqz_is_cifar(path, source.nbytes);
    sqz_source_close(&source);
    if (idx) return sqz_dataset_open_idx(dataset, path, options, err);
    if (cifar) return sqz_dataset_open_cifar(dataset, &path, 1, options, err);
    snprintf(dataset->how, sizeof dataset->how, "one image file");
    SQZ_TRY(sqz_dataset_add(dataset, path, -1, NULL, err));
    return options->labels ? sqz_dataset_label_in_order(dataset, options->labels, options, err) : SQZ_OK;
}

/* Hold every label against what the caller asked for, and describe the set. */
static enum sqz_status check_labels(struct sqz_dataset *dataset, const struct sqz_dataset_options *options,
                                    struct sqz_error *err) {
    int lowest = INT_MAX, highest = -1;
    for (size_t i = 0; i < dataset->count; i++) {
        const struct sqz_dataset_entry *entry = &dataset->entries[i];
        if (options->need_labels && entry->label < 0)
            return sqz_fail(err, SQZ_BAD_LABEL, "the image %s has no label", entry->name);
        if (options->n_classes > 0 && entry->label >= 0 && (size_t)entry->label >= options->n_classes)
            return sqz_fail(
                err, SQZ_BAD_LABEL, "the label %d of image %s is out of range: there are %zu classes, 0 to %zu%s",
                entry->label, entry->name, options->n_classes, options->n_classes - 1,
                (size_t)entry->label == options->n_classes && !options->one_based ? " (do the labels start at 1?)"
                                                                                  : "");
        if (entry->label >= 0 && entry->label < lowest) lowest = entry->label;
        if (entry->label > highest) highest = entry->label;
    }
    int n = snprintf(dataset->description, sizeof dataset->description, "%s, %zu image%s, ", dataset->how,
                     dataset->count, dataset->count == 1 ? "" : "s");
    if (n < 0 || (size_t)n >= sizeof dataset->description) return SQZ_OK;
    if (highest < 0)
        snprintf(dataset->description + n, sizeof dataset->description - (size_t)n, "no labels");
    else
        snprintf(dataset->description + n, sizeof dataset->description - (size_t)n, "labels %d to %d", lowest, highest);
    return SQZ_OK;
}

static enum sqz_status open_any(struct sqz_dataset *dataset, const char *path,
                                const struct sqz_dataset_options *options, struct sqz_error *err) {
    struct stat st;
    if (stat(path, &st) != 0)
        return sqz_fail(err, errno == ENOENT || errno == ENOTDIR ? SQZ_NOT_FOUND : SQZ_IO,
                        "the data set cannot be opened: %s", strerror(errno));
    if (S_ISDIR(st.st_mode))
        SQZ_TRY(open_folder(dataset, path, options, err));
    else
        SQZ_TRY(open_file(dataset, path, options, err));
    return check_labels(dataset, options, err);
}

enum sqz_status sqz_dataset_open(const char *path, const struct sqz_dataset_options *options, struct sqz_dataset **out,
                                 struct sqz_error *err) {
    struct sqz_dataset *dataset = sqz_alloc0(1, sizeof *dataset);
    if (!dataset) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for opening a data set");
    dataset->apply_exif = options->apply_exif;
    enum sqz_status status = open_any(dataset, path, options, err);
    if (status != SQZ_OK) {
        sqz_error_set_file(err, path);
        sqz_dataset_close(dataset);
        return status;
    }
    *out = dataset;
    return SQZ_OK;
}

void sqz_dataset_close(struct sqz_dataset *dataset) {
    if (!dataset) return;
    for (size_t i = 0; i < dataset->n_sources; i++) sqz_source_close(&dataset->sources[i]);
    sqz_free(dataset->sources);
    sqz_free(dataset->inflated);
    sqz_free(dataset->entries);
    sqz_arena_free(&dataset->arena);
    sqz_free(dataset);
}

/* ---- reading ------------------------------------------------------------- */

size_t sqz_dataset_count(const struct sqz_dataset *dataset) {
    return dataset->count;
}

int sqz_dataset_label(const struct sqz_dataset *dataset, size_t i) {
    return dataset->entries[i].label;
}

const char *sqz_dataset_name(const struct sqz_dataset *dataset, size_t i) {
    return dataset->entries[i].name;
}

const char *sqz_dataset_description(const struct sqz_dataset *dataset) {
    return dataset->description;
}

/* Path of an image file. */
static enum sqz_status image_path(const struct sqz_dataset *dataset, size_t i, char path[SQZ_DATASET_PATH],
                                  struct sqz_error *err) {
    const char *name = dataset->entries[i].name;
    if (dataset->root && name[0] != '/') return sqz_join_path(dataset->root, name, path, err);
    if (snprintf(path, SQZ_DATASET_PATH, "%s", name) >= SQZ_DATASET_PATH)
        return sqz_fail(err, SQZ_LIMIT, "the path %.64s... is longer than %d bytes", name, SQZ_DATASET_PATH);
    return SQZ_OK;
}

static size_t raw_nbytes(const struct sqz_dataset *dataset) {
    return (size_t)dataset->raw_width * dataset->raw_height * dataset->raw_channels;
}

/* [channel][y][x] to [y][x][channel]. */
static void interleave(const struct sqz_dataset *dataset, const uint8_t *planes, uint8_t *pixels) {
    size_t n = (size_t)dataset->raw_width * dataset->raw_height, channels = dataset->raw_channels;
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < channels; c++) pixels[i * channels + c] = planes[c * n + i];
}

static enum sqz_status load_raw(const struct sqz_dataset *dataset, size_t i, const struct sqz_input *input, float *out,
                                struct sqz_error *err) {
    struct sqz_image image, fitted;
    SQZ_TRY(sqz_image_new(dataset->raw_width, dataset->raw_height, dataset->raw_channels, &image, err));
    if (dataset->raw_planar)
        interleave(dataset, dataset->entries[i].raw, image.pixels);
    else
        memcpy(image.pixels, dataset->entries[i].raw, raw_nbytes(dataset));
    enum sqz_status status = sqz_image_fit(&image, input, &fitted, err);
    sqz_image_free(&image);
    if (status != SQZ_OK) return status;
    sqz_image_normalize(&fitted, input, out);
    sqz_image_free(&fitted);
    return SQZ_OK;
}

static enum sqz_status load_file(const char *path, const struct sqz_input *input, bool apply_exif, float *out,
                                 struct sqz_error *err) {
    struct sqz_source source;
    SQZ_TRY(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, err));
    enum sqz_status status = sqz_image_load(source.data, source.nbytes, input, apply_exif, out, err);
    sqz_source_close(&source);
    return status;
}

enum sqz_status sqz_dataset_load(const struct sqz_dataset *dataset, size_t i, const struct sqz_input *input, float *out,
                                 struct sqz_error *err) {
    enum sqz_status status;
    if (dataset->entries[i].raw) {
        status = load_raw(dataset, i, input, out, err);
        if (status != SQZ_OK) sqz_error_set_file(err, dataset->entries[i].name);
        return status;
    }
    char path[SQZ_DATASET_PATH];
    SQZ_TRY(image_path(dataset, i, path, err));
    status = load_file(path, input, dataset->apply_exif, out, err);
    if (status != SQZ_OK) sqz_error_set_file(err, path);
    return status;
}

static enum sqz_status copy_bytes(const uint8_t *data, size_t nbytes, uint8_t **out, size_t *out_nbytes,
                                  struct sqz_error *err) {
    uint8_t *copy = sqz_alloc(nbytes, 1);
    if (!copy) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for the %zu bytes of an image", nbytes);
    if (nbytes > 0) memcpy(copy, data, nbytes);
    *out = copy;
    *out_nbytes = nbytes;
    return SQZ_OK;
}

enum sqz_status sqz_dataset_bytes(const struct sqz_dataset *dataset, size_t i, uint8_t **out, size_t *out_nbytes,
                                  struct sqz_error *err) {
    const uint8_t *raw = dataset->entries[i].raw;
    if (raw) return copy_bytes(raw, raw_nbytes(dataset), out, out_nbytes, err);
    char path[SQZ_DATASET_PATH];
    struct sqz_source source;
    SQZ_TRY(image_path(dataset, i, path, err));
    enum sqz_status status = sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, err);
    if (status == SQZ_OK) {
        status = copy_bytes(source.data, source.nbytes, out, out_nbytes, err);
        sqz_source_close(&source);
    }
    if (status != SQZ_OK) sqz_error_set_file(err, path);
    return status;
}
