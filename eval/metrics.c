/* metrics.c - what a report says about rows of class scores. */
#include "eval/metrics.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* ---- ranking ------------------------------------------------------------- */

bool sqz_row_has_nan(const float *row, size_t n_classes) {
    for (size_t i = 0; i < n_classes; i++)
        if (isnan(row[i])) return true;
    return false;
}

size_t sqz_top_k(const float *row, size_t n_classes, size_t k, uint32_t *out) {
    if (sqz_row_has_nan(row, n_classes)) return 0;
    size_t held = 0;
    for (size_t i = 0; i < n_classes; i++) {
        size_t place = held < k ? held++ : k;
        /* Insertion from behind; an equal score stays behind the lower class that came first. */
        while (place > 0 && row[out[place - 1]] < row[i]) {
            if (place < k) out[place] = out[place - 1];
            place--;
        }
        if (place < k) out[place] = (uint32_t)i;
    }
    return held;
}

uint32_t sqz_best_class(const float *row, size_t n_classes) {
    uint32_t best;
    return sqz_top_k(row, n_classes, 1, &best) == 1 ? best : SQZ_NO_CLASS;
}

bool sqz_in_top_k(const float *row, size_t n_classes, int label, size_t k) {
    if (label < 0 || (size_t)label >= n_classes || sqz_row_has_nan(row, n_classes)) return false;
    size_t n_ahead = 0;
    for (size_t i = 0; i < n_classes; i++)
        n_ahead += row[i] > row[label] || (row[i] == row[label] && i < (size_t)label);
    return n_ahead < k;
}

/* ---- distributions ------------------------------------------------------- */

static double largest(const float *row, size_t n) {
    double max = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (row[i] > max) max = row[i];
    return max;
}

void sqz_softmax(const float *row, size_t n_classes, double *out) {
    double max = largest(row, n_classes), sum = 0;
    bool undefined = sqz_row_has_nan(row, n_classes) || max == -INFINITY;
    for (size_t i = 0; i < n_classes; i++) {
        /* At an infinite maximum the difference would be NaN; only the entries that reach it count. */
        out[i] = isinf(max) ? (double)(row[i] == max) : exp(row[i] - max);
        sum += out[i];
    }
    for (size_t i = 0; i < n_classes; i++) out[i] = undefined ? (double)NAN : out[i] / sum;
}

/* What has to be subtracted from every log-score so that the exponentials add up to 1. */
static double log_normalizer(const float *row, size_t n, bool probabilities) {
    double max = largest(row, n), sum = 0;
    for (size_t i = 0; i < n; i++) sum += probabilities ? fmax(row[i], FLT_MIN) : exp(row[i] - max);
    return probabilities ? log(sum) : max + log(sum);
}

static double log_score(float value, bool probabilities) {
    return probabilities ? log(fmax(value, FLT_MIN)) : value;
}

double sqz_kl_divergence(const float *reference, const float *model, size_t n_classes, bool probabilities) {
    for (size_t i = 0; i < n_classes; i++)
        if (!isfinite(reference[i]) || !isfinite(model[i])) return NAN;
    double reference_log = log_normalizer(reference, n_classes, probabilities);
    double model_log = log_normalizer(model, n_classes, probabilities), divergence = 0;
    for (size_t i = 0; i < n_classes; i++) {
        double log_p = log_score(reference[i], probabilities) - reference_log;
        double log_q = log_score(model[i], probabilities) - model_log;
        divergence += exp(log_p) * (log_p - log_q);
    }
    return divergence > 0 ? divergence : 0; /* never negative but for rounding */
}

/* ---- statistics ---------------------------------------------------------- */

struct sqz_interval sqz_wilson95(size_t n_correct, size_t n_total) {
    const double z = 1.959963984540054; /* 97.5% quantile of the normal distribution */
    if (n_total == 0) return (struct sqz_interval){0, 1};
    double n = (double)n_total, p = (double)n_correct / n;
    double denominator = 1 + z * z / n, center = (p + z * z / (2 * n)) / denominator;
    double half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / denominator;
    return (struct sqz_interval){n_correct == 0 ? 0 : center - half, n_correct == n_total ? 1 : center + half};
}

double sqz_mcnemar_exact(size_t only_a, size_t only_b) {
    size_t fewer = only_a < only_b ? only_a : only_b;
    double n = (double)only_a + (double)only_b, tail = 0;
    /* Twice the lower tail of a binomial with n trials and chance 1/2, its terms by way of their logarithms. */
    for (size_t i = 0; i <= fewer; i++) {
        double k = (double)i;
        tail += exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n * 0.6931471805599453 /* ln 2 */);
    }
    return fmin(1.0, 2 * tail);
}

double sqz_agreement(const uint32_t *a, const uint32_t *b, size_t n) {
    size_t n_same = 0;
    for (size_t i = 0; i < n; i++) n_same += a[i] == b[i] && a[i] != SQZ_NO_CLASS;
    return n ? (double)n_same / (double)n : (double)NAN;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void sqz_sort_doubles(double *values, size_t n) {
    if (n > 1) qsort(values, n, sizeof *values, compare_doubles);
}

double sqz_percentile(const double *sorted, size_t n, double percent) {
    if (n == 0) return NAN;
    double rank = percent / 100 * (double)(n - 1);
    size_t below = (size_t)rank;
    if (below + 1 >= n) return sorted[n - 1];
    return sorted[below] + (rank - (double)below) * (sorted[below + 1] - sorted[below]);
}
