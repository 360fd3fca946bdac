/* ncnn_samples.c - small ncnn models that the tests write themselves. */
#include "tests/unit/ncnn_samples.h"

#include <check.h>
#include <string.h>

#include "formats/formats.h"
#include "lib/half.h"
#include "lib/infer.h"
#include "tests/unit/reader_folder.h"

/* ---- writing ----------------------------------------------------------------- */

float ncnn_value(size_t i) {
    return (float)((i * 7) % 23) * 0.125f - 1.25f; /* exact in fp16 */
}

void ncnn_put_plain(struct sqz_buffer *b, size_t n) {
    for (size_t i = 0; i < n; i++) sqz_put_f32(b, ncnn_value(i));
}

/* n values behind the flag word, stored as it says. */
void ncnn_put_kernel(struct sqz_buffer *b, uint32_t flag, size_t n) {
    sqz_put_u32(b, flag);
    if (flag == 0 || flag == RAW) {
        ncnn_put_plain(b, n);
    } else if (flag == FP16) {
        for (size_t i = 0; i < n; i++) sqz_put_u16(b, sqz_float_to_half(ncnn_value(i)));
    } else { /* a table in descending order, so that the codebook must be sorted */
        for (size_t k = 0; k < 256; k++) sqz_put_f32(b, 1.5f - (float)k * 0.125f);
        for (size_t i = 0; i < n; i++) sqz_put_u8(b, (uint8_t)((1.5f - ncnn_value(i)) / 0.125f));
    }
    while (b->nbytes % 4) sqz_put_u8(b, 0);
}

/* ---- reading ------------------------------------------------------------------- */

enum sqz_status ncnn_read_path(const char *path, const char *companion, struct sqz_model **out, struct sqz_error *err) {
    struct sqz_source source;
    struct sqz_read_options options = {.companion = companion};
    SQZ_TRY(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, err));
    enum sqz_status status = SQZ_UNKNOWN_FORMAT;
    if (sqz_ncnn_probe(&source)) status = sqz_ncnn_read(&source, &options, out, err);
    sqz_source_close(&source);
    return status;
}

enum sqz_status ncnn_read_pair(const char *param, const struct sqz_buffer *bin, struct sqz_model **out,
                               struct sqz_error *err) {
    reader_write("m.param", param, strlen(param));
    reader_write("m.bin", bin->nbytes ? bin->data : (const uint8_t *)"", bin->nbytes);
    return ncnn_read_path(reader_path("m.param"), NULL, out, err);
}

struct sqz_model *ncnn_read_good(const char *param, const struct sqz_buffer *bin) {
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    enum sqz_status status = ncnn_read_pair(param, bin, &model, &err);
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    return model;
}

/* Read and drop the weights' buffer. */
struct sqz_model *ncnn_read_once(const char *param, struct sqz_buffer *bin) {
    struct sqz_model *model = ncnn_read_good(param, bin);
    sqz_buffer_free(bin);
    *bin = (struct sqz_buffer){0};
    return model;
}

void ncnn_refuse(const char *param, const struct sqz_buffer *bin, enum sqz_status expected, const char *part) {
    static const struct sqz_buffer none = {0};
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    enum sqz_status status = ncnn_read_pair(param, bin ? bin : &none, &model, &err);
    ck_assert_msg(status == expected, "%s where %s is expected: %s", sqz_status_name(status), sqz_status_name(expected),
                  err.text);
    ck_assert_msg(strstr(err.text, part) != NULL, "\"%s\" lacks \"%s\"", err.text, part);
    ck_assert_ptr_null(model);
}

size_t ncnn_find_node(const struct sqz_model *model, const char *name) {
    for (size_t i = 0; i < model->n_nodes; i++)
        if (strcmp(model->nodes[i].name, name) == 0) return i;
    ck_abort_msg("no node %s", name);
    return 0;
}

static struct sqz_shape shape_of(const struct sqz_model *model, const char *name) {
    struct sqz_shape shapes[128];
    struct sqz_error err = {0};
    ck_assert_uint_le(model->n_nodes, 128);
    ck_assert_msg(sqz_infer_shapes(model, 1, 0, 0, shapes, &err) == SQZ_OK, "%s", err.text);
    return shapes[ncnn_find_node(model, name)];
}

void ncnn_check_shape(const struct sqz_model *model, const char *name, const char *expected) {
    char text[SQZ_SHAPE_TEXT];
    struct sqz_shape shape = shape_of(model, name);
    ck_assert_str_eq(sqz_shape_format(&shape, text), expected);
}

void ncnn_check_ops(const struct sqz_model *model, const enum sqz_op *expected, size_t n) {
    ck_assert_uint_eq(model->n_nodes, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(model->nodes[i].op == expected[i], "node %zu is %s", i, sqz_op_name(model->nodes[i].op));
}
