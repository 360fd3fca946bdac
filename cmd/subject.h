/* subject.h - a model made ready to run: read, preprocessing applied, session planned. */
#ifndef SQZ_CMD_SUBJECT_H
#define SQZ_CMD_SUBJECT_H

#include "cmd/model_facts.h"
#include "cmd/model_io.h"
#include "cmd/preprocess_options.h"
#include "cmd/process_clock.h"
#include "eval/evaluate.h"

struct cmd_subject {
    struct cmd_model model;
    struct cmd_facts facts;
    struct sqz_session *session;
    double decode_ms; /* from opening the file to the session being ready */
    size_t n_classes; /* 0: the net does not end in a classifier */
    size_t float_nbytes;
    bool probabilities;
    const char *stage; /* "encoded" for a .sqz file, else as in struct cmd_facts */
};

/* CMD_CONTINUE, or the exit code after a line on standard error. */
int cmd_subject_open(const struct cmd_common *common, const char *path, const struct sqz_read_options *read,
                     const struct cmd_preprocess *preprocess, const struct sqz_session_options *session,
                     struct cmd_subject *out);

/* The same for a model that must be a classifier. */
int cmd_subject_open_classifier(const struct cmd_common *common, const char *path, const struct sqz_read_options *read,
                                const struct cmd_preprocess *preprocess, const struct sqz_session_options *session,
                                struct cmd_subject *out);
void cmd_subject_close(struct cmd_subject *subject);

/* Free the weights of the model, and let go of its file; its session has its own copy. */
void cmd_subject_drop_weights(struct cmd_subject *subject);

/* The view that sqz_evaluate() takes. */
struct sqz_subject cmd_subject_view(const struct cmd_subject *subject);

/* 8 * file bytes / weights. */
double cmd_bits_per_weight(const struct cmd_subject *subject);

#endif
