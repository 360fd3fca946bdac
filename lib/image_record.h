/* image_record.h - which images a model was calibrated on, in at most some 190 bytes. */
#ifndef SQZ_LIB_IMAGE_RECORD_H
#define SQZ_LIB_IMAGE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/bytes.h"
#include "lib/memory.h"
#include "lib/sha256.h"
#include "lib/status.h"

/*
 * Of the images' SHA-256 digests, those that begin with `sample_nbits` zero
 * bits are kept, and of each of them the `prefix_nbits` bits that follow,
 * ascending. So a large set is represented by a fair sample, whose size says
 * how many of another set's images were in it. Chosen so that an image that was
 * not used is taken for one that was with a probability of at most 1/1024.
 */
struct sqz_image_record {
    uint64_t n_images; /* calibrated on; 0: no record */
    unsigned sample_nbits;
    unsigned prefix_nbits;
    uint32_t n_prefixes;
    uint32_t *prefixes; /* [n_prefixes], in an arena */
};

/* Prefixes kept at the most: with 11.5 bits each, 184 bytes. */
#define SQZ_RECORD_MAX_PREFIXES 128

/* Largest sample_nbits and prefix_nbits of a record; both come from a file. */
#define SQZ_RECORD_MAX_SAMPLE 32
#define SQZ_RECORD_MAX_PREFIX 24

enum sqz_record_answer {
    SQZ_RECORD_NOT_SAMPLED, /* the record keeps nothing about such an image */
    SQZ_RECORD_ABSENT,
    SQZ_RECORD_PRESENT, /* used, but for one in 1024 */
};

/*
 * Add n digests to a record (which may be empty). The order of the digests
 * does not matter. Memory comes from the arena; SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_image_record_add(struct sqz_image_record *record, const uint8_t (*digests)[SQZ_SHA256_NBYTES],
                                     size_t n, struct sqz_arena *arena, struct sqz_error *err);

enum sqz_record_answer sqz_image_record_find(const struct sqz_image_record *record,
                                             const uint8_t digest[SQZ_SHA256_NBYTES]);

/*
 * Whether `n_present` of `n_sampled` images (those not NOT_SAMPLED) are too
 * many to be chance: fewer than one set of unused images in 500 reaches it.
 */
bool sqz_image_record_convicts(const struct sqz_image_record *record, size_t n_present, size_t n_sampled);

/* Bytes of a record as in formats/SQZ.md, section 3.4; nothing at all for an empty one. */
void sqz_image_record_put(const struct sqz_image_record *record, struct sqz_buffer *out);

/* The same back, from a reader that is not at its end; SQZ_MALFORMED, SQZ_OUT_OF_MEMORY. */
enum sqz_status sqz_image_record_read(struct sqz_reader *r, struct sqz_arena *arena, struct sqz_image_record *out,
                                      struct sqz_error *err);

#endif
