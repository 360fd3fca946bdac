/* rate_model.c - how many bits a level costs, estimated from the levels of its layer. */
#include "lib/rate_model.h"

#include <math.h>

#include "lib/packed.h"

/* Added to each count: Krichevsky and Trofimov's estimate. */
#define SMOOTHING 0.5

/* Bits of magnitudes that share one bucket: all 2^b of them, both signs. */
static double bucket_extra_nbits(unsigned b) {
    return (double)b + 1;
}

static void fill(struct sqz_rate_model *model, const double *direct, const double *bucket) {
    double total = 0;
    for (int i = 0; i < SQZ_RATE_DIRECT; i++) total += direct[i];
    for (int b = 0; b < SQZ_RATE_BUCKETS; b++) total += bucket[b];
    for (int i = 0; i < SQZ_RATE_DIRECT; i++) model->direct[i] = (float)(log2(total / direct[i]) + (i > 0 ? 1 : 0));
    for (unsigned b = 0; b < SQZ_RATE_BUCKETS; b++)
        model->bucket[b] = (float)(log2(total / bucket[b]) + bucket_extra_nbits(b));
}

void sqz_rate_model_fit(struct sqz_rate_model *model, const int16_t *levels, size_t n) {
    sqz_rate_model_fit_class(model, levels, NULL, 0, n);
}

void sqz_rate_model_fit_class(struct sqz_rate_model *model, const int16_t *levels, const uint8_t *classes,
                              unsigned wanted, size_t n) {
    double direct[SQZ_RATE_DIRECT], bucket[SQZ_RATE_BUCKETS];
    for (int i = 0; i < SQZ_RATE_DIRECT; i++) direct[i] = SMOOTHING;
    for (int b = 0; b < SQZ_RATE_BUCKETS; b++) bucket[b] = SMOOTHING;
    for (size_t i = 0; i < n; i++) {
        if (classes && classes[i] != wanted) continue;
        unsigned magnitude = (unsigned)(levels[i] < 0 ? -levels[i] : levels[i]);
        if (magnitude < SQZ_RATE_DIRECT)
            direct[magnitude]++;
        else
            bucket[31 - __builtin_clz(magnitude)]++;
    }
    fill(model, direct, bucket);
}

void sqz_rate_model_geometric(struct sqz_rate_model *model, double mean_magnitude) {
    double ratio = mean_magnitude / (1 + mean_magnitude); /* of neighbouring magnitudes; this one has the wanted mean */
    double direct[SQZ_RATE_DIRECT], bucket[SQZ_RATE_BUCKETS], tail = 1;
    for (int i = 0; i < SQZ_RATE_DIRECT; i++) {
        direct[i] = tail * (1 - ratio) + 1e-9;
        tail *= ratio;
    }
    for (unsigned b = 0; b < SQZ_RATE_BUCKETS; b++) {
        double begin = (double)(1u << b), end = 2 * begin;
        bucket[b] = end <= SQZ_RATE_DIRECT ? 1e-9 : pow(ratio, begin) - pow(ratio, end) + 1e-9;
    }
    fill(model, direct, bucket);
}

double sqz_rate_entropy_nbits(const int16_t *levels, size_t n) {
    return sqz_rate_entropy_class_nbits(levels, NULL, 0, n);
}

double sqz_rate_entropy_class_nbits(const int16_t *levels, const uint8_t *classes, unsigned wanted, size_t n) {
    size_t counts[2 * SQZ_MAX_LEVEL + 1] = {0}, total = 0;
    for (size_t i = 0; i < n; i++) {
        if (classes && classes[i] != wanted) continue;
        counts[levels[i] + SQZ_MAX_LEVEL]++;
        total++;
    }
    double nbits = 0;
    for (int i = 0; i <= 2 * SQZ_MAX_LEVEL; i++)
        if (counts[i] > 0) nbits += (double)counts[i] * log2((double)total / (double)counts[i]);
    return nbits;
}
