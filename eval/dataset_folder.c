/* dataset_folder.c - folders of images: one sub-folder per class, or all in one place. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "eval/dataset_parts.h"

/* Levels of folders within a class that are searched; deeper ones are not somebody's way of keeping images. */
#define MAX_DEPTH 8

/* ---- listing ------------------------------------------------------------- */

static enum sqz_status append_name(struct sqz_folder *folder, const char ***names, size_t *n, size_t *capacity,
                                   const char *name, struct sqz_error *err) {
    if (*n == *capacity) {
        size_t larger = *capacity ? 2 * *capacity : 64;
        const char **grown = sqz_realloc(*names, larger, sizeof **names);
        if (!grown) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for a list of %zu files", larger);
        *names = grown;
        *capacity = larger;
    }
    const char *copy = sqz_arena_strdup(&folder->arena, name);
    if (!copy) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for a list of %zu files", *n + 1);
    (*names)[(*n)++] = copy;
    return SQZ_OK;
}

static enum sqz_status append_entry(struct sqz_folder *folder, DIR *dir, const char *name, struct sqz_error *err) {
    struct stat st;
    /* A name that cannot be looked at is listed, so that loading it reports the reason. */
    bool known = fstatat(dirfd(dir), name, &st, 0) == 0;
    if (known && S_ISDIR(st.st_mode))
        return append_name(folder, &folder->folders, &folder->n_folders, &folder->folders_capacity, name, err);
    if (known && !S_ISREG(st.st_mode)) return SQZ_OK;
    return append_name(folder, &folder->files, &folder->n_files, &folder->files_capacity, name, err);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum sqz_status sqz_folder_read(const char *path, struct sqz_folder *out, struct sqz_error *err) {
    *out = (struct sqz_folder){0};
    DIR *dir = opendir(path);
    if (!dir) {
        sqz_fail(err, SQZ_IO, "the folder cannot be opened: %s", strerror(errno));
        sqz_error_set_file(err, path);
        return SQZ_IO;
    }
    enum sqz_status status = SQZ_OK;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry && errno) status = sqz_fail(err, SQZ_IO, "the folder cannot be read: %s", strerror(errno));
        if (!entry || status != SQZ_OK) break;
        if (entry->d_name[0] == '.') continue;
        status = append_entry(out, dir, entry->d_name, err);
        if (status != SQZ_OK) break;
    }
    closedir(dir);
    if (status != SQZ_OK) {
        sqz_folder_free(out);
        return status;
    }
    if (out->n_files) qsort(out->files, out->n_files, sizeof *out->files, compare_names);
    if (out->n_folders) qsort(out->folders, out->n_folders, sizeof *out->folders, compare_names);
    return SQZ_OK;
}

bool sqz_folder_has(const struct sqz_folder *folder, const char *file) {
    for (size_t i = 0; i < folder->n_files; i++)
        if (strcmp(folder->files[i], file) == 0) return true;
    return false;
}

void sqz_folder_free(struct sqz_folder *folder) {
    sqz_free(folder->files);
    sqz_free(folder->folders);
    sqz_arena_free(&folder->arena);
    *folder = (struct sqz_folder){0};
}

/* Files that are meant as images. Formats that are refused count as well: they must not vanish silently. */
static bool is_image_name(const char *name) {
    static const char *const endings[] = {"jpg", "jpeg", "jpe", "png",  "ppm",  "pgm", "pbm",
                                          "pnm", "bmp",  "gif", "webp", "tiff", "tif"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot + 1, endings[i]) == 0) return true;
    return false;
}

/* ---- one folder ---------------------------------------------------------- */

static enum sqz_status set_root(struct sqz_dataset *dataset, const char *path, struct sqz_error *err) {
    dataset->root = sqz_arena_strdup(&dataset->arena, path);
    return dataset->root ? SQZ_OK : sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for opening a data set");
}

enum sqz_status sqz_dataset_open_flat(struct sqz_dataset *dataset, const char *path, const struct sqz_folder *folder,
                                      struct sqz_error *err) {
    size_t n_others = 0;
    SQZ_TRY(set_root(dataset, path, err));
    for (size_t i = 0; i < folder->n_files; i++) {
        if (is_image_name(folder->files[i]))
            SQZ_TRY(sqz_dataset_add(dataset, folder->files[i], -1, NULL, err));
        else
            n_others++;
    }
    if (dataset->count == 0)
        return sqz_fail(err, SQZ_NOT_FOUND,
                        "the folder holds no images (%zu other files, %zu sub-folders), labels.txt, IDX or CIFAR files",
                        n_others, folder->n_folders);
    snprintf(dataset->how, sizeof dataset->how, "folder of images (%zu other files left out)", n_others);
    return SQZ_OK;
}

/* ---- one sub-folder per class -------------------------------------------- */

enum naming { BY_NUMBER, BY_SYNSET, BY_RANK };

static bool is_number(const char *name) {
    size_t length = strlen(name);
    return length > 0 && length <= 9 && strspn(name, "0123456789") == length;
}

/* All names must agree on a scheme; the plain order of names is what is left. */
static enum naming find_naming(const struct sqz_folder *folder, const struct sqz_synsets *synsets) {
    bool numbers = true, ids = synsets->n > 0;
    for (size_t i = 0; i < folder->n_folders; i++) {
        numbers &= is_number(folder->folders[i]);
        ids &= sqz_is_synset(folder->folders[i], strlen(folder->folders[i]));
    }
    return numbers ? BY_NUMBER : ids ? BY_SYNSET : BY_RANK;
}

static enum sqz_status class_of_folder(const struct sqz_folder *folder, size_t i, enum naming naming,
                                       const struct sqz_synsets *synsets, const struct sqz_dataset_options *options,
                                       int *out, struct sqz_error *err) {
    const char *name = folder->folders[i];
    *out = (int)i;
    if (naming == BY_NUMBER) return sqz_dataset_base_label(options, strtol(name, NULL, 10), "a class folder", out, err);
    if (naming == BY_SYNSET) *out = sqz_synsets_find(synsets, name);
    if (*out < 0) return sqz_fail(err, SQZ_BAD_LABEL, "the class folder %s is not in the list of synsets", name);
    return SQZ_OK;
}

static bool is_symbolic_link(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

/* Add the images of root/relative and of the folders in it; links are not followed, so that loops end. */
static enum sqz_status add_class(struct sqz_dataset *dataset, const char *relative, int label, int depth,
                                 struct sqz_error *err) {
    char path[SQZ_DATASET_PATH];
    struct sqz_folder folder;
    SQZ_TRY(sqz_join_path(dataset->root, relative, path, err));
    if (depth > 0 && is_symbolic_link(path)) return SQZ_OK;
    SQZ_TRY(sqz_folder_read(path, &folder, err));
    enum sqz_status status = SQZ_OK;
    for (size_t i = 0; i < folder.n_files && status == SQZ_OK; i++) {
        if (!is_image_name(folder.files[i])) continue;
        status = sqz_join_path(relative, folder.files[i], path, err);
        if (status == SQZ_OK) status = sqz_dataset_add(dataset, path, label, NULL, err);
    }
    for (size_t i = 0; i < folder.n_folders && status == SQZ_OK && depth < MAX_DEPTH; i++) {
        status = sqz_join_path(relative, folder.folders[i], path, err);
        if (status == SQZ_OK) status = add_class(dataset, path, label, depth + 1, err);
    }
    sqz_folder_free(&folder);
    return status;
}

/* Folder indices in class order, so that images come class by class. */
struct class_folder {
    int label;
    const char *name;
};

static int compare_classes(const void *a, const void *b) {
    const struct class_folder *x = a, *y = b;
    return x->label != y->label ? (x->label > y->label) - (x->label < y->label) : strcmp(x->name, y->name);
}

static enum sqz_status add_classes(struct sqz_dataset *dataset, const struct sqz_folder *folder, enum naming naming,
                                   const struct sqz_synsets *synsets, const struct sqz_dataset_options *options,
                                   struct sqz_error *err) {
    struct class_folder *classes = sqz_alloc(folder->n_folders, sizeof *classes);
    if (!classes) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for a list of %zu folders", folder->n_folders);
    enum sqz_status status = SQZ_OK;
    for (size_t i = 0; i < folder->n_folders && status == SQZ_OK; i++) {
        classes[i].name = folder->folders[i];
        status = class_of_folder(folder, i, naming, synsets, options, &classes[i].label, err);
    }
    if (status == SQZ_OK) qsort(classes, folder->n_folders, sizeof *classes, compare_classes);
    for (size_t i = 0; i < folder->n_folders && status == SQZ_OK; i++)
        status = add_class(dataset, classes[i].name, classes[i].label, 0, err);
    sqz_free(classes);
    return status;
}

enum sqz_status sqz_dataset_open_classes(struct sqz_dataset *dataset, const char *path, const struct sqz_folder *folder,
                                         const struct sqz_dataset_options *options, struct sqz_error *err) {
    static const char *const schemes[] = {
        [BY_NUMBER] = "the folder's number is the class",
        [BY_SYNSET] = "classes in the order of the synset list",
        [BY_RANK] = "classes in the order of the folders' names",
    };
    struct sqz_synsets synsets;
    SQZ_TRY(set_root(dataset, path, err));
    SQZ_TRY(sqz_synsets_read(path, &synsets, err));
    enum naming naming = find_naming(folder, &synsets);
    enum sqz_status status = add_classes(dataset, folder, naming, &synsets, options, err);
    sqz_synsets_free(&synsets);
    snprintf(dataset->how, sizeof dataset->how, "%zu class folders (%s%s)", folder->n_folders, schemes[naming],
             naming == BY_NUMBER && options->one_based ? ", counted from 1" : "");
    return status;
}
