/* calibrate.c - calibration images: drawn from a data set, prepared for a net and named by their digests. */
#include "eval/calibrate.h"

#include <string.h>

#include "eval/image_digest.h"
#include "lib/parallel.h"
#include "lib/random.h"

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the calibration images");
}

/* All image numbers in a random order (Fisher and Yates): the draw of more images begins with that of fewer. */
static void shuffle(size_t *order, size_t n, uint64_t seed) {
    struct sqz_random random = sqz_random_seeded(seed);
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = 0; i + 1 < n; i++) {
        size_t j = i + (size_t)(sqz_random_unit(&random) * (double)(n - i));
        size_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

struct loading {
    const struct sqz_dataset *dataset;
    const struct sqz_calibration_options *options;
    struct sqz_calibration *calibration;
    const size_t *order; /* of all images of the set */
    size_t n_order, wanted;
    size_t next; /* first of `order` that was not tried */
    /* Of the round that is being loaded: */
    size_t n;
    enum sqz_status *status; /* [wanted] */
    struct sqz_error *errors;
};

static void load_image(void *context, size_t i, int thread) {
    (void)thread;
    struct loading *loading = context;
    struct sqz_calibration *calibration = loading->calibration;
    loading->errors[i] = (struct sqz_error){0};
    loading->status[i] = sqz_dataset_load(loading->dataset, loading->order[loading->next + i], &calibration->input,
                                          calibration->images + (calibration->n_images + i) * calibration->image_count,
                                          &loading->errors[i]);
}

/* Keep what could be read, in order. */
static enum sqz_status close_gaps(struct loading *loading, struct sqz_error *err) {
    struct sqz_calibration *calibration = loading->calibration;
    size_t count = calibration->image_count, first = calibration->n_images;
    for (size_t i = 0; i < loading->n; i++) {
        size_t image = loading->order[loading->next + i];
        if (loading->status[i] == SQZ_OUT_OF_MEMORY) return no_memory(err);
        if (loading->status[i] != SQZ_OK) {
            calibration->n_bad++;
            if (loading->options->bad_image)
                loading->options->bad_image(loading->options->bad_context, sqz_dataset_name(loading->dataset, image),
                                            loading->errors[i].text);
            continue;
        }
        if (calibration->n_images != first + i)
            memcpy(calibration->images + calibration->n_images * count, calibration->images + (first + i) * count,
                   count * sizeof(float));
        calibration->indices[calibration->n_images++] = image;
    }
    loading->next += loading->n;
    return SQZ_OK;
}

/* Images read between two reports of progress. */
#define LOAD_ROUND 32

static enum sqz_status load_all(struct loading *loading, struct sqz_error *err) {
    struct sqz_calibration *calibration = loading->calibration;
    while (calibration->n_images < loading->wanted && loading->next < loading->n_order) {
        loading->n = loading->wanted - calibration->n_images;
        if (loading->n > LOAD_ROUND) loading->n = LOAD_ROUND;
        if (loading->n > loading->n_order - loading->next) loading->n = loading->n_order - loading->next;
        sqz_parallel_for(loading->n, load_image, loading);
        SQZ_TRY(close_gaps(loading, err));
        if (loading->options->progress)
            loading->options->progress(loading->options->progress_context, calibration->n_images, loading->wanted);
    }
    if (calibration->n_images >= SQZ_CALIBRATION_MIN_IMAGES) return SQZ_OK;
    if (calibration->n_images == 0 && calibration->n_bad > 0)
        return sqz_fail(err, SQZ_BAD_IMAGE, "none of the %zu calibration images can be read", calibration->n_bad);
    return sqz_fail(err, SQZ_ARGUMENT, "calibration needs at least %d images, and only %zu can be read",
                    SQZ_CALIBRATION_MIN_IMAGES, calibration->n_images);
}

static enum sqz_status load(struct loading *loading, size_t *order, struct sqz_error *err) {
    struct sqz_calibration *calibration = loading->calibration;
    size_t wanted = loading->wanted, count;
    calibration->image_count = (size_t)calibration->input.channels * calibration->input.height;
    if (!sqz_mul_size(calibration->image_count, calibration->input.width, &calibration->image_count) ||
        !sqz_mul_size(calibration->image_count, wanted, &count))
        return no_memory(err);
    calibration->images = sqz_alloc_aligned(count, sizeof *calibration->images);
    calibration->indices = sqz_alloc(wanted, sizeof *calibration->indices);
    calibration->digests = sqz_alloc(wanted, sizeof *calibration->digests);
    loading->status = sqz_alloc(LOAD_ROUND, sizeof *loading->status);
    loading->errors = sqz_alloc(LOAD_ROUND, sizeof *loading->errors);
    if (!calibration->images || !calibration->indices || !calibration->digests || !loading->status || !loading->errors)
        return no_memory(err);
    shuffle(order, loading->n_order, loading->options->seed);
    loading->order = order;
    SQZ_TRY(load_all(loading, err));
    return sqz_image_digests(loading->dataset, calibration->indices, calibration->n_images, calibration->digests, err);
}

enum sqz_status sqz_calibration_load(const struct sqz_dataset *dataset, const struct sqz_input *input,
                                     const struct sqz_calibration_options *options, struct sqz_calibration **out,
                                     struct sqz_error *err) {
    *out = NULL;
    size_t n = sqz_dataset_count(dataset), wanted = options->n_images;
    if (wanted == 0) wanted = SQZ_CALIBRATION_DEFAULT_IMAGES;
    if (wanted < SQZ_CALIBRATION_MIN_IMAGES || n < SQZ_CALIBRATION_MIN_IMAGES)
        return sqz_fail(err, SQZ_ARGUMENT, "calibration needs at least %d images, and %s %zu",
                        SQZ_CALIBRATION_MIN_IMAGES, n < SQZ_CALIBRATION_MIN_IMAGES ? "there are" : "is asked to use",
                        n < SQZ_CALIBRATION_MIN_IMAGES ? n : wanted);
    struct sqz_calibration *calibration = sqz_alloc0(1, sizeof *calibration);
    size_t *order = sqz_alloc(n, sizeof *order);
    struct loading loading = {.dataset = dataset,
                              .options = options,
                              .calibration = calibration,
                              .n_order = n,
                              .wanted = wanted < n ? wanted : n};
    enum sqz_status status;
    if (calibration && order) {
        calibration->input = *input;
        status = load(&loading, order, err);
    } else {
        status = no_memory(err);
    }
    sqz_free(order);
    sqz_free(loading.status);
    sqz_free(loading.errors);
    if (status != SQZ_OK) {
        sqz_calibration_free(calibration);
        return status;
    }
    *out = calibration;
    return SQZ_OK;
}

struct sqz_calibration sqz_calibration_part(const struct sqz_calibration *whole, size_t begin, size_t n) {
    struct sqz_calibration part = *whole;
    if (begin > whole->n_images) begin = whole->n_images;
    part.n_images = n < whole->n_images - begin ? n : whole->n_images - begin;
    part.n_bad = 0;
    part.images += begin * whole->image_count;
    part.digests += begin;
    part.indices += begin;
    return part;
}

enum sqz_status sqz_calibration_record(const struct sqz_calibration *calibration, struct sqz_model *model,
                                       struct sqz_error *err) {
    return sqz_image_record_add(&model->calibrated_on, (const uint8_t(*)[SQZ_SHA256_NBYTES])calibration->digests,
                                calibration->n_images, &model->arena, err);
}

void sqz_calibration_free(struct sqz_calibration *calibration) {
    if (!calibration) return;
    sqz_free(calibration->images);
    sqz_free(calibration->digests);
    sqz_free(calibration->indices);
    sqz_free(calibration);
}
