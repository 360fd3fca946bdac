/* select.h - the k-th smallest magnitude of many weights, without copying or sorting them. */
#ifndef SQZ_LIB_SELECT_H
#define SQZ_LIB_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* An array of finite floats. */
struct sqz_span {
    const float *data;
    size_t n;
};

/* Bits of |x|: an unsigned integer in the order of the magnitudes; 0 for both zeros. */
static inline uint32_t sqz_magnitude(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & UINT32_C(0x7fffffff);
}

/* How many weights have a magnitude below, and equal to, a given one. */
struct sqz_rank {
    size_t below, equal;
};

/*
 * Bits of the rank-th smallest magnitude (1 <= rank <= number of weights) of
 * all spans together into *magnitude, and its rank. Two passes of radix
 * histograms, over the upper 16 and the lower 16 bits. false when memory is
 * short (half a megabyte per thread is needed).
 */
bool sqz_select_magnitude(const struct sqz_span *spans, size_t n_spans, size_t rank, uint32_t *magnitude,
                          struct sqz_rank *out);

#endif
