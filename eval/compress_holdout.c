/* compress_holdout.c - labelled images on which a loss of accuracy is judged. */
#include "eval/compress_parts.h"
#include "eval/image_digest.h"

/* Images for each run of the engine. */
#define BATCH 16

static enum sqz_status count_correct(const struct sqz_dataset *dataset, const struct sqz_model *model, size_t *correct,
                                     size_t *n_images, struct sqz_error *err) {
    const struct sqz_session_options session_options = {.max_batch = BATCH};
    const struct sqz_evaluate_options options = {.batch = BATCH};
    struct sqz_subject subject = {.input = &model->input, .probabilities = sqz_model_ends_in_softmax(model)};
    struct sqz_evaluation evaluation;
    SQZ_TRY(sqz_session_new(model, &session_options, &subject.session, err));
    subject.n_classes = sqz_session_output_count(subject.session);
    enum sqz_status status = sqz_evaluate(dataset, &subject, 1, &options, &evaluation, err);
    sqz_session_free(subject.session);
    if (status != SQZ_OK) return status;
    *correct = evaluation.score[0].top1_correct;
    *n_images = evaluation.n_images;
    sqz_evaluation_free(&evaluation);
    return SQZ_OK;
}

enum sqz_status sqz_compressor_set_holdout(struct sqz_compressor *c, const struct sqz_dataset *dataset,
                                           struct sqz_error *err) {
    struct sqz_holdout *holdout = &c->holdout;
    sqz_holdout_free(holdout);
    sqz_compressor_report(c, "judge the float net", 0, 1);
    SQZ_TRY(count_correct(dataset, c->model, &holdout->top1_float, &holdout->n_images, err));
    holdout->digests = sqz_alloc(holdout->n_images, sizeof *holdout->digests);
    if (!holdout->digests) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    SQZ_TRY(sqz_image_digests(dataset, NULL, holdout->n_images, holdout->digests, err));
    holdout->dataset = dataset;
    return SQZ_OK;
}

enum sqz_status sqz_holdout_measure(const struct sqz_holdout *holdout, const struct sqz_model *model,
                                    struct sqz_candidate *candidate, struct sqz_error *err) {
    candidate->top1_float = holdout->top1_float;
    return count_correct(holdout->dataset, model, &candidate->top1_correct, &candidate->n_holdout, err);
}

enum sqz_status sqz_holdout_record(const struct sqz_holdout *holdout, struct sqz_model *model, struct sqz_error *err) {
    return sqz_image_record_add(&model->calibrated_on, (const uint8_t(*)[SQZ_SHA256_NBYTES])holdout->digests,
                                holdout->n_images, &model->arena, err);
}

void sqz_holdout_free(struct sqz_holdout *holdout) {
    sqz_free(holdout->digests);
    *holdout = (struct sqz_holdout){0};
}
