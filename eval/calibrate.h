/* calibrate.h - calibration images, and the moments of a layer's inputs over them. */
#ifndef SQZ_EVAL_CALIBRATE_H
#define SQZ_EVAL_CALIBRATE_H

#include "eval/dataset.h"
#include "lib/moments.h"
#include "lib/sha256.h"

/* ---- images ------------------------------------------------------------------ */

/* Fewer images than this say too little about a layer's inputs. */
#define SQZ_CALIBRATION_MIN_IMAGES 8

#define SQZ_CALIBRATION_DEFAULT_IMAGES 300 /* where SqueezeNet's divergence on other images stops falling */

struct sqz_calibration_options {
    size_t n_images; /* drawn without replacement; 0: SQZ_CALIBRATION_DEFAULT_IMAGES; fewer when there are fewer */
    uint64_t seed;
    bool apply_exif;
    void (*progress)(void *context, size_t done, size_t total); /* may be NULL */
    void *progress_context;
    void (*bad_image)(void *context, const char *name, const char *reason); /* may be NULL */
    void *bad_context;
};

/* Preprocessed images. A broken image is reported, counted and replaced by the next one drawn. */
struct sqz_calibration {
    struct sqz_input input; /* what they were prepared for */
    size_t n_images, n_bad;
    size_t image_count;                    /* floats of one image */
    float *images;                         /* [n_images][channels][height][width] */
    uint8_t (*digests)[SQZ_SHA256_NBYTES]; /* [n_images] of their encoded bytes */
    size_t *indices;                       /* [n_images] in the data set, in the order drawn */
};

/*
 * Draw and load images. The draw depends on the seed and the number of images
 * in the set only; a draw of more images begins with that of fewer (so a
 * held-out part is what a longer draw adds). SQZ_ARGUMENT when fewer than
 * SQZ_CALIBRATION_MIN_IMAGES can be read, and the errors of
 * sqz_dataset_load() that are not about one image. No labels are needed.
 */
enum sqz_status sqz_calibration_load(const struct sqz_dataset *dataset, const struct sqz_input *input,
                                     const struct sqz_calibration_options *options, struct sqz_calibration **out,
                                     struct sqz_error *err);

/* A part [begin, begin + n) that borrows the images of `whole`: for held-out images. */
struct sqz_calibration sqz_calibration_part(const struct sqz_calibration *whole, size_t begin, size_t n);

/* Record the images in the model, so that sqz-eval can warn. SQZ_OUT_OF_MEMORY. */
enum sqz_status sqz_calibration_record(const struct sqz_calibration *calibration, struct sqz_model *model,
                                       struct sqz_error *err);

void sqz_calibration_free(struct sqz_calibration *calibration);

/* ---- moments ----------------------------------------------------------------- */

struct sqz_collector_options {
    size_t positions_per_image; /* output positions whose columns are used; 0: SQZ_DEFAULT_POSITIONS; all when fewer */
    size_t max_inputs;          /* of a full moment matrix; 0: SQZ_MOMENTS_MAX_INPUTS */
    size_t cache_nbytes;        /* for values of inner nodes, both nets together; 0: SQZ_DEFAULT_CACHE */
    uint64_t seed;              /* of the choice of positions */
};

#define SQZ_DEFAULT_POSITIONS 64
#define SQZ_DEFAULT_CACHE ((size_t)1 << 30)

/*
 * Collects moments layer after layer. The values at a node that everything
 * behind it depends on alone are kept while they fit in the cache, so that a whole pass
 * computes each layer about once.
 */
struct sqz_collector;

/*
 * For the float net `reference`, which is borrowed and must stay as it is.
 * Both borrowed objects must outlive the collector. SQZ_SHAPE, SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_collector_new(const struct sqz_calibration *calibration, const struct sqz_model *reference,
                                  const struct sqz_collector_options *options, struct sqz_collector **out,
                                  struct sqz_error *err);

/*
 * Moments of the inputs of Conv or Dense node `node`. With `compressed` (the
 * same graph with other weights) paired moments; NULL: of the float net
 * alone. Nodes must be asked for in ascending order, except that
 * sqz_collector_rewind() starts again; weights of `compressed` at nodes below one
 * already asked for must not change any more. The same positions are used in
 * both nets. SQZ_NONFINITE names the layer when an activation is not
 * finite; SQZ_OUT_OF_MEMORY, errors of sqz_session_new().
 */
enum sqz_status sqz_collector_moments(struct sqz_collector *collector, const struct sqz_model *compressed, size_t node,
                                      struct sqz_moments **out, struct sqz_error *err);

/* Forget all cached values. */
void sqz_collector_rewind(struct sqz_collector *collector);

void sqz_collector_free(struct sqz_collector *collector);

#endif
