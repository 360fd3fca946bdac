/* dataset.h - labelled images in the layouts people keep them in. */
#ifndef SQZ_EVAL_DATASET_H
#define SQZ_EVAL_DATASET_H

#include "lib/model.h"

/*
 * Opens, told apart by what is there:
 *   a folder with labels.txt ("file index" per line; "file" alone when labels are not needed);
 *   a folder with one sub-folder per class (numeric names by value, others sorted bytewise);
 *   ILSVRC's flat validation folder with its ground-truth list (--labels FILE, one index per line, sorted file names);
 *   a folder with (or the path of) IDX files, plain or gzip: *images*idx3* with *labels*idx1*;
 *   CIFAR-10/100 binary batches (*.bin of 3073- or 3074-byte records);
 *   a folder of images without labels, or one image file.
 *
 * In a folder with several IDX files or CIFAR batches those of a test split ("t10k...", "test...") are taken. A class
 * folder with a numeric name is the class of that number. Where synset_words.txt or synsets.txt (WordNet ids in class
 * order) stands beside class folders or a list, ids in names or lines ("n01440764") are looked up in it. A labels list
 * goes with flat images, IDX and CIFAR as well: one index per line, in order. File names in a list are relative to the
 * folder. Images have the endings of image files; other files are left out, hidden names too.
 */
struct sqz_dataset_options {
    const char *labels;    /* list file; NULL: the one in the folder */
    bool need_labels;      /* fail with SQZ_BAD_LABEL when there are none */
    bool one_based;        /* labels in lists start at 1 */
    bool apply_exif;
    size_t n_classes;      /* labels at or above are SQZ_BAD_LABEL; 0: not checked */
};

struct sqz_dataset;

enum sqz_status sqz_dataset_open(const char *path, const struct sqz_dataset_options *options,
                                 struct sqz_dataset **out, struct sqz_error *err);
size_t sqz_dataset_count(const struct sqz_dataset *dataset);
int sqz_dataset_label(const struct sqz_dataset *dataset, size_t i);        /* -1 when unknown */
const char *sqz_dataset_name(const struct sqz_dataset *dataset, size_t i); /* file name, or "images#123" */

/* One line that says how the set was read ("folder with labels.txt, 600 images, 1000 classes"). */
const char *sqz_dataset_description(const struct sqz_dataset *dataset);

/* Load image i as the input of a net: floats [c][h][w]. Thread-safe. Errors as sqz_image_decode(), and SQZ_IO. */
enum sqz_status sqz_dataset_load(const struct sqz_dataset *dataset, size_t i, const struct sqz_input *input,
                                 float *out, struct sqz_error *err);

/* The encoded bytes of image i (a file's content, or its raw pixels), for hashing; *out from sqz_alloc(). */
enum sqz_status sqz_dataset_bytes(const struct sqz_dataset *dataset, size_t i, uint8_t **out, size_t *out_nbytes,
                                  struct sqz_error *err);

void sqz_dataset_close(struct sqz_dataset *dataset);

#endif
