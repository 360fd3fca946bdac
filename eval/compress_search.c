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

/*
 * Bytes beyond the fixed ones are nearly proportional to the allocated bits;
 * the factor of the file before (coder against entropy, tables, rounding that later layers
 * do differently on the compressed net) serves the next one.
 */
enum sqz_status sqz_compress_to_size(struct sqz_compressor *c, size_t max_nbytes, struct sqz_candidate *out, bool *met,
                                     struct sqz_error *err) {
    double factor = 1, aim = (double)max_nbytes * (1 - SIZE_SLACK / 2), fixed = (double)c->fixed_nbytes;
    *out = (struct sqz_candidate){0};
    *met = false;
    for (int i = 0; i < SIZE_TRIES; i++) {
        struct sqz_candidate candidate;
        double payload = aim > fixed ? aim - fixed : 0;
        enum sqz_status status = sqz_compressor_build(c, 8 * payload / factor, &candidate, err);
        if (status != SQZ_OK) {
            sqz_candidate_free(out);
            return status;
        }
        size_t nbytes = candidate.file.nbytes;
        bool fits = nbytes <= max_nbytes, at_end = fits ? candidate.is_largest : candidate.is_smallest;
        if (candidate.nbits > 0 && (double)nbytes > fixed) factor = ((double)nbytes - fixed) / (candidate.nbits / 8);
        bool better = !out->file.data || (fits ? !*met || nbytes > out->file.nbytes
                                               : !*met && nbytes < out->file.nbytes);
        keep(out, &candidate, better);
        *met |= fits;
        if (at_end || (fits && (double)nbytes >= (double)max_nbytes * (1 - SIZE_SLACK))) break;
        /* Steps of whole points overshoot in turns: aim a little lower each time. */
        aim = (double)max_nbytes * (1 - SIZE_SLACK / 2 - (i >= 2 ? SIZE_SLACK * (i - 1) / 2 : 0));
    }
    return SQZ_OK;
}

/* ---- budgets ------------------------------------------------------------- */

/* A search for the least number of bits with which `loss` does not exceed a limit. */
struct budget {
    struct sqz_compressor *compressor;
    double (*loss)(const struct sqz_candidate *candidate);
    double limit;
    double low, high; /* bits: the most that failed, the least that passed; 0: none so far */
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

/* Where to try next: between the limits when there are both, else further out. A quarter of the bits halves or doubles
 * the loss several times over. */
static double next_nbits(const struct budget *budget) {
    if (budget->low > 0 && budget->high > 0) return sqrt(budget->low * budget->high);
    return budget->high > 0 ? budget->high * 0.8 : budget->low * 1.25;
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
        if (passes)
            budget->high = nbits;
        else if (budget->high == 0 || nbits < budget->high)
            budget->low = nbits;
        keep(out, &candidate, better);
        *met |= passes;
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
    struct budget budget = {.compressor = c, .loss = kl_loss, .limit = max_kl};
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
    struct sqz_allocation smallest;
    SQZ_TRY(sqz_allocate(c->curves, c->sensitivity.n_layers, 0, c->choices, &smallest, err));
    low = fmax(low, smallest.nbits);
    high = fmax(high, low);
    for (size_t i = 0; i < n; i++) {
        struct sqz_candidate candidate;
        double part = n > 1 ? (double)i / (double)(n - 1) : 0;
        SQZ_TRY(sqz_compressor_build(c, low * pow(high / low, part), &candidate, err));
        on_point(context, &candidate);
    }
    return SQZ_OK;
}
