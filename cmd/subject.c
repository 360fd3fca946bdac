/* subject.c - a model made ready to run. */
#include "cmd/subject.h"

#include <string.h>

#include "cmd/progress.h"
#include "cmd/report.h"

double cmd_bits_per_weight(const struct cmd_subject *subject) {
    return subject->facts.weights ? 8.0 * (double)subject->model.file_nbytes / (double)subject->facts.weights : 0;
}

static int plan(const struct cmd_common *common, const struct cmd_preprocess *preprocess,
                const struct sqz_session_options *options, struct cmd_subject *subject) {
    struct sqz_model *model = subject->model.model;
    int code = cmd_preprocess_apply(common, preprocess, &model->input);
    if (code != CMD_CONTINUE) return code;
    struct sqz_error err = {0};
    double start = cmd_now();
    if (sqz_session_new(model, options, &subject->session, &err) != SQZ_OK) {
        sqz_error_set_file(&err, subject->model.path);
        return cmd_failure(common, &err);
    }
    subject->decode_ms = 1e3 * (subject->model.read_seconds + cmd_now() - start);
    enum sqz_isa isa = sqz_isa_detect();
    if (common->verbose)
        cmd_note(common, "planned in %.1f ms for %s%s", 1e3 * (cmd_now() - start), sqz_isa_name(isa),
                 isa == SQZ_ISA_SCALAR ? ": plain loops, since no vector unit that they are written for may be used"
                                       : "");
    return CMD_CONTINUE;
}

int cmd_subject_open(const struct cmd_common *common, const char *path, const struct sqz_read_options *read,
                     const struct cmd_preprocess *preprocess, const struct sqz_session_options *session,
                     struct cmd_subject *out) {
    *out = (struct cmd_subject){0};
    int code = cmd_read_model(common, path, read, &out->model);
    if (code == CMD_CONTINUE) code = plan(common, preprocess, session, out);
    if (code != CMD_CONTINUE) {
        cmd_subject_close(out);
        return code;
    }
    struct sqz_model *model = out->model.model;
    out->facts = cmd_model_facts(model);
    out->stage = strcmp(out->model.format, "sqz") == 0 ? "encoded" : out->facts.stage;
    out->float_nbytes = sqz_model_float_nbytes(model);
    out->n_classes = cmd_model_classes(model);
    out->probabilities = sqz_model_ends_in_softmax(model);
    return CMD_CONTINUE;
}

int cmd_subject_open_classifier(const struct cmd_common *common, const char *path, const struct sqz_read_options *read,
                                const struct cmd_preprocess *preprocess, const struct sqz_session_options *session,
                                struct cmd_subject *out) {
    int code = cmd_subject_open(common, path, read, preprocess, session, out);
    if (code != CMD_CONTINUE || out->n_classes > 0) return code;
    char shape[SQZ_SHAPE_TEXT];
    struct sqz_error err = {0};
    sqz_fail(&err, SQZ_UNSUPPORTED, "the net has no classifier: its result is %s for each image",
             sqz_shape_format(sqz_session_output_shape(out->session), shape));
    sqz_error_set_file(&err, path);
    cmd_subject_close(out);
    return cmd_failure(common, &err);
}

void cmd_subject_drop_weights(struct cmd_subject *subject) {
    struct sqz_model *model = subject->model.model;
    for (size_t i = 0; i < model->n_weights; i++) {
        sqz_free(model->weights[i].data);
        model->weights[i].data = NULL;
        sqz_packed_free(model->weights[i].packed);
        model->weights[i].packed = NULL;
    }
    if (subject->model.source.data) sqz_source_close(&subject->model.source);
}

void cmd_subject_close(struct cmd_subject *subject) {
    sqz_session_free(subject->session);
    cmd_model_free(&subject->model);
    *subject = (struct cmd_subject){0};
}

struct sqz_subject cmd_subject_view(const struct cmd_subject *subject) {
    return (struct sqz_subject){.session = subject->session,
                                .input = &subject->model.model->input,
                                .n_classes = subject->n_classes,
                                .probabilities = subject->probabilities};
}
