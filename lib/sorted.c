/* sorted.c - the surviving weights of a layer in ascending order with prefix sums. */

/*
 * A radix sort made for float32: the upper 16 bits of the ordered bit pattern
 * (sign, exponent, 7 bits of mantissa) choose one of 65,536 buckets while the
 * weights are copied, and only the lower 16 bits are left to be sorted inside
 * a bucket, which small scratch memory does in cache. Equal weights are the
 * same bits, so the result does not depend on the threads.
 */
#include "lib/sorted.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lib/memory.h"
#include "lib/parallel.h"

#define N_BUCKETS 65536

/* Copying needs a counter per bucket and part; more parts than this would cost more than they bring. */
#define MAX_PARTS 16

/* Buckets are sorted in groups of this many, so that a call is worth its overhead. */
#define GROUP 64

/* Up to here insertion sort wins, and from FEW_VALUES on counting does: measured on Laplace weights. */
#define FEW_VALUES 24
#define MANY_VALUES 32768

struct sort {
    const float *weights;
    size_t n;
    float *values;
    size_t n_parts;
    size_t *counts;                 /* [n_parts][N_BUCKETS]: first counts, then places */
    size_t start[N_BUCKETS + 1];    /* of each bucket */
    struct bucket_scratch *scratch; /* [threads] */
};

struct bucket_scratch {
    union {
        size_t count[N_BUCKETS]; /* of each lower half, for a large bucket */
        uint16_t halves[2][MANY_VALUES];
    } u;
};

static uint32_t float_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Unsigned integers in the order of the floats: negative ones are complemented, positive ones get the top bit. */
static uint32_t order_key(uint32_t bits) {
    return bits & UINT32_C(0x80000000) ? ~bits : bits | UINT32_C(0x80000000);
}

static float float_of_key(uint32_t key) {
    uint32_t bits = key & UINT32_C(0x80000000) ? key & UINT32_C(0x7fffffff) : ~key;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static size_t part_begin(const struct sort *s, size_t part) {
    return s->n / s->n_parts * part + (part < s->n % s->n_parts ? part : s->n % s->n_parts);
}

static void count_part(void *context, size_t part, int thread) {
    (void)thread;
    struct sort *s = context;
    size_t *counts = s->counts + part * N_BUCKETS;
    memset(counts, 0, N_BUCKETS * sizeof *counts);
    for (size_t i = part_begin(s, part); i < part_begin(s, part + 1); i++) {
        uint32_t bits = float_bits(s->weights[i]);
        if (bits << 1 != 0) counts[order_key(bits) >> 16]++;
    }
}

static void copy_part(void *context, size_t part, int thread) {
    (void)thread;
    struct sort *s = context;
    size_t *places = s->counts + part * N_BUCKETS;
    for (size_t i = part_begin(s, part); i < part_begin(s, part + 1); i++) {
        uint32_t bits = float_bits(s->weights[i]);
        if (bits << 1 != 0) s->values[places[order_key(bits) >> 16]++] = s->weights[i];
    }
}

/* Turn counts into places, and note where each bucket starts. Returns the number of survivors. */
static size_t place_parts(struct sort *s) {
    size_t place = 0;
    for (size_t bucket = 0; bucket < N_BUCKETS; bucket++) {
        s->start[bucket] = place;
        for (size_t part = 0; part < s->n_parts; part++) {
            size_t *count = &s->counts[part * N_BUCKETS + bucket], here = *count;
            *count = place;
            place += here;
        }
    }
    s->start[N_BUCKETS] = place;
    return place;
}

static void insertion_sort(float *values, size_t n) {
    for (size_t i = 1; i < n; i++) {
        float v = values[i];
        size_t k = i;
        for (; k > 0 && values[k - 1] > v; k--) values[k] = values[k - 1];
        values[k] = v;
    }
}

/* Two passes over one byte each; only the lower halves move. */
static void radix_sort_halves(float *values, size_t n, uint32_t upper, uint16_t halves[2][MANY_VALUES]) {
    uint32_t count[2][256] = {{0}};
    for (size_t i = 0; i < n; i++) {
        uint32_t half = order_key(float_bits(values[i])) & 0xffff;
        halves[0][i] = (uint16_t)half;
        count[0][half & 0xff]++;
        count[1][half >> 8]++;
    }
    uint32_t place[2] = {0, 0};
    for (int byte = 0; byte < 256; byte++) {
        for (int pass = 0; pass < 2; pass++) {
            uint32_t here = count[pass][byte];
            count[pass][byte] = place[pass];
            place[pass] += here;
        }
    }
    for (size_t i = 0; i < n; i++) halves[1][count[0][halves[0][i] & 0xff]++] = halves[0][i];
    for (size_t i = 0; i < n; i++) values[count[1][halves[1][i] >> 8]++] = float_of_key(upper | halves[1][i]);
}

/* A large bucket is written anew from how often each of its 65,536 possible values occurs. */
static void counting_sort(float *values, size_t n, uint32_t upper, size_t *count) {
    memset(count, 0, N_BUCKETS * sizeof *count);
    for (size_t i = 0; i < n; i++) count[order_key(float_bits(values[i])) & 0xffff]++;
    for (uint32_t half = 0; half < 65536; half++) {
        float value = float_of_key(upper | half);
        for (size_t c = count[half]; c > 0; c--) *values++ = value;
    }
}

static void sort_group(void *context, size_t group, int thread) {
    struct sort *s = context;
    for (size_t bucket = group * GROUP; bucket < (group + 1) * GROUP; bucket++) {
        float *values = s->values + s->start[bucket];
        size_t n = s->start[bucket + 1] - s->start[bucket];
        uint32_t upper = (uint32_t)bucket << 16;
        if (n <= FEW_VALUES)
            insertion_sort(values, n);
        else if (n <= MANY_VALUES)
            radix_sort_halves(values, n, upper, s->scratch[thread].u.halves);
        else
            counting_sort(values, n, upper, s->scratch[thread].u.count);
    }
}

static bool sort_survivors(const float *weights, size_t n, struct sqz_sorted *out) {
    bool done = false;
    struct sort *s = sqz_alloc(1, sizeof *s);
    if (!s) return false;
    size_t threads = (size_t)sqz_threads();
    *s = (struct sort){.weights = weights, .n = n};
    /* A part should have more weights than there are counters to clear. */
    s->n_parts = n / N_BUCKETS + 1;
    if (s->n_parts > threads) s->n_parts = threads;
    if (s->n_parts > MAX_PARTS) s->n_parts = MAX_PARTS;
    s->counts = sqz_alloc(s->n_parts * N_BUCKETS, sizeof *s->counts);
    s->scratch = sqz_alloc(threads, sizeof *s->scratch);
    if (s->counts && s->scratch) {
        sqz_parallel_for(s->n_parts, count_part, s);
        out->n = place_parts(s);
        s->values = out->values = sqz_alloc(out->n, sizeof *out->values);
    }
    if (s->values) {
        sqz_parallel_for(s->n_parts, copy_part, s);
        sqz_parallel_for(N_BUCKETS / GROUP, sort_group, s);
        done = true;
    }
    sqz_free(s->scratch);
    sqz_free(s->counts);
    sqz_free(s);
    return done;
}

/* *sum + *low += x, keeping the rounding error in *low (Knuth's two-sum). */
static inline void add_exactly(double *sum, double *low, double x) {
    double s = *sum + x, virtual_x = s - *sum;
    *low += (*sum - (s - virtual_x)) + (x - virtual_x);
    *sum = s;
}

static struct sqz_moments plus(struct sqz_moments a, struct sqz_moments b) {
    add_exactly(&a.sum, &a.sum_low, b.sum);
    add_exactly(&a.square, &a.square_low, b.square);
    a.sum_low += b.sum_low;
    a.square_low += b.square_low;
    return a;
}

/* Add values[begin .. end) to moments. */
static struct sqz_moments plus_values(const struct sqz_sorted *sorted, struct sqz_moments moments, size_t begin,
                                      size_t end) {
    for (size_t i = begin; i < end; i++) {
        double d = (double)sorted->values[i] - sorted->shift;
        add_exactly(&moments.sum, &moments.sum_low, d);
        add_exactly(&moments.square, &moments.square_low, d * d);
    }
    return moments;
}

/* Sums of one mark's weights go into the place of the next mark. */
static void sum_group(void *context, size_t group, int thread) {
    (void)thread;
    struct sqz_sorted *sorted = context;
    size_t n_full = sorted->n / SQZ_MARK_STEP;
    for (size_t m = group * SQZ_MARK_STEP; m < (group + 1) * SQZ_MARK_STEP && m < n_full; m++)
        sorted->marks[m + 1] = plus_values(sorted, (struct sqz_moments){0}, m * SQZ_MARK_STEP, (m + 1) * SQZ_MARK_STEP);
}

static double choose_shift(const struct sqz_sorted *sorted) {
    if (sorted->n == 0) return 0;
    double low = sorted->values[0], high = sorted->values[sorted->n - 1];
    return low > 0 ? low : high < 0 ? high : 0;
}

enum sqz_status sqz_sorted_build(const float *weights, size_t n, struct sqz_sorted *out, struct sqz_error *err) {
    *out = (struct sqz_sorted){0};
    if (!sort_survivors(weights, n, out))
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory to sort %zu weights", n);
    size_t n_full = out->n / SQZ_MARK_STEP;
    out->marks = sqz_alloc(n_full + 1, sizeof *out->marks);
    if (!out->marks) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the sums of %zu weights", n);
    out->shift = choose_shift(out);
    sqz_parallel_for(n_full / SQZ_MARK_STEP + 1, sum_group, out);
    struct sqz_moments total = {0};
    out->marks[0] = total;
    for (size_t m = 1; m <= n_full; m++) total = out->marks[m] = plus(total, out->marks[m]);
    return SQZ_OK;
}

void sqz_sorted_free(struct sqz_sorted *sorted) {
    sqz_free(sorted->values);
    sqz_free(sorted->marks);
    *sorted = (struct sqz_sorted){0};
}

void sqz_sorted_moments_at(const struct sqz_sorted *sorted, const size_t *ends, size_t n_ends,
                           struct sqz_moments *out) {
    size_t mark = SIZE_MAX, at = 0;
    struct sqz_moments since_mark = {0};
    for (size_t e = 0; e < n_ends; e++) {
        if (ends[e] / SQZ_MARK_STEP != mark) {
            mark = ends[e] / SQZ_MARK_STEP;
            at = mark * SQZ_MARK_STEP;
            since_mark = (struct sqz_moments){0};
        }
        since_mark = plus_values(sorted, since_mark, at, ends[e]);
        at = ends[e];
        out[e] = plus(sorted->marks[mark], since_mark);
    }
}

struct sqz_moments sqz_sorted_moments(const struct sqz_sorted *sorted, size_t end) {
    struct sqz_moments moments;
    sqz_sorted_moments_at(sorted, &end, 1, &moments);
    return moments;
}

size_t sqz_sorted_above(const struct sqz_sorted *sorted, size_t begin, size_t end, double value) {
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        if ((double)sorted->values[middle] > value)
            end = middle;
        else
            begin = middle + 1;
    }
    return begin;
}
