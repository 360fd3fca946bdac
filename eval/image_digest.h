/* image_digest.h - SHA-256 digests of a data set's images: what the record of calibration images goes by. */
#ifndef SQZ_EVAL_IMAGE_DIGEST_H
#define SQZ_EVAL_IMAGE_DIGEST_H

#include "eval/dataset.h"
#include "lib/sha256.h"

/*
 * Digests of n images, number indices[i] each (indices NULL: the first n), of
 * their bytes as sqz_dataset_bytes() gives them. An image that cannot be read
 * gets a digest of zeros: it is nobody's. SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_image_digests(const struct sqz_dataset *dataset, const size_t *indices, size_t n,
                                  uint8_t (*out)[SQZ_SHA256_NBYTES], struct sqz_error *err);

/* How many of the first n images of a data set a record of calibration images knows. */
struct sqz_overlap {
    size_t n_images;  /* looked at */
    size_t n_sampled; /* about which the record says anything */
    size_t n_present; /* which were used, but for one in 1024 */
    size_t n_likely;  /* estimate over all n_images */
    bool convicted;   /* too many to be chance */
};

enum sqz_status sqz_image_overlap(const struct sqz_image_record *record, const struct sqz_dataset *dataset, size_t n,
                                  struct sqz_overlap *out, struct sqz_error *err);

#endif
