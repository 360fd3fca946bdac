/* compress.h - searches for the smallest good .sqz file of a net: within a size, a divergence or a loss of accuracy. */
#ifndef SQZ_EVAL_COMPRESS_H
#define SQZ_EVAL_COMPRESS_H

#include "eval/sensitivity.h"
#include "lib/container.h"

enum sqz_compress_levels {
    SQZ_COMPRESS_UNIFORM,  /* integer levels and a step: the step of each layer is searched */
    SQZ_COMPRESS_CODEBOOK, /* shared values: the bits and the price of a bit are */
};

struct sqz_compress_options {
    bool classic; /* round, share and prune by the weights alone; the images then only measure */
    enum sqz_compress_levels levels;
    size_t n_images; /* for statistics; 0: SQZ_COMPRESS_IMAGES */
    size_t n_probe;  /* further images, on which divergences are measured; 0: SQZ_COMPRESS_PROBE_IMAGES */
    uint64_t seed;
    double lambda;   /* uniform: as in compensate.h; below 0: SQZ_COMPRESS_LAMBDA */
    double damping;  /* relative; 0: SQZ_COMPRESS_DAMPING */
    size_t positions_per_image; /* 0: SQZ_COMPRESS_POSITIONS, and fewer for the sweep */
    bool per_channel;
    uint32_t trellis_states; /* calibrated uniform levels: see compensate.h; 0: none. The sweep does without */
    struct sqz_encode_options encode;
    const char *cache; /* a file, or an existing folder in which one is named after its content; NULL: none */
    bool apply_exif;
    /* What is being done, and how far; may be NULL. */
    void (*progress)(void *context, const char *stage, size_t done, size_t total);
    void (*bad_image)(void *context, const char *name, const char *reason); /* may be NULL */
    void *context; /* of both */
};

/* 600 instead of 300 gave 3% less divergence on other images; what more cost is a minute for the whole search. */
#define SQZ_COMPRESS_IMAGES 800

/* Enough that a layer's divergence is known to some 10%, few enough for a sweep of 150 points in a minute. */
#define SQZ_COMPRESS_PROBE_IMAGES 200

/*
 * Measured on SqueezeNet v1.1 at 400,000 bytes as the mean divergence on 500 images of its own, three draws of
 * positions each (standard error 1.5%): lambda 0.05, 0.1, 0.14, 0.2: 0.0459, 0.0462, 0.0471, 0.0495 nats; damping
 * 0.003, 0.01, 0.03: 0.0468, 0.0462, 0.0443; 64 positions an image instead of 160: 9% more, 500: 4% less; 600 images
 * instead of 300: 3% less.
 */
#define SQZ_COMPRESS_LAMBDA 0.08
#define SQZ_COMPRESS_DAMPING 0.03
#define SQZ_COMPRESS_POSITIONS 400

/* One finished file. */
struct sqz_candidate {
    struct sqz_buffer file;
    double kl, agreement;   /* of the decoded file on the probe's images */
    double predicted_kl;    /* sum of the layers' own */
    double target_nbits;    /* of the levels, asked of the allocation */
    double nbits;           /* of the levels, as the sweep predicted them */
    bool is_smallest, is_largest; /* the allocation cannot go further */
    size_t n_holdout, top1_correct, top1_float; /* with a holdout set */
};

void sqz_candidate_free(struct sqz_candidate *candidate);

/* A net with its images and its sweep: what every search begins with. */
struct sqz_compressor;

/*
 * Draw and load the images, and measure the layers (or take the sweep from
 * the cache). `model` is borrowed, must outlive the compressor, and gets
 * float data for every weight in place of packed levels. With fewer than 64 images the statistics'
 * images are measured on as well; else the probe gets at most a quarter of them.
 * SQZ_ARGUMENT for fewer than SQZ_CALIBRATION_MIN_IMAGES; SQZ_NONFINITE; SQZ_IO for the cache.
 */
enum sqz_status sqz_compressor_new(struct sqz_model *model, const struct sqz_dataset *dataset,
                                   const struct sqz_compress_options *options, struct sqz_compressor **out,
                                   struct sqz_error *err);
void sqz_compressor_free(struct sqz_compressor *compressor);

const struct sqz_sensitivity *sqz_compressor_sensitivity(const struct sqz_compressor *compressor);

/* Layers that came from the cache, images for statistics and for measuring, broken images. */
struct sqz_compressor_facts {
    size_t n_layers, n_cached, n_images, n_probe, n_bad;
    size_t fixed_nbytes; /* of a file whose levels are all zero: less is impossible */
};
struct sqz_compressor_facts sqz_compressor_facts(const struct sqz_compressor *compressor);

/* Labelled images that the budget of --max-drop is judged on; borrowed. They are recorded in the file as well. */
enum sqz_status sqz_compressor_set_holdout(struct sqz_compressor *compressor, const struct sqz_dataset *holdout,
                                           struct sqz_error *err);

/* Allocate target_nbits of levels, compress, encode, decode, measure. */
enum sqz_status sqz_compressor_build(struct sqz_compressor *compressor, double target_nbits,
                                     struct sqz_candidate *out, struct sqz_error *err);

/* ---- searches ----------------------------------------------------------- */

/*
 * Each leaves the best candidate in *out (file NULL only after an error) and says in
 * *met whether it keeps the limit; when it does not, *out is the one that came nearest:
 * the smallest file, or the one with the least divergence or loss.
 */

/* The best net whose file, every byte counted, is not larger. */
enum sqz_status sqz_compress_to_size(struct sqz_compressor *compressor, size_t max_nbytes, struct sqz_candidate *out,
                                     bool *met, struct sqz_error *err);

/* The smallest file whose divergence on the probe's images is at most max_kl. */
enum sqz_status sqz_compress_to_kl(struct sqz_compressor *compressor, double max_kl, struct sqz_candidate *out,
                                   bool *met, struct sqz_error *err);

/* The smallest file that loses at most max_drop percentage points of top-1 on the holdout set. */
enum sqz_status sqz_compress_to_drop(struct sqz_compressor *compressor, double max_drop, struct sqz_candidate *out,
                                     bool *met, struct sqz_error *err);

/*
 * n candidates from near lossless to unusable, evenly spaced on a logarithmic scale of size, smallest first.
 * on_point is called for each; the candidate is its to free or keep.
 */
enum sqz_status sqz_compress_front(struct sqz_compressor *compressor, size_t n,
                                   void (*on_point)(void *context, struct sqz_candidate *candidate), void *context,
                                   struct sqz_error *err);

#endif
