/* range_model.h - adaptive probabilities and contexts of the range-coded levels. Private to range_tensor.c. */
#ifndef SQZ_LIB_RANGE_MODEL_H
#define SQZ_LIB_RANGE_MODEL_H

#include <stdint.h>

/*
 * A probability of a one bit in 1/2^22 (upper 22 bits) and how often it was
 * used (lower 10). It moves by 2/(2n + 3) of the distance, n the number of times
 * so far: the estimate of Krichevsky and Trofimov. n stops at 255: on
 * SqueezeNet's levels this beats the mean of two fixed speeds, 1/16 and 1/128, by 0.5%.
 */
typedef uint32_t sqz_probability;

#define SQZ_PROBABILITY_NBITS 22
#define SQZ_PROBABILITY_MAX_COUNT 255u
#define SQZ_PROBABILITY_START ((sqz_probability)1 << 31)

/* By count n: 2^17 / (2n + 3), rounded down, in the upper half, and the next count in the lower. */
static inline void sqz_probability_fill_steps(uint32_t steps[SQZ_PROBABILITY_MAX_COUNT + 1]) {
    for (uint32_t n = 0; n <= SQZ_PROBABILITY_MAX_COUNT; n++)
        steps[n] = ((uint32_t)1 << 17) / (2 * n + 3) << 16 | (n + (n < SQZ_PROBABILITY_MAX_COUNT));
}

static inline sqz_probability sqz_probability_learn(sqz_probability state, unsigned bit, const uint32_t *steps) {
    uint32_t p = state >> 10, step = steps[state & 1023];
    /* A one moves the probability of a zero, which ~ exchanges with p to within one unit, and back. */
    uint32_t flip = -(uint32_t)bit & (((uint32_t)1 << SQZ_PROBABILITY_NBITS) - 1);
    uint32_t other = p ^ flip;
    other -= (uint32_t)((uint64_t)other * (step >> 16) >> 16);
    return (other ^ flip) << 10 | (step & 0xffff);
}

/* Classes of the magnitude expected from the neighbourhood. */
#define SQZ_RANGE_CLASSES 16
/* Classes of the signed value expected: 0..7 by magnitude, with a sign -7..7, stored from 0 to 14 with 7 for none. */
#define SQZ_RANGE_LEANINGS 8

/* Magnitudes have at most 14 bits (SQZ_MAX_LEVEL is below 2^13). */
#define SQZ_RANGE_BUCKETS 16

/* Bits below the highest one of a magnitude that are modelled; further ones are nearly even. */
#define SQZ_RANGE_MODELLED_BITS 3

struct sqz_range_models {
    sqz_probability nonzero[2 * SQZ_RANGE_CLASSES][SQZ_RANGE_LEANINGS];
    sqz_probability negative[2 * SQZ_RANGE_LEANINGS];
    /* Bucket b holds magnitudes 2^b .. 2^(b+1) - 1. Contexts: 3 * class + (0 nothing expected, 1 the expected sign, 2
     * not) */
    sqz_probability larger[SQZ_RANGE_BUCKETS][6 * SQZ_RANGE_CLASSES];
    sqz_probability second[6 * SQZ_RANGE_CLASSES];                          /* bucket 1: 3 rather than 2 */
    sqz_probability below[SQZ_RANGE_BUCKETS][1 << SQZ_RANGE_MODELLED_BITS]; /* other buckets, by the bits so far */
};

#endif
