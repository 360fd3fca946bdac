/* sorted.h - the surviving weights of a layer in ascending order with prefix sums: the ground of every k-means here. */
#ifndef SQZ_LIB_SORTED_H
#define SQZ_LIB_SORTED_H

#include <stddef.h>

#include "lib/status.h"

/*
 * Prefix sums are kept at every SQZ_MARK_STEP-th position only: 32 bytes for
 * 1024 bytes of weights, while a sum in between costs at most 255 additions.
 */
#define SQZ_MARK_STEP 256

/*
 * Sums of (x - shift) and of its square over the weights before a position,
 * each as a double and the sum of its rounding errors: together about 100
 * bits, so that the difference of two prefixes keeps the digits of small
 * weights also behind large ones.
 */
struct sqz_moments {
    double sum, sum_low;
    double square, square_low;
};

/*
 * shift is 0 where weights of both signs occur, else the weight of smallest
 * magnitude. So no |x - shift| exceeds |x|, and the error of square - sum^2 / n,
 * about 2^-52 times the square, stays below n * (x * 2^-26)^2: as if each
 * weight had been moved by an eighth of its last float bit.
 */
struct sqz_sorted {
    size_t n;
    float *values; /* [n] ascending, none zero */
    double shift;
    struct sqz_moments *marks; /* [n / SQZ_MARK_STEP + 1] */
};

/*
 * Sort the non-zero weights among weights[n], which must be finite. Uses
 * 4 bytes per survivor, the marks and, for a moment, 1 MB per thread. Free
 * with sqz_sorted_free(), also after an error. SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_sorted_build(const float *weights, size_t n, struct sqz_sorted *out, struct sqz_error *err);
void sqz_sorted_free(struct sqz_sorted *sorted);

/* Moments of values[0..end). */
struct sqz_moments sqz_sorted_moments(const struct sqz_sorted *sorted, size_t end);

/* The same for ends[n_ends] in ascending order; cheap where they lie close together. */
void sqz_sorted_moments_at(const struct sqz_sorted *sorted, const size_t *ends, size_t n_ends, struct sqz_moments *out);

/* First index in [begin, end) whose value is above `value`; end when there is none. */
size_t sqz_sorted_above(const struct sqz_sorted *sorted, size_t begin, size_t end, double value);

/* Sum and sum of squares, relative to the shift, of an interval. */
struct sqz_interval {
    double n, sum, square;
};

static inline struct sqz_interval sqz_moments_between(const struct sqz_moments *a, const struct sqz_moments *b,
                                                      size_t n) {
    return (struct sqz_interval){
        .n = (double)n,
        .sum = (b->sum - a->sum) + (b->sum_low - a->sum_low),
        .square = (b->square - a->square) + (b->square_low - a->square_low),
    };
}

/* Sum of squared distances from the interval's own mean: what it costs as a cluster. */
static inline double sqz_interval_cost(struct sqz_interval v) {
    double cost = v.n > 0 ? v.square - v.sum * v.sum / v.n : 0;
    return cost > 0 ? cost : 0;
}

#endif
