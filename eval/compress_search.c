/* compress_search.c - the smallest or best file within a limit, on one scalar: the bits given to all levels. */
#include <math.h>

#include "eval/compress_parts.h"

/* A file this much below the limit is as good as one that meets it: less than any difference that can be measured. */
#define SIZE_SLACK 0.0015

/* Files tried by a search at the most; the prediction is within 1% after the second. */
#define SIZE_TRIES 8
#define BUDGET_TRIES 8

/* Keep the better of two candidates, free the other. */
static void keep(struct sqz_candidate *best, struct sqz_candidate *candidate, bool better) {
    if (better) {
        sqz_candidate_free(best);
        *best = *candidate;
        *candidate = (struct sqz_candidate){0};
    } else {
        sqz_candidate_free(candidate);
    }
}

/* ---- size --------------------------------------------------------------- */

/* Sizes of the largest file that fitted and the smallest that did not, with the bits asked for; 0: none so far. */
struct bracket {
    double low_nbits, low_nbytes, high_nbits, high_nbytes;
};

static void bracket_add(struct bracket *bracket, double nbits, double nbytes, bool fits) {
    if (fits && nbytes > bracket->low_nbytes) {
        bracket->low_nbits = nbits;
        bracket->low_nbytes = nbytes;
    } else if (!fits && (bracket->high_nbytes == 0 || nbytes < bracket->high_nbytes)) {
        bracket->high_nbits = nbits;
        bracket->high_nbytes = nbytes;
    }
}

/*
 * Bytes beyond the fixed ones are nearly proportional to the allocated bits
 * (coder against entropy, tables, rounding that later layers do differently
 * on the compressed net), so one file leads to the next; between two files
 * the logarithms are interpolated.
 */
static double bracket_next(const struct bracket *bracket, double fixed, double aim) {
    double low = log(fmax(bracket->low_nbytes - fixed, 1)), high = log(fmax(bracket->high_nbytes - fixed, 1));
    double wanted = log(fmax(aim - fixed, 1));
    if (bracket->low_nbytes > 0 && bracket->high_nbytes > 0 && bracket->low_nbits < bracket->high_nbits) {
        double part = (wanted - low) / (high - low);
        return bracket->low_nbits * pow(bracket->high_nbits / bracket->low_nbits, part);
    }
    if (bracket->low_nbytes > 0) return bracket->low_nbits * exp(wanted - low);
    return bracket->high_nbits * exp(wanted - high);
}

/* A smaller file, even one that just fits, is no loss when the net is better: sizes this close count as equal. */
#define SAME_SIZE 0.005

/* A change of the allocated bits by less leads to the same file. */
#define SAME_NBITS 3e-4

static bool better_fit(const struct sqz_candidate *best, const struct sqz_candidate *candidate, bool met, bool fits,
                       double limit) {
    if (!best->file.data) return true;
    if (!fits) return !met && candidate->file.nbytes < best->file.nbytes;
    if (!met) return true;
    double near = limit * (1 - SAME_SIZE), size = (double)candidate->file.nbytes, old = (double)best->file.nbytes;
    if (size >= near && old >= near) return candidate->kl < best->kl;
    return size > old;
}

/* Bits in the file for each one that the sweep's entropies promise: contexts see more, and a trellis makes fewer. */
#define FREELY_CODED 0.97
#define TRELLIS_CODED 0.93

enum sqz_status sqz_compress_to_size(struct sqz_compressor *c, size_t max_nbytes, struct sqz_candidate *out, bool *met,
                                     struct sqz_error *err) {
    double fixed = (double)c->fixed_nbytes, limit = (double)max_nbytes, aim = limit * (1 - SIZE_SLACK / 2);
    double nbits = 8 * fmax(aim - fixed, 0) / (c->options.trellis_states ? TRELLIS_CODED : FREELY_CODED);
    struct bracket bracket = {0};
    unsigned n_misses = 0;
    *out = (struct sqz_candidate){0};
    *met = false;
    for (int i = 0; i < SIZE_TRIES; i++) {
        struct sqz_candidate candidate;
        enum sqz_status status = sqz_compressor_build(c, nbits, &candidate, err);
        if (status != SQZ_OK) {
            sqz_candidate_free(out);
            return status;
        }
        size_t nbytes = candidate.file.nbytes;
        bool fits = nbytes <= max_nbytes, at_end = fits ? candidate.is_largest : candidate.is_smallest;
        double asked = candidate.nbits;
        bracket_add(&bracket, asked, (double)nbytes, fits);
        keep(out, &candidate, better_fit(out, &candidate, *met, fits, limit));
        *met |= fits;
        if (at_end || (fits && (double)nbytes >= limit * (1 - SIZE_SLACK))) break;
        /* Sizes scatter by a part of the slack, those of small files by more: aim lower with each that is too large. */
        if (!fits) aim -= limit * SIZE_SLACK / 10 * (double)(1u << n_misses++);
        nbits = bracket_next(&bracket, fixed, aim);
        if (fits && fabs(nbits / asked - 1) < SAME_NBITS) break;
    }
    return SQZ_OK;
}

/* ---- budgets ------------------------------------------------------------- */

/* A search for the least number of bits with which `loss` does not exceed a limit. */
struct budget {
    struct sqz_compressor *compressor;
    double (*loss)(const struct sqz_candidate *candidate);
    double limit;
    bool smooth;                 /* a divergence: its logarithm falls evenly with that of the bits */
    double low, high;            /* bits: the most that failed, the least that passed; 0: none so far */
    double low_loss, high_loss;  /* and what they lost */
};

static double kl_loss(const struct sqz_candidate *candidate) {
    return candidate->kl;
}

/* Percentage points of top-1. */
static double drop_loss(const struct sqz_candidate *candidate) {
    double lost = (double)candidate->top1_float - (double)candidate->top1_correct;
    return candidate->n_holdout ? 100 * lost / (double)candidate->n_holdout : 0;
}

/* Bits at which the sweep predicts a divergence, by halving. */
static enum sqz_status predict_nbits(struct sqz_compressor *c, double kl, double *out, struct sqz_error *err) {
    struct sqz_allocation allocation;
    double low = 0, high = 0;
    for (size_t i = 0; i < c->sensitivity.n_layers; i++) high += 16.0 * (double)c->sensitivity.layers[i].count;
    for (int i = 0; i < 30; i++) {
        double middle = (low + high) / 2;
        SQZ_TRY(sqz_allocate(c->curves, c->sensitivity.n_layers, middle, c->choices, &allocation, err));
        if (allocation.kl > kl)
            low = middle;
        else
            high = middle;
    }
    *out = high;
    return SQZ_OK;
}

/* How the logarithm of a divergence falls with that of the bits: 4 to 6 on the nets measured. */
#define KL_SLOPE 4.5

/* Aim a little below the limit, since a divergence scatters by some percent. */
#define KL_AIM 0.98

/* Bits at which a divergence should meet its limit. */
static double next_smooth(const struct budget *budget) {
    double wanted = log(budget->limit * KL_AIM);
    if (budget->low > 0 && budget->high > 0) {
        double low = log(fmin(budget->low_loss, 1e3)), high = log(fmax(budget->high_loss, 1e-12));
        double part = (wanted - low) / (high - low);
        /* Never so near to one end that the other stays where it is. */
        return budget->low * pow(budget->high / budget->low, fmin(fmax(part, 0.15), 0.85));
    }
    double nbits = budget->high > 0 ? budget->high : budget->low;
    double loss = log(fmin(fmax(budget->high > 0 ? budget->high_loss : budget->low_loss, 1e-12), 1e3));
    return nbits * exp(fmin(fmax((loss - wanted) / KL_SLOPE, -0.5), 0.5));
}

/* Where to try next: between the limits when there are both, else further out by steps that change a loss by half. */
static double next_nbits(const struct budget *budget) {
    if (budget->smooth) return next_smooth(budget);
    if (budget->low > 0 && budget->high > 0) return sqrt(budget->low * budget->high);
    return budget->high > 0 ? budget->high * 0.85 : budget->low * 1.18;
}

/* Limits this close to each other, as a ratio of bits, end a search. */
#define CLOSE_ENOUGH 1.006

static enum sqz_status search_budget(struct budget *budget, double nbits, struct sqz_candidate *out, bool *met,
                                     struct sqz_error *err) {
    *out = (struct sqz_candidate){0};
    *met = false;
    for (int i = 0; i < BUDGET_TRIES; i++) {
        struct sqz_candidate candidate;
        enum sqz_status status = sqz_compressor_build(budget->compressor, nbits, &candidate, err);
        if (status != SQZ_OK) {
            sqz_candidate_free(out);
            return status;
        }
        double loss = budget->loss(&candidate);
        bool passes = loss <= budget->limit, at_end = passes ? candidate.is_smallest : candidate.is_largest;
        bool better = !out->file.data || (passes ? !*met || candidate.file.nbytes < out->file.nbytes
                                                 : !*met && loss < budget->loss(out));
        if (passes) {
            budget->high = nbits;
            budget->high_loss = loss;
        } else if (budget->high == 0 || nbits < budget->high) {
            budget->low = nbits;
            budget->low_loss = loss;
        }
        keep(out, &candidate, better);
        *met |= passes;
        if (budget->smooth && passes && loss > budget->limit * (2 * KL_AIM - 1)) break;
        if (at_end || (budget->low > 0 && budget->high > 0 && budget->high < budget->low * CLOSE_ENOUGH)) break;
        nbits = next_nbits(budget);
    }
    return SQZ_OK;
}

/* Single layers' divergences add up to this many times that of the net compressed in sequence; measured on SqueezeNet. */
#define SUM_FACTOR 1.2

static double predicted_sum(const struct sqz_compressor *c, double kl) {
    return c->options.classic ? kl : kl * SUM_FACTOR;
}

enum sqz_status sqz_compress_to_kl(struct sqz_compressor *c, double max_kl, struct sqz_candidate *out, bool *met,
                                   struct sqz_error *err) {
    struct budget budget = {.compressor = c, .loss = kl_loss, .limit = max_kl, .smooth = true};
    double nbits;
    SQZ_TRY(predict_nbits(c, predicted_sum(c, max_kl), &nbits, err));
    return search_budget(&budget, nbits, out, met, err);
}

/* Divergence to begin with: with 0.02 nats classifiers lose some tenths of a point. */
#define DROP_START_KL 0.02

enum sqz_status sqz_compress_to_drop(struct sqz_compressor *c, double max_drop, struct sqz_candidate *out, bool *met,
                                     struct sqz_error *err) {
    if (!c->holdout.dataset) return sqz_fail(err, SQZ_ARGUMENT, "a loss of accuracy needs a set of labelled images");
    struct budget budget = {.compressor = c, .loss = drop_loss, .limit = max_drop};
    double nbits;
    SQZ_TRY(predict_nbits(c, predicted_sum(c, DROP_START_KL), &nbits, err));
    return search_budget(&budget, nbits, out, met, err);
}

/* ---- front ---------------------------------------------------------------- */

/* Divergences of the front's ends: hardly measurable, and of no use any more. */
#define FRONT_BEST_KL 0.002
#define FRONT_WORST_KL 1.0

enum sqz_status sqz_compress_front(struct sqz_compressor *c, size_t n,
                                   void (*on_point)(void *context, struct sqz_candidate *candidate), void *context,
                                   struct sqz_error *err) {
    double low, high;
    SQZ_TRY(predict_nbits(c, predicted_sum(c, FRONT_WORST_KL), &low, err));
    SQZ_TRY(predict_nbits(c, predicted_sum(c, FRONT_BEST_KL), &high, err));
    low = fmax(fmax(low, c->smallest_nbits), 1);
    high = fmax(high, low);
    for (size_t i = 0; i < n; i++) {
        struct sqz_candidate candidate;
        double part = n > 1 ? (double)i / (double)(n - 1) : 0;
        SQZ_TRY(sqz_compressor_build(c, low * pow(high / low, part), &candidate, err));
        on_point(context, &candidate);
    }
    return SQZ_OK;
}
