/* rate_model.h - how many bits a level costs, estimated from the levels of its layer. */
#ifndef SQZ_LIB_RATE_MODEL_H
#define SQZ_LIB_RATE_MODEL_H

#include <stddef.h>
#include <stdint.h>

/* Magnitudes below this have a probability each; larger ones share one of a bucket [2^b, 2^(b+1)). */
#define SQZ_RATE_DIRECT 16
#define SQZ_RATE_BUCKETS 14

/*
 * Order-0 model of one layer: zero flag, sign (one bit), magnitude. Counts are
 * smoothed (one half is added to each, and the tail falls geometrically where
 * nothing was seen), so that every level has a finite price.
 */
struct sqz_rate_model {
    float direct[SQZ_RATE_DIRECT];  /* bits of level 0, +-1, +-2, ... with their sign */
    float bucket[SQZ_RATE_BUCKETS]; /* bits of +-[2^b, 2^(b+1)), with their sign */
};

/* Fit to levels[n]; n may be 0. */
void sqz_rate_model_fit(struct sqz_rate_model *model, const int16_t *levels, size_t n);

/* The same from the levels whose class is the wanted one; classes NULL: from all. */
void sqz_rate_model_fit_class(struct sqz_rate_model *model, const int16_t *levels, const uint8_t *classes,
                              unsigned wanted, size_t n);

/* A model of no knowledge: a two-sided geometric distribution with a mean magnitude. */
void sqz_rate_model_geometric(struct sqz_rate_model *model, double mean_magnitude);

/* Bits of one level under the model. */
static inline float sqz_rate_bits(const struct sqz_rate_model *model, int level) {
    unsigned magnitude = (unsigned)(level < 0 ? -level : level);
    if (magnitude < SQZ_RATE_DIRECT) return model->direct[magnitude];
    unsigned b = 31u - (unsigned)__builtin_clz(magnitude);
    return model->bucket[b < SQZ_RATE_BUCKETS ? b : SQZ_RATE_BUCKETS - 1];
}

/* Order-0 entropy of levels[n] in bits: what an ideal static coder needs for the levels, without tables. */
double sqz_rate_entropy_nbits(const int16_t *levels, size_t n);

/* The same of the levels whose class is the wanted one. */
double sqz_rate_entropy_class_nbits(const int16_t *levels, const uint8_t *classes, unsigned wanted, size_t n);

#endif
