/* evaluate.h - runs one or two models over a labelled data set and counts what they get right. */
#ifndef SQZ_EVAL_EVALUATE_H
#define SQZ_EVAL_EVALUATE_H

#include "eval/dataset.h"
#include "eval/engine.h"
#include "eval/metrics.h"

#define SQZ_TOP 5

/* A model under test. */
struct sqz_subject {
    struct sqz_session *session; /* planned for at least options->batch images */
    const struct sqz_input *input;
    size_t n_classes;   /* floats of its result */
    bool probabilities; /* the net ends in a Softmax */
};

struct sqz_evaluate_options {
    size_t limit;     /* evaluate the first `limit` images; 0: all */
    uint32_t batch;   /* images for each run; at least 1 */
    int label_offset; /* added to each label: 1 for a net whose class 0 is "background" */
    void (*progress)(void *context, size_t done, size_t total); /* may be NULL */
    void *progress_context;
    void (*bad_image)(void *context, const char *name, const char *reason); /* may be NULL */
    void *bad_context;
};

/* How one subject did. */
struct sqz_score {
    size_t top1_correct, top5_correct;
    size_t n_nan;             /* images whose result holds a NaN; they count as wrong */
    uint32_t (*top)[SQZ_TOP]; /* [n_images] best classes, best first; SQZ_NO_CLASS where there are fewer */
    float *confidence;        /* [n_images] probability of the best class, 0 for a bad image */
    double run_ms_median;     /* inference time for one image: median over batches of batch time / images */
};

struct sqz_evaluation {
    size_t n_images; /* the denominator: every image asked for, broken ones included (they count as wrong) */
    size_t n_bad;    /* broken images */
    int *labels;     /* [n_images] with the offset applied */
    size_t n_scores;
    struct sqz_score score[2];
    /* With two subjects, the second being the baseline, over the images that are not broken: */
    double agreement;                 /* part on which both best classes are the same */
    double mean_kl;                   /* mean of D(baseline || model) in nats, over images where it is finite */
    size_t only_model, only_baseline; /* right with one of them alone */
};

/*
 * Evaluate n_subjects (1 or 2) on the same images. The result does not depend
 * on the thread count or the batch. An image that cannot be decoded is
 * reported, counted and left out of the runs; SQZ_OUT_OF_MEMORY and a label
 * outside the classes (SQZ_BAD_LABEL) end the evaluation.
 */
enum sqz_status sqz_evaluate(const struct sqz_dataset *dataset, const struct sqz_subject *subjects, size_t n_subjects,
                             const struct sqz_evaluate_options *options, struct sqz_evaluation *out,
                             struct sqz_error *err);
void sqz_evaluation_free(struct sqz_evaluation *evaluation);

/* Whether the net's result is a probability already: its last node that computes anything is a Softmax. */
bool sqz_model_ends_in_softmax(const struct sqz_model *model);

#endif
