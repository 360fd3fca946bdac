/*
 * classify.c - the shortest program that runs a compressed model: reads a .sqz, decodes one image, prints its class.
 *
 * usage: classify MODEL.sqz IMAGE
 * build: make samples
 */
#include <stdio.h>
#include <string.h>

#include "eval/engine.h"
#include "eval/image.h"
#include "formats/formats.h"

static enum sqz_status classify(const char *model_path, const char *image_path, struct sqz_error *err) {
    struct sqz_model *model;
    struct sqz_session *session;
    struct sqz_source file;
    struct sqz_session_options options = {.max_batch = 1};

    SQZ_TRY(sqz_model_read(model_path, NULL, &model, err));
    SQZ_TRY(sqz_session_new(model, &options, &session, err));
    SQZ_TRY(sqz_source_open(image_path, SQZ_SOURCE_LIMIT, &file, err));

    size_t n_classes = sqz_session_output_count(session), best = 0;
    float *input = sqz_alloc(sqz_session_input_count(session), sizeof *input);
    float *scores = sqz_alloc(n_classes, sizeof *scores);
    if (!input || !scores) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    SQZ_TRY(sqz_image_load(file.data, file.nbytes, &model->input, false, input, err));
    sqz_session_run(session, input, 1, scores);
    for (size_t i = 1; i < n_classes; i++)
        if (scores[i] > scores[best]) best = i;
    printf("%zu %s\n", best, best < model->n_classes_named ? model->class_names[best] : "");

    sqz_free(input);
    sqz_free(scores);
    sqz_source_close(&file);
    sqz_session_free(session);
    sqz_model_free(model);
    return SQZ_OK;
}

int main(int argc, char **argv) {
    struct sqz_error err = {0};
    if (argc != 3) {
        fputs("usage: classify MODEL.sqz IMAGE\n", stderr);
        return 2;
    }
    if (classify(argv[1], argv[2], &err) == SQZ_OK) return 0;
    fprintf(stderr, "classify: %s\n", err.text);
    return 1;
}
