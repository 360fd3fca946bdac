/* cmd_run.c - sqz-run: classifies images, or runs a tensor through a model. */
#include <math.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/engine_options.h"
#include "cmd/read_options.h"
#include "cmd/report.h"
#include "cmd/subject.h"
#include "eval/image.h"
#include "eval/npy.h"

struct run {
    struct cmd_common common;
    struct sqz_read_options read;
    struct cmd_preprocess preprocess;
    struct cmd_engine engine;
    long batch;
    bool exif;
    struct cmd_subject subject;
    float *outputs; /* [n_rows][output count]: every result so far, for -o */
    size_t n_rows;
    json_t *results; /* with --json: a list with an object for each input */
};

static int fail_file(const struct run *run, struct sqz_error *err, const char *path) {
    sqz_error_set_file(err, path);
    return cmd_failure(&run->common, err);
}

/* Where text goes: standard error when -o - sends the array to standard output. */
static FILE *text_stream(const struct run *run) {
    return run->common.output ? cmd_report_stream(run->common.output) : stdout;
}

/* ---- results ------------------------------------------------------------ */

static enum sqz_status keep_rows(struct run *run, const float *rows, size_t n, struct sqz_error *err) {
    if (!run->common.output) return SQZ_OK;
    size_t count = sqz_session_output_count(run->subject.session), total, nbytes;
    bool good = sqz_add_size(run->n_rows, n, &total) && sqz_mul_size(count, sizeof(float), &nbytes);
    float *larger = good ? sqz_realloc(run->outputs, total, nbytes) : NULL;
    if (!larger) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the results");
    memcpy(larger + run->n_rows * count, rows, n * nbytes);
    run->outputs = larger;
    run->n_rows = total;
    return SQZ_OK;
}

static void class_title(const struct run *run, uint32_t c, char *buffer, size_t capacity) {
    const char *name = cmd_class_name(run->subject.model.model, c);
    if (name)
        snprintf(buffer, capacity, "%s (class %u)", name, c);
    else
        snprintf(buffer, capacity, "class %u", c);
    for (char *p = buffer; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
}

static json_t *classes_json(const struct run *run, const uint32_t *top, size_t n, const double *probabilities) {
    json_t *list = json_array();
    for (size_t k = 0; k < n; k++) {
        const char *name = cmd_class_name(run->subject.model.model, top[k]);
        json_array_append_new(list, json_pack("{s:i, s:o, s:o}", "class", (int)top[k], "name",
                                              name ? cmd_json_text(name) : json_null(), "probability",
                                              cmd_json_real(probabilities[top[k]])));
    }
    return list;
}

static int print_classes(struct run *run, const char *input, const float *row) {
    uint32_t top[SQZ_TOP];
    struct sqz_error err = {0};
    size_t n_classes = run->subject.n_classes, n = sqz_top_k(row, n_classes, SQZ_TOP, top);
    if (n == 0) {
        sqz_fail(&err, SQZ_NONFINITE, "the net's result holds NaN");
        return fail_file(run, &err, input);
    }
    double *probabilities = sqz_alloc(n_classes, sizeof *probabilities);
    if (!probabilities) {
        sqz_fail(&err, SQZ_OUT_OF_MEMORY, "not enough memory");
        return fail_file(run, &err, input);
    }
    if (run->subject.probabilities)
        for (size_t c = 0; c < n_classes; c++) probabilities[c] = (double)row[c];
    else
        sqz_softmax(row, n_classes, probabilities);
    if (run->common.json) {
        json_array_append_new(run->results, json_pack("{s:o, s:o}", "input", cmd_json_text(input), "classes",
                                                      classes_json(run, top, n, probabilities)));
    } else {
        char title[256];
        fprintf(text_stream(run), "%s\n", input);
        for (size_t k = 0; k < n; k++) {
            class_title(run, top[k], title, sizeof title);
            fprintf(text_stream(run), "  %6.2f%%  %s\n", 100 * probabilities[top[k]], title);
        }
    }
    sqz_free(probabilities);
    return CMD_CONTINUE;
}

static void print_rows(struct run *run, const char *input, const float *rows, size_t n, size_t count) {
    if (run->common.json) {
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++) {
            json_t *row = json_array();
            for (size_t c = 0; c < count; c++) json_array_append_new(row, cmd_json_real((double)rows[i * count + c]));
            json_array_append_new(list, row);
        }
        json_array_append_new(run->results, json_pack("{s:o, s:o}", "input", cmd_json_text(input), "outputs", list));
        return;
    }
    /* With -o the numbers are in the file. */
    if (run->common.output) return;
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < count; c++) printf("%.9g%s", (double)rows[i * count + c], c + 1 < count ? " " : "\n");
}

/* ---- inputs ------------------------------------------------------------- */

static int run_image(struct run *run, const struct sqz_source *source) {
    struct sqz_session *session = run->subject.session;
    struct sqz_error err = {0};
    if (run->subject.n_classes == 0) {
        sqz_fail(&err, SQZ_UNSUPPORTED,
                 "the net has no classifier, so an image cannot be named; give it a .npy tensor");
        return fail_file(run, &err, run->subject.model.path);
    }
    float *input = sqz_alloc_aligned(sqz_session_input_count(session), sizeof *input);
    float *output = sqz_alloc_aligned(sqz_session_output_count(session), sizeof *output);
    enum sqz_status status = input && output ? SQZ_OK : sqz_fail(&err, SQZ_OUT_OF_MEMORY, "not enough memory");
    if (status == SQZ_OK)
        status = sqz_image_load(source->data, source->nbytes, &run->subject.model.model->input, run->exif, input, &err);
    if (status == SQZ_OK) {
        sqz_session_run(session, input, 1, output);
        status = keep_rows(run, output, 1, &err);
    }
    int code = status == SQZ_OK ? print_classes(run, source->path, output) : fail_file(run, &err, source->path);
    sqz_free(input);
    sqz_free(output);
    return code;
}

/* A tensor [n][c][h][w], or [c][h][w] for one image, of the size that the session was planned for. */
static enum sqz_status check_tensor(const struct run *run, struct sqz_npy *npy, struct sqz_error *err) {
    const struct sqz_input *input = &run->subject.model.model->input;
    char shape[SQZ_SHAPE_TEXT];
    sqz_shape_format(&npy->shape, shape);
    if (npy->shape.rank == 3) npy->shape = sqz_shape4(1, npy->shape.dim[0], npy->shape.dim[1], npy->shape.dim[2]);
    if (npy->shape.rank != 4 || npy->shape.dim[0] == 0 || npy->shape.dim[1] != input->channels ||
        npy->shape.dim[2] != input->height || npy->shape.dim[3] != input->width)
        return sqz_fail(err, SQZ_SHAPE, "the tensor is %s where the net wants Nx%ux%ux%u (see --crop)", shape,
                        input->channels, input->height, input->width);
    for (size_t i = 0; i < npy->count; i++)
        if (!isfinite(npy->data[i]))
            return sqz_fail(err, SQZ_NONFINITE, "the tensor holds %g at index %zu", (double)npy->data[i], i);
    return SQZ_OK;
}

static enum sqz_status run_rows(struct run *run, const struct sqz_npy *npy, float *output, struct sqz_error *err) {
    struct sqz_session *session = run->subject.session;
    size_t n = (size_t)npy->shape.dim[0], in = sqz_session_input_count(session);
    size_t out = sqz_session_output_count(session);
    const size_t batch = (size_t)run->batch;
    for (size_t done = 0; done < n; done += batch) {
        size_t now = n - done < batch ? n - done : batch;
        sqz_session_run(session, npy->data + done * in, now, output + done * out);
    }
    return keep_rows(run, output, n, err);
}

static int run_tensor(struct run *run, const struct sqz_source *source) {
    struct sqz_npy npy = {0};
    struct sqz_error err = {0};
    float *output = NULL;
    size_t count = sqz_session_output_count(run->subject.session), nbytes;
    enum sqz_status status = sqz_npy_read(source->data, source->nbytes, &npy, &err);
    if (status == SQZ_OK) status = check_tensor(run, &npy, &err);
    if (status == SQZ_OK) {
        bool good = sqz_mul_size(count, sizeof(float), &nbytes);
        output = good ? sqz_alloc((size_t)npy.shape.dim[0], nbytes) : NULL;
        status = output ? run_rows(run, &npy, output, &err) : sqz_fail(&err, SQZ_OUT_OF_MEMORY, "not enough memory");
    }
    if (status == SQZ_OK) print_rows(run, source->path, output, (size_t)npy.shape.dim[0], count);
    sqz_free(output);
    sqz_npy_free(&npy);
    return status == SQZ_OK ? CMD_CONTINUE : fail_file(run, &err, source->path);
}

static int run_input(struct run *run, const char *path) {
    struct sqz_source source;
    struct sqz_error err = {0};
    if (sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, &err) != SQZ_OK) return fail_file(run, &err, path);
    int code;
    if (source.nbytes == 0) {
        sqz_fail(&err, SQZ_TRUNCATED, "the file is empty");
        code = fail_file(run, &err, path);
    } else if (sqz_npy_probe(source.data, source.nbytes)) {
        code = run_tensor(run, &source);
    } else {
        code = run_image(run, &source);
    }
    sqz_source_close(&source);
    return code;
}

/* ---- the command -------------------------------------------------------- */

static int write_outputs(const struct run *run) {
    const struct sqz_shape *one = sqz_session_output_shape(run->subject.session);
    struct sqz_shape shape = {.rank = one->rank + 1, .dim = {run->n_rows}};
    struct sqz_error err = {0};
    if (shape.rank > SQZ_MAX_RANK) shape = sqz_shape2(run->n_rows, sqz_session_output_count(run->subject.session));
    for (uint32_t d = 0; shape.rank == one->rank + 1 && d < one->rank; d++) shape.dim[d + 1] = one->dim[d];
    if (sqz_npy_write(run->common.output, &shape, run->outputs, &err) == SQZ_OK) return CMD_DONE;
    sqz_error_set_file(&err, run->common.output);
    return cmd_write_failure(&run->common, &err);
}

static int run_all(struct run *run, char **inputs, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int code = run_input(run, inputs[i]);
        if (code != CMD_CONTINUE) return code;
    }
    int code = run->common.output ? write_outputs(run) : CMD_DONE;
    if (code != CMD_DONE || !run->common.json) return code;
    json_t *json = json_pack("{s:o, s:O}", "model", cmd_json_text(run->subject.model.path), "results", run->results);
    if (json && run->common.output) json_object_set_new(json, "output", cmd_json_text(run->common.output));
    return cmd_json_print(&run->common, json, text_stream(run));
}

static int run_model(struct run *run, char **operands, size_t n) {
    const char *output;
    size_t from_stdin = 0;
    for (size_t i = 0; i < n; i++) from_stdin += strcmp(operands[i], "-") == 0;
    if (from_stdin > 1) return cmd_usage(run->common.command, "- can be given only once");
    if (run->common.output) {
        int code = cmd_choose_output(&run->common, (const char *const *)operands, n, &output);
        if (code != CMD_CONTINUE) return code;
    }
    const struct sqz_session_options session = cmd_session_options(&run->engine, (uint32_t)run->batch);
    int code = cmd_subject_open(&run->common, operands[0], &run->read, &run->preprocess, &session, &run->subject);
    if (code != CMD_CONTINUE) return code;
    cmd_subject_drop_weights(&run->subject);
    run->results = json_array();
    code = run_all(run, operands + 1, n - 1);
    json_decref(run->results);
    sqz_free(run->outputs);
    cmd_subject_close(&run->subject);
    return code;
}

int cmd_run(int argc, char **argv) {
    struct run run = {.batch = 16};
    const struct cmd_option options[] = {
        {.name = "batch",
         .kind = CMD_INTEGER,
         .value = "N",
         .target = &run.batch,
         .low = 1,
         .high = 4096,
         .help = "Run N images of a .npy array at a time, 16 by default. Results do not depend on it."},
        {.name = "exif",
         .kind = CMD_FLAG,
         .target = &run.exif,
         .help = "Turn photographs as their EXIF orientation says; the reference loaders do not."},
        CMD_ENGINE_OPTIONS(run.engine),
        CMD_READ_OPTIONS(run.read),
        CMD_PREPROCESS_OPTIONS(run.preprocess),
        {0},
    };
    const struct cmd_page page = {
        .command = "sqz-run",
        .summary = "Classify images, or run a tensor through a model",
        .operands = "MODEL INPUT...",
        .min_operands = 2,
        .max_operands = 100000,
        .shared = CMD_HAS_OUTPUT | CMD_HAS_JSON | CMD_HAS_THREADS,
        .output_help = "Write the raw results of all inputs as one float32 .npy array [image][class]; - is standard "
                       "output.",
        .description =
            "For an image (JPEG, PNG, PPM, PGM): the five best classes with name and probability, after the "
            "preprocessing that the model describes. For a .npy array of floats [image][channel][row][column]: the raw "
            "results, one line for each image; the array goes to the net as it is, and preprocessing options apply to "
            "images only (--crop still sets the size of the input). Inputs are told apart by content; - reads "
            "standard input.",
        .example = "sqz-run squeezenet.sqz cat.jpg dog.png\n"
                   "sqz-run squeezenet.sqz batch.npy -o logits.npy",
        .options = options,
    };
    char **operands;
    size_t n;
    int code = cmd_parse(&page, argc, argv, &run.common, &operands, &n);
    return code == CMD_CONTINUE ? run_model(&run, operands, n) : code;
}
