/* dataset_parts.h - what the files of the dataset reader share; private to them. */
#ifndef SQZ_EVAL_DATASET_PARTS_H
#define SQZ_EVAL_DATASET_PARTS_H

#include "eval/dataset.h"
#include "lib/files.h"

/* More images than any public set has (ImageNet-21k: 14 million); bounds the table that a small file can ask for. */
#define SQZ_DATASET_MAX_IMAGES ((size_t)1 << 24)

/* Longest path that is put together; Linux's own limit. */
#define SQZ_DATASET_PATH 4096

struct sqz_dataset_entry {
    const char *name;
    const uint8_t *raw; /* pixels within a kept source or buffer; NULL when the image is a file under root */
    int label;          /* -1: unknown */
};

struct sqz_dataset {
    struct sqz_arena arena; /* names */
    const char *root;       /* folder that entry names are relative to; NULL: names are paths */
    bool apply_exif;
    size_t count, capacity;
    struct sqz_dataset_entry *entries;
    uint32_t raw_width, raw_height, raw_channels; /* of every raw image */
    bool raw_planar;                              /* raw pixels are [channel][y][x] */
    size_t n_sources;
    struct sqz_source *sources; /* kept open while raw points into them */
    uint8_t *inflated;          /* pixels that were compressed, or NULL */
    char how[192];              /* how the set was read, for the description */
    char description[320];
};

/* The sorted (bytewise) content of a folder; hidden names are left out. */
struct sqz_folder {
    struct sqz_arena arena;
    size_t n_files, n_folders, files_capacity, folders_capacity;
    const char **files;   /* regular files */
    const char **folders; /* folders, also through a symbolic link */
};

enum sqz_status sqz_folder_read(const char *path, struct sqz_folder *out, struct sqz_error *err);
bool sqz_folder_has(const struct sqz_folder *folder, const char *file);
void sqz_folder_free(struct sqz_folder *folder);

/* folder/name in buffer; SQZ_LIMIT when it is too long. */
enum sqz_status sqz_join_path(const char *folder, const char *name, char buffer[SQZ_DATASET_PATH],
                              struct sqz_error *err);

/* Append an image; name is copied. */
enum sqz_status sqz_dataset_add(struct sqz_dataset *dataset, const char *name, int label, const uint8_t *raw,
                                struct sqz_error *err);

/* Open a file that stays open as long as the data set; *out is its bytes. */
enum sqz_status sqz_dataset_keep(struct sqz_dataset *dataset, const char *path, struct sqz_source *out,
                                 struct sqz_error *err);

/* A label as the user counts to one that starts at 0. SQZ_BAD_LABEL; `what` says whose label it is. */
enum sqz_status sqz_dataset_base_label(const struct sqz_dataset_options *options, long number, const char *what,
                                       int *out, struct sqz_error *err);

/*
 * The layouts. Each fills the data set and `how`, or fails with the file named.
 * An IDX file or CIFAR batch found in a folder goes by its path.
 */
enum sqz_status sqz_dataset_open_idx(struct sqz_dataset *dataset, const char *images,
                                     const struct sqz_dataset_options *options, struct sqz_error *err);
enum sqz_status sqz_dataset_open_cifar(struct sqz_dataset *dataset, const char *const *paths, size_t n_paths,
                                       const struct sqz_dataset_options *options, struct sqz_error *err);
enum sqz_status sqz_dataset_open_list(struct sqz_dataset *dataset, const char *path, const char *list,
                                      const struct sqz_dataset_options *options, struct sqz_error *err);
enum sqz_status sqz_dataset_open_classes(struct sqz_dataset *dataset, const char *path,
                                         const struct sqz_folder *folder, const struct sqz_dataset_options *options,
                                         struct sqz_error *err);
enum sqz_status sqz_dataset_open_flat(struct sqz_dataset *dataset, const char *path, const struct sqz_folder *folder,
                                      struct sqz_error *err);

/* Give every image already added the label on its line of a text list, in order. */
enum sqz_status sqz_dataset_label_in_order(struct sqz_dataset *dataset, const char *list,
                                           const struct sqz_dataset_options *options, struct sqz_error *err);

/* True for a file that starts as an IDX file does, or as a gzip file. */
bool sqz_is_idx(const uint8_t *data, size_t nbytes);

/* True for a name that ends in .bin and a length that is a whole number of CIFAR records. */
bool sqz_is_cifar(const char *name, size_t nbytes);

/* Class numbers of WordNet ids ("n01440764"): line i of synset_words.txt or synsets.txt starts with that of class i. */
struct sqz_synsets {
    size_t n;
    struct sqz_synset {
        char id[10];
        int class_index;
    } *sorted;
};

/* True for n and eight digits. */
bool sqz_is_synset(const char *text, size_t length);

/* The list in `folder`; out->n is 0 when there is none. */
enum sqz_status sqz_synsets_read(const char *folder, struct sqz_synsets *out, struct sqz_error *err);
int sqz_synsets_find(const struct sqz_synsets *synsets, const char *id); /* -1 when unknown */
void sqz_synsets_free(struct sqz_synsets *synsets);

#endif
