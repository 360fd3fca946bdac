/* ncnn.c - reads ncnn models: a list of layers (.param or .param.bin) and their weights (.bin). */
#include "formats/ncnn.h"

#include <stdio.h>
#include <string.h>

#include "formats/archs.h"
#include "formats/formats.h"

/* Bound on a list of layers: 20,000 lines of 800 characters. */
#define MAX_PARAM_NBYTES ((size_t)16 << 20)

/* Bound on the weights as float32 when the caller sets none. */
#define DEFAULT_MAX_NBYTES ((size_t)8 << 30)

#define PATH_CAPACITY 4096

static bool is_param(const struct sqz_source *source) {
    return sqz_ncnn_is_text(source->data, source->nbytes) || sqz_ncnn_is_binary(source->data, source->nbytes);
}

static bool ends_with(const char *path, const char *ending) {
    size_t length = strlen(path), n = strlen(ending);
    return length > n && strcmp(path + length - n, ending) == 0;
}

/* path with its ending replaced, in buffer; false when it does not end so or does not fit. */
static bool replace_ending(const char *path, const char *ending, const char *with, char buffer[PATH_CAPACITY]) {
    if (!ends_with(path, ending)) return false;
    int n = snprintf(buffer, PATH_CAPACITY, "%.*s%s", (int)(strlen(path) - strlen(ending)), path, with);
    return n > 0 && n < PATH_CAPACITY;
}

/* ---- probing ------------------------------------------------------------- */

/* Whether the file at `path` is a list of layers. */
static bool is_param_file(const char *path) {
    char head[64];
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    size_t n = fread(head, 1, sizeof head, file);
    fclose(file);
    return sqz_ncnn_is_text(head, n) || sqz_ncnn_is_binary(head, n);
}

/* The list of layers beside X.bin: X.param or X.param.bin. */
static bool find_param(const char *path, char buffer[PATH_CAPACITY]) {
    return (replace_ending(path, ".bin", ".param", buffer) && is_param_file(buffer)) ||
           (replace_ending(path, ".bin", ".param.bin", buffer) && is_param_file(buffer));
}

/* A weights file has no magic of its own; its first word is one of four flags when its kernel is not a table. */
static bool starts_like_weights(const struct sqz_source *source) {
    static const uint32_t flags[] = {0, 0x01306B47u, 0x000D4B38u, 0x0002C056u};
    struct sqz_reader reader = sqz_reader_make(source->data, source->nbytes);
    uint32_t first = sqz_read_u32(&reader);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (first == flags[i] && !reader.failed) return true;
    return false;
}

bool sqz_ncnn_probe(const struct sqz_source *source) {
    char path[PATH_CAPACITY];
    if (is_param(source)) return true;
    return ends_with(source->path, ".bin") && (find_param(source->path, path) || starts_like_weights(source));
}

/* ---- the two files ------------------------------------------------------- */

/* Which of the two the user named, and the other one. */
struct pair {
    const struct sqz_source *param, *weights;
    struct sqz_source other;
    bool other_open;
    char other_path[PATH_CAPACITY];
};

static enum sqz_status find_other(struct pair *pair, const struct sqz_source *source, const char *companion,
                                  bool have_param, struct sqz_error *err) {
    const char *path = source->path;
    char *other = pair->other_path;
    if (companion) {
        if (snprintf(other, PATH_CAPACITY, "%s", companion) < PATH_CAPACITY) return SQZ_OK;
        return sqz_fail(err, SQZ_LIMIT, "a path is longer than %d bytes", PATH_CAPACITY);
    }
    if (have_param &&
        (replace_ending(path, ".param.bin", ".bin", other) || replace_ending(path, ".param", ".bin", other)))
        return SQZ_OK;
    if (!have_param && find_param(path, other)) return SQZ_OK;
    return sqz_fail(err, SQZ_NOT_FOUND, "cannot tell where %s of this ncnn model are; name the file as the companion",
                    have_param ? "the weights (.bin)" : "the layers (.param)");
}

static enum sqz_status open_pair(struct pair *pair, const struct sqz_source *source, const char *companion,
                                 struct sqz_error *err) {
    bool have_param = is_param(source);
    SQZ_TRY(find_other(pair, source, companion, have_param, err));
    enum sqz_status status = sqz_source_open(pair->other_path, SQZ_SOURCE_LIMIT, &pair->other, err);
    if (status != SQZ_OK) {
        sqz_error_set_file(err, pair->other_path);
        return status;
    }
    pair->other_open = true;
    pair->param = have_param ? source : &pair->other;
    pair->weights = have_param ? &pair->other : source;
    if (have_param && is_param(&pair->other)) {
        sqz_fail(err, SQZ_MALFORMED, "this is an ncnn list of layers where a file of weights is expected");
    } else if (!is_param(pair->param)) {
        sqz_fail(err, SQZ_MALFORMED, "this is not an ncnn list of layers: it does not start with %d", SQZ_NCNN_MAGIC);
    } else {
        return SQZ_OK;
    }
    sqz_error_set_file(err, pair->other_path);
    return SQZ_MALFORMED;
}

/* ---- reading ------------------------------------------------------------- */

static enum sqz_status read_layers(struct sqz_ncnn_builder *builder, const struct pair *pair) {
    struct sqz_input input;
    if (pair->param->nbytes > MAX_PARAM_NBYTES)
        return sqz_fail(builder->err, SQZ_LIMIT, "a list of layers of %zu bytes is too large", pair->param->nbytes);
    SQZ_TRY(sqz_ncnn_parse(pair->param->data, pair->param->nbytes, &builder->arena, &builder->net, builder->err));
    SQZ_TRY(sqz_ncnn_declared_input(&builder->net, &input, builder->err));
    builder->model = sqz_model_new(&input);
    return builder->model ? SQZ_OK : sqz_ncnn_no_memory(builder->err);
}

/* Preprocessing is not in the file; take what nets of this input usually want, and say so. */
static void choose_preprocessing(struct sqz_input *input, bool guessed, const struct sqz_read_options *options) {
    const char *preset = input->channels == 3 ? "torchvision" : "raw";
    char text[256];
    if (input->channels == 1 && input->height == 28 && input->width == 28) preset = "fashion-mnist";
    sqz_input_preset(preset, input);
    if (!options->warn) return;
    if (guessed)
        snprintf(
            text, sizeof text,
            "the ncnn file does not say its input size: %ux%ux%u fits and is assumed, with the preprocessing \"%s\"",
            input->channels, input->height, input->width, preset);
    else
        snprintf(text, sizeof text, "ncnn files hold no preprocessing: \"%s\" for %ux%ux%u is assumed", preset,
                 input->channels, input->height, input->width);
    options->warn(options->warn_context, text);
}

static enum sqz_status build_model(struct sqz_ncnn_builder *builder, const struct pair *pair,
                                   const struct sqz_read_options *options) {
    bool guessed = false;
    enum sqz_status status = read_layers(builder, pair);
    if (status != SQZ_OK) {
        sqz_error_set_file(builder->err, pair->param->path);
        return status;
    }
    builder->weights.reader = sqz_reader_make(pair->weights->data, pair->weights->nbytes);
    builder->weights.budget = options->max_nbytes ? options->max_nbytes : DEFAULT_MAX_NBYTES;
    status = sqz_ncnn_build(builder);
    if (status == SQZ_OK) status = sqz_ncnn_settle_input(builder, &guessed);
    if (status != SQZ_OK) return status;
    choose_preprocessing(&builder->model->input, guessed, options);
    builder->model->source = "ncnn";
    SQZ_TRY(sqz_model_check(builder->model, builder->err));
    builder->model->arch = sqz_arch_name(builder->model);
    return sqz_model_note(builder->model, builder->err, "read from ncnn");
}

enum sqz_status sqz_ncnn_read(const struct sqz_source *source, const struct sqz_read_options *options,
                              struct sqz_model **out, struct sqz_error *err) {
    struct pair pair = {0};
    struct sqz_ncnn_builder builder = {.err = err};
    builder.names.arena = &builder.arena;
    enum sqz_status status = open_pair(&pair, source, options->companion, err);
    if (status == SQZ_OK && options->file_nbytes) *options->file_nbytes += pair.other.nbytes;
    if (status == SQZ_OK) status = build_model(&builder, &pair, options);
    if (status == SQZ_OK)
        *out = builder.model;
    else
        sqz_model_free(builder.model);
    if (pair.other_open) sqz_source_close(&pair.other);
    sqz_arena_free(&builder.arena);
    return status;
}
