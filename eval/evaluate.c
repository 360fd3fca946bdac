/* evaluate.c - runs one or two models over a labelled data set. */
#include "eval/evaluate.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "lib/parallel.h"

bool sqz_model_ends_in_softmax(const struct sqz_model *model) {
    const struct sqz_node *node = &model->nodes[model->output];
    while (node->op == SQZ_OP_FLATTEN || node->op == SQZ_OP_RESHAPE || node->op == SQZ_OP_DROPOUT)
        node = &model->nodes[node->inputs[0]];
    return node->op == SQZ_OP_SOFTMAX;
}

/* ---- the work space of one evaluation ------------------------------------ */

struct work {
    const struct sqz_dataset *dataset;
    const struct sqz_subject *subjects;
    size_t n_subjects;
    const struct sqz_evaluate_options *options;
    float *input[2];          /* [batch][input count] for each subject; both the same buffer when they want the same */
    float *result[2];         /* [batch][n_classes] */
    double *softmax;          /* [largest n_classes] */
    float *rows[2];           /* one row for each subject as probabilities, when only one net ends in a Softmax */
    enum sqz_status *load;    /* [batch] status of each image */
    struct sqz_error *errors; /* [batch] */
    size_t first, n;          /* images of the current batch */
    double *times[2];         /* [number of batches] ms for one image */
    size_t n_times;
    double kl_sum;
    size_t n_kl, n_agree, n_good;
};

static bool same_input(const struct sqz_input *a, const struct sqz_input *b) {
    bool same = a->channels == b->channels && a->height == b->height && a->width == b->width &&
                a->resize_short == b->resize_short && a->squash == b->squash && a->order == b->order &&
                a->filter == b->filter && a->scale == b->scale;
    for (uint32_t c = 0; c < a->channels && c < 4; c++) same &= a->mean[c] == b->mean[c] && a->std[c] == b->std[c];
    return same;
}

static bool shares_input(const struct work *work) {
    return work->n_subjects == 2 && same_input(work->subjects[0].input, work->subjects[1].input);
}

static enum sqz_status allocate_work(struct work *work, size_t n_batches, struct sqz_error *err) {
    size_t batch = work->options->batch, largest = 0;
    bool good = true;
    for (size_t s = 0; s < work->n_subjects; s++) {
        const struct sqz_subject *subject = &work->subjects[s];
        size_t count;
        good &= sqz_mul_size(batch, sqz_session_input_count(subject->session), &count);
        if (s == 1 && shares_input(work))
            work->input[1] = work->input[0];
        else if (good)
            work->input[s] = sqz_alloc_aligned(count, sizeof(float));
        good &= sqz_mul_size(batch, subject->n_classes, &count);
        if (good) work->result[s] = sqz_alloc_aligned(count, sizeof(float));
        work->rows[s] = sqz_alloc(subject->n_classes, sizeof(float));
        work->times[s] = sqz_alloc(n_batches, sizeof(double));
        good = good && work->input[s] && work->result[s] && work->rows[s] && work->times[s];
        if (subject->n_classes > largest) largest = subject->n_classes;
    }
    work->softmax = sqz_alloc(largest, sizeof *work->softmax);
    work->load = sqz_alloc(batch, sizeof *work->load);
    work->errors = sqz_alloc(batch, sizeof *work->errors);
    good = good && work->softmax && work->load && work->errors;
    return good ? SQZ_OK : sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for batches of %zu images", batch);
}

static void free_work(struct work *work) {
    for (size_t s = 0; s < 2; s++) {
        if (s == 0 || work->input[1] != work->input[0]) sqz_free(work->input[s]);
        sqz_free(work->result[s]);
        sqz_free(work->rows[s]);
        sqz_free(work->times[s]);
    }
    sqz_free(work->softmax);
    sqz_free(work->load);
    sqz_free(work->errors);
}

static enum sqz_status allocate_result(struct sqz_evaluation *out, size_t n_images, size_t n_scores,
                                       struct sqz_error *err) {
    *out = (struct sqz_evaluation){.n_images = n_images, .n_scores = n_scores};
    out->labels = sqz_alloc(n_images, sizeof *out->labels);
    bool good = out->labels != NULL;
    for (size_t s = 0; s < n_scores; s++) {
        struct sqz_score *score = &out->score[s];
        score->top = sqz_alloc(n_images, sizeof *score->top);
        score->confidence = sqz_alloc0(n_images, sizeof *score->confidence);
        good &= score->top && score->confidence;
        for (size_t i = 0; score->top && i < n_images; i++)
            for (int k = 0; k < SQZ_TOP; k++) score->top[i][k] = SQZ_NO_CLASS;
    }
    return good ? SQZ_OK : sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for %zu images", n_images);
}

void sqz_evaluation_free(struct sqz_evaluation *evaluation) {
    for (size_t s = 0; s < 2; s++) {
        sqz_free(evaluation->score[s].top);
        sqz_free(evaluation->score[s].confidence);
    }
    sqz_free(evaluation->labels);
    *evaluation = (struct sqz_evaluation){0};
}

/* ---- one batch ---------------------------------------------------------- */

static void load_image(void *context, size_t i, int thread) {
    (void)thread;
    struct work *work = context;
    size_t image = work->first + i;
    work->errors[i] = (struct sqz_error){0};
    work->load[i] = SQZ_OK;
    for (size_t s = 0; s < work->n_subjects && work->load[i] == SQZ_OK; s++) {
        if (s == 1 && work->input[1] == work->input[0]) continue;
        float *out = work->input[s] + i * sqz_session_input_count(work->subjects[s].session);
        work->load[i] = sqz_dataset_load(work->dataset, image, work->subjects[s].input, out, &work->errors[i]);
    }
}

/* Move the images that were read to the front, so that the net sees a dense batch; returns how many there are. */
static size_t close_gaps(struct work *work) {
    size_t good = 0;
    for (size_t i = 0; i < work->n; i++) {
        if (work->load[i] != SQZ_OK) continue;
        for (size_t s = 0; s < work->n_subjects && good != i; s++) {
            if (s == 1 && work->input[1] == work->input[0]) continue;
            size_t count = sqz_session_input_count(work->subjects[s].session);
            memcpy(work->input[s] + good * count, work->input[s] + i * count, count * sizeof(float));
        }
        good++;
    }
    return good;
}

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void run_subjects(struct work *work, size_t n_good) {
    for (size_t s = 0; s < work->n_subjects; s++) {
        double start = now_ms();
        sqz_session_run(work->subjects[s].session, work->input[s], n_good, work->result[s]);
        work->times[s][work->n_times] = (now_ms() - start) / (double)n_good;
    }
    work->n_times++;
}

static float best_probability(struct work *work, size_t s, const float *row, uint32_t best) {
    if (work->subjects[s].probabilities) return row[best];
    sqz_softmax(row, work->subjects[s].n_classes, work->softmax);
    return (float)work->softmax[best];
}

static void score_row(struct work *work, size_t s, const float *row, size_t image, struct sqz_evaluation *out) {
    struct sqz_score *score = &out->score[s];
    size_t n_classes = work->subjects[s].n_classes;
    int label = out->labels[image];
    size_t n = sqz_top_k(row, n_classes, SQZ_TOP, score->top[image]);
    if (n == 0) {
        score->n_nan++;
        return;
    }
    score->confidence[image] = best_probability(work, s, row, score->top[image][0]);
    score->top1_correct += label >= 0 && score->top[image][0] == (uint32_t)label;
    for (size_t k = 0; k < n; k++) score->top5_correct += label >= 0 && score->top[image][k] == (uint32_t)label;
}

/* The row as it is, or as probabilities when the other net gives those. */
static const float *comparable_row(struct work *work, size_t s, const float *row, bool mixed) {
    if (!mixed || work->subjects[s].probabilities) return row;
    sqz_softmax(row, work->subjects[s].n_classes, work->softmax);
    for (size_t c = 0; c < work->subjects[s].n_classes; c++) work->rows[s][c] = (float)work->softmax[c];
    return work->rows[s];
}

static void compare_rows(struct work *work, const float *model, const float *baseline, size_t image,
                         struct sqz_evaluation *out) {
    int label = out->labels[image];
    uint32_t a = out->score[0].top[image][0], b = out->score[1].top[image][0];
    bool right_a = label >= 0 && a == (uint32_t)label, right_b = label >= 0 && b == (uint32_t)label;
    work->n_agree += a == b && a != SQZ_NO_CLASS;
    out->only_model += right_a && !right_b;
    out->only_baseline += right_b && !right_a;
    bool mixed = work->subjects[0].probabilities != work->subjects[1].probabilities;
    bool probabilities = work->subjects[0].probabilities || work->subjects[1].probabilities;
    double kl = sqz_kl_divergence(comparable_row(work, 1, baseline, mixed), comparable_row(work, 0, model, mixed),
                                  work->subjects[0].n_classes, probabilities);
    if (!isfinite(kl)) return;
    work->kl_sum += kl;
    work->n_kl++;
}

static void score_batch(struct work *work, struct sqz_evaluation *out) {
    size_t row = 0;
    for (size_t i = 0; i < work->n; i++) {
        if (work->load[i] != SQZ_OK) continue;
        const float *rows[2] = {NULL, NULL};
        for (size_t s = 0; s < work->n_subjects; s++) {
            rows[s] = work->result[s] + row * work->subjects[s].n_classes;
            score_row(work, s, rows[s], work->first + i, out);
        }
        if (work->n_subjects == 2) compare_rows(work, rows[0], rows[1], work->first + i, out);
        row++;
    }
    work->n_good += row;
}

/* Count the broken images; memory that ran out is not the image's fault. */
static enum sqz_status report_bad(struct work *work, struct sqz_evaluation *out, struct sqz_error *err) {
    for (size_t i = 0; i < work->n; i++) {
        if (work->load[i] == SQZ_OK) continue;
        if (work->load[i] == SQZ_OUT_OF_MEMORY) return sqz_fail(err, work->load[i], "%s", work->errors[i].text);
        out->n_bad++;
        const char *name = sqz_dataset_name(work->dataset, work->first + i);
        if (work->options->bad_image) work->options->bad_image(work->options->bad_context, name, work->errors[i].text);
    }
    return SQZ_OK;
}

static enum sqz_status evaluate_batch(struct work *work, struct sqz_evaluation *out, struct sqz_error *err) {
    sqz_parallel_for(work->n, load_image, work);
    SQZ_TRY(report_bad(work, out, err));
    size_t n_good = close_gaps(work);
    if (n_good == 0) return SQZ_OK;
    run_subjects(work, n_good);
    score_batch(work, out);
    return SQZ_OK;
}

/* ---- the whole set ------------------------------------------------------ */

static enum sqz_status read_labels(const struct work *work, struct sqz_evaluation *out, struct sqz_error *err) {
    size_t n_classes = work->subjects[0].n_classes;
    for (size_t i = 0; i < out->n_images; i++) {
        int label = sqz_dataset_label(work->dataset, i);
        out->labels[i] = label < 0 ? -1 : label + work->options->label_offset;
        if (label >= 0 && (out->labels[i] < 0 || (size_t)out->labels[i] >= n_classes))
            return sqz_fail(err, SQZ_BAD_LABEL, "image %s has label %d where the net has %zu classes",
                            sqz_dataset_name(work->dataset, i), out->labels[i], n_classes);
    }
    return SQZ_OK;
}

static enum sqz_status evaluate_all(struct work *work, struct sqz_evaluation *out, struct sqz_error *err) {
    SQZ_TRY(read_labels(work, out, err));
    const struct sqz_evaluate_options *options = work->options;
    for (work->first = 0; work->first < out->n_images; work->first += work->n) {
        size_t left = out->n_images - work->first;
        work->n = left < options->batch ? left : options->batch;
        SQZ_TRY(evaluate_batch(work, out, err));
        if (options->progress) options->progress(options->progress_context, work->first + work->n, out->n_images);
    }
    return SQZ_OK;
}

static void finish(struct work *work, struct sqz_evaluation *out) {
    for (size_t s = 0; s < work->n_subjects; s++) {
        sqz_sort_doubles(work->times[s], work->n_times);
        out->score[s].run_ms_median = sqz_percentile(work->times[s], work->n_times, 50);
    }
    out->agreement = work->n_good ? (double)work->n_agree / (double)work->n_good : NAN;
    out->mean_kl = work->n_kl ? work->kl_sum / (double)work->n_kl : NAN;
}

enum sqz_status sqz_evaluate(const struct sqz_dataset *dataset, const struct sqz_subject *subjects, size_t n_subjects,
                             const struct sqz_evaluate_options *options, struct sqz_evaluation *out,
                             struct sqz_error *err) {
    size_t n_images = sqz_dataset_count(dataset);
    if (options->limit && options->limit < n_images) n_images = options->limit;
    *out = (struct sqz_evaluation){0};
    if (n_images == 0) return sqz_fail(err, SQZ_NOT_FOUND, "there are no images to evaluate");
    if (n_subjects == 2 && subjects[0].n_classes != subjects[1].n_classes)
        return sqz_fail(err, SQZ_SHAPE, "the model has %zu classes, its baseline %zu", subjects[0].n_classes,
                        subjects[1].n_classes);
    struct work work = {.dataset = dataset, .subjects = subjects, .n_subjects = n_subjects, .options = options};
    enum sqz_status status = allocate_work(&work, n_images / options->batch + 1, err);
    if (status == SQZ_OK) status = allocate_result(out, n_images, n_subjects, err);
    if (status == SQZ_OK) status = evaluate_all(&work, out, err);
    if (status == SQZ_OK) finish(&work, out);
    free_work(&work);
    if (status != SQZ_OK) sqz_evaluation_free(out);
    return status;
}
