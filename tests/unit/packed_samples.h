/* packed_samples.h - random packed tensors and a SqueezeNet made of them, for the tests of the coder. */
#ifndef SQZ_TESTS_PACKED_SAMPLES_H
#define SQZ_TESTS_PACKED_SAMPLES_H

#include "lib/model.h"

/* xorshift64*: the next number; *state must not be 0. */
uint64_t sample_random(uint64_t *state);

/* Uniform in [0, 1). */
double sample_unit(uint64_t *state);

/* A codebook tensor whose survivors (a share `density`) prefer the middle entries; every entry is used if count allows.
 */
struct sqz_packed *sample_codebook(size_t count, uint32_t n_codebook, double density, uint64_t seed);

/* Uniform levels with a two-sided geometric distribution of the given mean magnitude, cut at SQZ_MAX_LEVEL. */
struct sqz_packed *sample_uniform(size_t count, uint32_t n_steps, double mean, uint64_t seed);

/* Levels that obey a trellis, from random indices of the given mean magnitude. */
struct sqz_packed *sample_trellis(const struct sqz_shape *shape, uint32_t n_states, bool per_row, double mean,
                                  uint64_t seed);

/* A codebook tensor whose level i (0: zero) occurs counts[i] times, shuffled. */
struct sqz_packed *sample_histogram(const uint64_t *counts, size_t n, uint64_t seed);

/* Bit-for-bit equality of all fields. */
bool sample_equal(const struct sqz_packed *a, const struct sqz_packed *b);

/* SqueezeNet v1.1 under torchvision's names, kernels as codebooks of 2^bits entries, random biases. */
struct sqz_model *sample_squeezenet(unsigned bits, double density, uint64_t seed);

#endif
