/* random.h - a small seeded generator with the same numbers on every machine. */
#ifndef SQZ_LIB_RANDOM_H
#define SQZ_LIB_RANDOM_H

#include <stdint.h>

/* xoshiro256** of Blackman & Vigna (2018), state filled by splitmix64 as its authors advise. */
struct sqz_random {
    uint64_t state[4];
};

struct sqz_random sqz_random_seeded(uint64_t seed);

/* 64 uniform bits. */
uint64_t sqz_random_next(struct sqz_random *random);

/* Uniform in [0, 1), a multiple of 2^-53. */
double sqz_random_unit(struct sqz_random *random);

#endif
