/* packed.h - a weight tensor reduced to a few shared values (weight sharing, arXiv 1510.00149 section 3). */
#ifndef SQZ_LIB_PACKED_H
#define SQZ_LIB_PACKED_H

#include <stddef.h>
#include <stdint.h>

#include "lib/shape.h"
#include "lib/status.h"

enum sqz_level_kind {
    SQZ_LEVELS_CODEBOOK, /* weight = level == 0 ? 0 : codebook[level - 1] */
    SQZ_LEVELS_UNIFORM,  /* weight = (float)level * steps[output channel, or 0 when n_steps is 1] */
};

/* A codebook has at most 2^SQZ_MAX_BITS entries; zero is not one of them but level 0. */
#define SQZ_MAX_BITS 8

/* Uniform levels lie in [-SQZ_MAX_LEVEL, SQZ_MAX_LEVEL]. */
#define SQZ_MAX_LEVEL 8191

/*
 * One compressed weight tensor. Level 0 is a pruned weight, whichever the
 * kind. Codebook entries are ascending, distinct, finite, never zero, and
 * each is used by at least one weight; bits_per_level() of a layer is
 * therefore ceil(log2(n_codebook)) for the survivors.
 * All pointers are sqz_alloc()ed and owned by the struct.
 */
struct sqz_packed {
    enum sqz_level_kind kind;
    size_t n_levels;     /* number of weights, zeros included */
    int16_t *levels;     /* [n_levels] in the weight's own row-major order */
    uint32_t n_codebook; /* 0..256; 0 for uniform levels or an all-zero tensor */
    float *codebook;     /* [n_codebook] */
    uint32_t n_steps;    /* uniform: 1, or the tensor's first dimension; 0 for a codebook */
    float *steps;        /* [n_steps], each finite and > 0 */
    /*
     * Uniform: 0, or the states of the trellis that the levels obey (trellis.h), for
     * the coder to make use of. What the levels mean does not depend on it.
     */
    uint32_t trellis_states;
};

/* Restore weights[packed->n_levels]. first_dim is the tensor's number of output channels. */
void sqz_packed_unpack(const struct sqz_packed *packed, size_t first_dim, float *weights);

/* Number of levels that are not zero. */
size_t sqz_packed_nonzero(const struct sqz_packed *packed);

/*
 * Hold every promise of struct sqz_packed against the data: SQZ_MALFORMED
 * with the place when a level lies outside its codebook, entries are not
 * ascending, a step is not positive, or levels do not obey their trellis. `name` is used in the message.
 */
enum sqz_status sqz_packed_check(const struct sqz_packed *packed, const struct sqz_shape *shape, const char *name,
                                 struct sqz_error *err);

/*
 * A tensor that already holds few distinct values (one that was decoded from
 * a codebook) as its exact codebook: at most 256 distinct non-zero values,
 * bit for bit. *out is NULL when there are more. SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_packed_from_values(const float *weights, size_t n, struct sqz_packed **out, struct sqz_error *err);

void sqz_packed_free(struct sqz_packed *packed);

#endif
