/* metrics.h - what a report says about rows of class scores: pure functions without state. */
#ifndef SQZ_EVAL_METRICS_H
#define SQZ_EVAL_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A row is one image's scores, [n_classes] floats, larger is better. A row
 * that holds a NaN has no best class: it counts as wrong, never as class 0.
 * Ties go to the lowest class.
 */
#define SQZ_NO_CLASS UINT32_MAX

bool sqz_row_has_nan(const float *row, size_t n_classes);

/* The k best classes, best first, in out[min(k, n_classes)]; returns how many: 0 for a row with a NaN. */
size_t sqz_top_k(const float *row, size_t n_classes, size_t k, uint32_t *out);

/* The best class; SQZ_NO_CLASS for an empty row or one with a NaN. */
uint32_t sqz_best_class(const float *row, size_t n_classes);

/* True when `label` is among the k best; false for a row with a NaN or a label outside [0, n_classes). */
bool sqz_in_top_k(const float *row, size_t n_classes, int label, size_t k);

/*
 * out[i] = exp(row[i]) / sum exp(row[j]), computed in double after the maximum
 * has been subtracted. Entries of +infinity share the whole probability. All
 * NaN for a row with a NaN or with nothing above -infinity.
 */
void sqz_softmax(const float *row, size_t n_classes, double *out);

/*
 * Kullback-Leibler divergence D(reference || model) in nats. Rows are logits,
 * or probabilities (what a net with a Softmax at its end gives) when
 * `probabilities` is set; those are normalised to sum 1, and one that has
 * underflowed counts as FLT_MIN, so that the result stays finite. NaN when a
 * row holds anything that is not finite.
 */
double sqz_kl_divergence(const float *reference, const float *model, size_t n_classes, bool probabilities);

struct sqz_interval {
    double low, high;
};

/* Wilson's score interval for a proportion, 95% confidence; [0, 1] when total is 0. */
struct sqz_interval sqz_wilson95(size_t n_correct, size_t n_total);

/*
 * Two-sided p-value of McNemar's exact test for two models on the same images:
 * only_a were right with the first alone, only_b with the second alone. 1 when both are 0.
 */
double sqz_mcnemar_exact(size_t only_a, size_t only_b);

/* Part of n images on which two lists of best classes agree; SQZ_NO_CLASS agrees with nothing. NaN for n = 0. */
double sqz_agreement(const uint32_t *a, const uint32_t *b, size_t n);

/* Sort ascending, for sqz_percentile(). */
void sqz_sort_doubles(double *values, size_t n);

/*
 * Percentile, percent in [0, 100], of ascending values: linear interpolation
 * between closest ranks, so 50 is the median. NaN for n = 0.
 */
double sqz_percentile(const double *sorted, size_t n, double percent);

#endif
