/* cifar.c - the binary batches of CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html). */
#include <stdio.h>
#include <string.h>

#include "eval/dataset_parts.h"

/* A record is one label byte (CIFAR-10) or a coarse and a fine one (CIFAR-100), then three planes of 32 x 32. */
enum { SIDE = 32, PIXELS_NBYTES = 3 * SIDE * SIDE, N_COARSE = 20 };

static const struct kind {
    const char *name;
    size_t n_labels; /* label bytes; the last one is the class */
    uint8_t n_classes;
} kinds[] = {{"CIFAR-10", 1, 10}, {"CIFAR-100", 2, 100}};

bool sqz_is_cifar(const char *name, size_t nbytes) {
    size_t length = strlen(name);
    return length > 4 && strcmp(name + length - 4, ".bin") == 0 && nbytes > 0 &&
           (nbytes % (PIXELS_NBYTES + 1) == 0 || nbytes % (PIXELS_NBYTES + 2) == 0);
}

/* Every label must be one of its kind: this also tells the kinds apart where both record lengths divide the file. */
static bool fits(const struct sqz_source *source, const struct kind *kind) {
    size_t record = PIXELS_NBYTES + kind->n_labels;
    if (source->nbytes % record != 0) return false;
    for (size_t offset = 0; offset < source->nbytes; offset += record) {
        if (kind->n_labels == 2 && source->data[offset] >= N_COARSE) return false;
        if (source->data[offset + kind->n_labels - 1] >= kind->n_classes) return false;
    }
    return true;
}

static enum sqz_status add_batch(struct sqz_dataset *dataset, const char *path, const struct kind **kind,
                                 struct sqz_error *err) {
    struct sqz_source source;
    const struct kind *found = NULL;
    SQZ_TRY(sqz_dataset_keep(dataset, path, &source, err));
    for (size_t i = 0; i < 2 && !found; i++)
        if (fits(&source, &kinds[i])) found = &kinds[i];
    if (!found || (*kind && found != *kind))
        return sqz_fail(err, SQZ_BAD_LABEL, "the file is not a CIFAR batch%s%s: a label is out of range",
                        *kind ? " of " : "", *kind ? (*kind)->name : "");
    *kind = found;
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t record = PIXELS_NBYTES + found->n_labels;
    for (size_t i = 0; i < source.nbytes / record; i++) {
        const uint8_t *pixels = source.data + i * record + found->n_labels;
        char name[112];
        snprintf(name, sizeof name, "%.80s#%zu", base, i);
        SQZ_TRY(sqz_dataset_add(dataset, name, pixels[-1], pixels, err));
    }
    return SQZ_OK;
}

enum sqz_status sqz_dataset_open_cifar(struct sqz_dataset *dataset, const char *const *paths, size_t n_paths,
                                       const struct sqz_dataset_options *options, struct sqz_error *err) {
    const struct kind *kind = NULL;
    dataset->raw_width = dataset->raw_height = SIDE;
    dataset->raw_channels = 3;
    dataset->raw_planar = true;
    for (size_t i = 0; i < n_paths; i++) {
        enum sqz_status status = add_batch(dataset, paths[i], &kind, err);
        if (status != SQZ_OK) {
            sqz_error_set_file(err, paths[i]);
            return status;
        }
    }
    const char *slash = strrchr(paths[0], '/');
    snprintf(dataset->how, sizeof dataset->how, "%zu %s batch%s (%.80s%s)", n_paths, kind->name,
             n_paths == 1 ? "" : "es", slash ? slash + 1 : paths[0], n_paths == 1 ? "" : ", ...");
    return options->labels ? sqz_dataset_label_in_order(dataset, options->labels, options, err) : SQZ_OK;
}
