/* test_han.c - the Deep Compression .net reader. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/formats.h"
#include "lib/bytes.h"
#include "tests/unit/reader_folder.h"

/* ---- writing small files --------------------------------------------------- */

/* The entries of one layer: `level` is the code of each weight, 0 for a zero. Encoded with fillers as the authors do.
 */
struct entries {
    uint8_t codes[512], gaps[512];
    size_t n;
};

static struct entries encode(const uint8_t *level, size_t n) {
    struct entries e = {.n = 0};
    size_t next = 0;
    for (size_t i = 0; i < n; i++) {
        if (level[i] == 0) continue;
        for (; i - next > 15; next += 16) {
            e.codes[e.n] = 0;
            e.gaps[e.n++] = 15;
        }
        e.codes[e.n] = level[i];
        e.gaps[e.n++] = (uint8_t)(i - next);
        next = i + 1;
    }
    return e;
}

static void put_nibbles(struct sqz_buffer *b, const uint8_t *fields, size_t n) {
    for (size_t i = 0; i < n; i += 2) sqz_put_u8(b, (uint8_t)(fields[i] | (i + 1 < n ? fields[i + 1] << 4 : 0)));
}

/* Codebook entry c is c * 0.5 - 3, out of order, except entry 0, which is zero. */
static float centroid(unsigned code) {
    return code == 0 ? 0.0f : (float)((code * 37) % 256) * 0.5f - 3.25f;
}

static void put_layer(struct sqz_buffer *b, unsigned bits, size_t n_outputs, const struct entries *e) {
    for (unsigned c = 0; c < 1u << bits; c++) sqz_put_f32(b, centroid(c));
    for (size_t i = 0; i < n_outputs; i++) sqz_put_f32(b, (float)i + 0.5f);
    if (bits == 8)
        sqz_put_bytes(b, e->codes, e->n);
    else
        put_nibbles(b, e->codes, e->n);
    put_nibbles(b, e->gaps, e->n);
}

/* One 1x1 convolution of 8x8 weights. */
static const char one_conv[] = "input: \"data\" input_dim: 1 input_dim: 8 input_dim: 4 input_dim: 4\n"
                               "layer { name: \"conv1\" type: \"Convolution\" bottom: \"data\" top: \"conv1\"\n"
                               "  convolution_param { num_output: 8 kernel_size: 1 } }\n";

/* That convolution and a dense layer of 3 outputs without "dense" or "fc" in its name. */
static const char conv_and_dense[] = "input: \"data\" input_dim: 1 input_dim: 8 input_dim: 1 input_dim: 1\n"
                                     "layer { name: \"conv1\" type: \"Convolution\" bottom: \"data\" top: \"a\"\n"
                                     "  convolution_param { num_output: 8 kernel_size: 1 pad: 1 } }\n"
                                     "layer { name: \"convinced\" type: \"InnerProduct\" bottom: \"a\" top: \"b\" "
                                     "inner_product_param { num_output: 3 } }\n";

/* ---- reading them ---------------------------------------------------------- */

static char warning[512];

static void keep_warning(void *context, const char *text) {
    (void)context;
    snprintf(warning, sizeof warning, "%s", text);
}

static enum sqz_status read_net(const char *path, const char *companion, struct sqz_model **out,
                                struct sqz_error *err) {
    struct sqz_source source;
    struct sqz_read_options options = {.companion = companion, .warn = keep_warning};
    warning[0] = '\0';
    SQZ_TRY(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, err));
    enum sqz_status status = sqz_han_read(&source, &options, out, err);
    sqz_source_close(&source);
    return status;
}

static struct sqz_model *read_good(const char *path) {
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    ck_assert_msg(read_net(path, NULL, &model, &err) == SQZ_OK, "%s", err.text);
    return model;
}

static void write_pair(const char *prototxt, const struct sqz_buffer *net) {
    reader_write("x.prototxt", prototxt, strlen(prototxt));
    reader_write("x.net", net->data, net->nbytes);
}

static void refuse(const char *prototxt, const struct sqz_buffer *net, enum sqz_status expected, const char *part) {
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    write_pair(prototxt, net);
    enum sqz_status status = read_net(reader_path("x.net"), NULL, &model, &err);
    ck_assert_msg(status == expected, "%s where %s is expected: %s", sqz_status_name(status), sqz_status_name(expected),
                  err.text);
    ck_assert_msg(strstr(err.text, part) != NULL, "\"%s\" lacks \"%s\"", err.text, part);
    ck_assert_ptr_null(model);
}

/* The file of one_conv for 64 levels. */
static void one_conv_net(const uint8_t level[64], struct sqz_buffer *net, struct entries *e) {
    *e = encode(level, 64);
    sqz_put_u32(net, (uint32_t)e->n);
    put_layer(net, 8, 8, e);
}

/* ---- CASES A6 --------------------------------------------------------------- */

static void check_positions(const size_t *positions, size_t n, const uint8_t *fields, size_t n_fields) {
    uint8_t level[64] = {0};
    struct sqz_buffer net = {0};
    struct entries e;
    for (size_t i = 0; i < n; i++) level[positions[i]] = (uint8_t)(i + 1);
    one_conv_net(level, &net, &e);
    ck_assert_uint_eq(e.n, n_fields);
    ck_assert_mem_eq(e.gaps, fields, n_fields);
    write_pair(one_conv, &net);
    struct sqz_model *model = read_good(reader_path("x.net"));
    struct sqz_weight *weight = &model->weights[0];
    ck_assert_str_eq(weight->name, "conv1.weight");
    ck_assert_ptr_nonnull(weight->packed);
    ck_assert_uint_eq(sqz_packed_nonzero(weight->packed), n);
    ck_assert_uint_eq(weight->packed->n_codebook, n);
    ck_assert_int_eq(sqz_weight_need_data(weight, NULL), SQZ_OK);
    for (size_t i = 0; i < 64; i++) ck_assert(weight->data[i] == centroid(level[i]));
    for (size_t i = 0; i < 8; i++) ck_assert(model->weights[1].data[i] == (float)i + 0.5f);
    sqz_model_free(model);
    sqz_buffer_free(&net);
}

START_TEST(relative_index_and_fillers) {
    static const size_t spread[] = {0, 16, 33, 63}, late[] = {40}, last[] = {63};
    static const uint8_t spread_fields[] = {0, 15, 15, 0, 15, 13}, late_fields[] = {15, 15, 8},
                         last_fields[] = {15, 15, 15, 15};
    check_positions(spread, 4, spread_fields, 6);
    check_positions(late, 1, late_fields, 3);
    check_positions(last, 1, last_fields, 4);
    check_positions(last, 0, last_fields, 0); /* no entries at all */
}
END_TEST

/* A dense layer has 4-bit codes, whatever its name; odd counts end in half a byte. */
START_TEST(dense_layers_have_four_bits) {
    uint8_t conv[64] = {0}, dense[3 * 72] = {0};
    struct sqz_buffer net = {0};
    for (size_t i = 0; i < 64; i += 3) conv[i] = (uint8_t)(i + 1);
    for (size_t i = 5; i < sizeof dense; i += 11) dense[i] = (uint8_t)(1 + i % 15);
    struct entries first = encode(conv, sizeof conv), second = encode(dense, sizeof dense - 7);
    sqz_put_u32(&net, (uint32_t)first.n);
    sqz_put_u32(&net, (uint32_t)second.n);
    put_layer(&net, 8, 8, &first);
    put_layer(&net, 4, 3, &second);
    write_pair(conv_and_dense, &net);
    struct sqz_model *model = read_good(reader_path("x.net"));
    struct sqz_weight *weight = &model->weights[model->nodes[2].kernel];
    struct sqz_shape shape = sqz_shape2(3, 72);
    ck_assert(sqz_shape_equal(&weight->shape, &shape));
    ck_assert_int_eq(sqz_weight_need_data(weight, NULL), SQZ_OK);
    for (size_t i = 0; i < sizeof dense; i++)
        ck_assert(weight->data[i] == (i + 7 < sizeof dense ? centroid(dense[i]) : 0));
    for (uint32_t i = 1; i < weight->packed->n_codebook; i++)
        ck_assert(weight->packed->codebook[i - 1] < weight->packed->codebook[i]);
    sqz_model_free(model);
    sqz_buffer_free(&net);
}
END_TEST

/* Used codes with equal values share one level; unused ones, whatever they hold, leave no trace. */
START_TEST(codebook_is_compact) {
    struct sqz_buffer net = {0};
    struct entries e = {.codes = {9, 4, 9, 200, 0}, .gaps = {0, 0, 0, 0, 3}, .n = 5};
    sqz_put_u32(&net, 5);
    for (unsigned c = 0; c < 256; c++)
        sqz_put_f32(&net, c == 4 ? -1.0f : c == 9 || c == 200 ? 2.0f : c == 0 ? -0.0f : NAN);
    for (size_t i = 0; i < 8; i++) sqz_put_f32(&net, 0);
    sqz_put_bytes(&net, e.codes, e.n);
    put_nibbles(&net, e.gaps, e.n);
    write_pair(one_conv, &net);
    struct sqz_model *model = read_good(reader_path("x.net"));
    const struct sqz_packed *packed = model->weights[0].packed;
    static const int16_t expected[8] = {2, 1, 2, 2, 0, 0, 0, 0};
    ck_assert_uint_eq(packed->n_codebook, 2);
    ck_assert(packed->codebook[0] == -1 && packed->codebook[1] == 2);
    ck_assert_mem_eq(packed->levels, expected, sizeof expected);
    sqz_model_free(model);
    sqz_buffer_free(&net);
}
END_TEST

/* The input wants blue, green, red in 0..255 without the ImageNet means; the padding of a 1x1 convolution stays. */
START_TEST(input_and_padding) {
    static const char text[] = "input: \"data\" input_dim: 1 input_dim: 3 input_dim: 13 input_dim: 13\n"
                               "layer { name: \"final\" type: \"Convolution\" bottom: \"data\" top: \"final\"\n"
                               "  convolution_param { num_output: 2 pad: 1 kernel_size: 1 } }\n"
                               "layer { name: \"pool\" type: \"Pooling\" bottom: \"final\" top: \"pool\" pooling_param "
                               "{ pool: AVE global_pooling: true } }";
    struct sqz_buffer net = {0};
    struct entries e = {.codes = {1, 2}, .gaps = {0, 3}, .n = 2};
    sqz_put_u32(&net, 2);
    put_layer(&net, 8, 2, &e);
    write_pair(text, &net);
    struct sqz_model *model = read_good(reader_path("x.net"));
    const struct sqz_input *input = &model->input;
    ck_assert_uint_eq(model->nodes[1].params.conv.window.pad_bottom, 1);
    ck_assert_int_eq(model->nodes[model->output].op, SQZ_OP_FLATTEN);
    ck_assert_int_eq(input->order, SQZ_CHANNELS_BGR);
    ck_assert_uint_eq(input->resize_short, 256);
    ck_assert(input->scale == 1 && input->std[1] == 1);
    ck_assert(input->mean[0] == 104 && input->mean[1] == 117 && input->mean[2] == 123);
    ck_assert_str_eq(model->source, "deep-compression");
    sqz_model_free(model);
    sqz_buffer_free(&net);
}
END_TEST

/* ---- CASES A7 and bad files -------------------------------------------------- */

static void some_levels(uint8_t level[64]) {
    for (size_t i = 0; i < 64; i++) level[i] = i % 5 == 0 || i == 63 ? (uint8_t)(i + 1) : 0;
}

START_TEST(names_do_not_matter_but_are_mentioned) {
    uint8_t level[64];
    struct sqz_buffer net = {0};
    struct entries e;
    some_levels(level);
    one_conv_net(level, &net, &e);
    write_pair(one_conv, &net);
    sqz_model_free(read_good(reader_path("x.net")));
    ck_assert_str_eq(warning, "");
    static const char renamed[] = "input: \"data\" input_dim: 1 input_dim: 8 input_dim: 4 input_dim: 4\n"
                                  "layer { name: \"squeeze\" type: \"Convolution\" bottom: \"data\" top: \"y\"\n"
                                  "  convolution_param { num_output: 8 kernel_size: 1 } }\n";
    reader_write("other.prototxt", renamed, strlen(renamed));
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    ck_assert_int_eq(read_net(reader_path("x.net"), reader_path("other.prototxt"), &model, &err), SQZ_OK);
    ck_assert_str_eq(model->weights[0].name, "squeeze.weight");
    ck_assert_msg(strstr(warning, "squeeze") && strstr(warning, "order and shape"), "%s", warning);
    sqz_model_free(model);
    sqz_buffer_free(&net);
}
END_TEST

START_TEST(other_sizes_do_not_fit) {
    uint8_t level[64];
    struct sqz_buffer net = {0};
    struct entries e;
    some_levels(level);
    one_conv_net(level, &net, &e);
    refuse("input: \"data\" input_dim: 1 input_dim: 8 input_dim: 4 input_dim: 4 layer { name: \"small\" type: "
           "\"Convolution\""
           " bottom: \"data\" top: \"y\" convolution_param { num_output: 1 kernel_size: 1 } }",
           &net, SQZ_MALFORMED, "small");
    refuse("input: \"data\" input_dim: 1 input_dim: 8 input_dim: 4 input_dim: 4 layer { name: \"wide\" type: "
           "\"Convolution\""
           " bottom: \"data\" top: \"y\" convolution_param { num_output: 9 kernel_size: 1 } }",
           &net, SQZ_TRUNCATED, "wide");
    refuse("input: \"data\" input_dim: 1 input_dim: 9 input_dim: 4 input_dim: 4 layer { name: \"slim\" type: "
           "\"Convolution\""
           " bottom: \"data\" top: \"y\" convolution_param { num_output: 7 kernel_size: 1 } }",
           &net, SQZ_MALFORMED, "slim");
    refuse("name: \"empty\"", &net, SQZ_MALFORMED, "no input");
    refuse("layer {", &net, SQZ_TRUNCATED, "line 1");
    refuse("input: \"x\" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1 layer { name: \"r\" type: \"ReLU\" "
           "bottom: \"x\""
           " top: \"y\" }",
           &net, SQZ_MALFORMED, "no layer with weights");
    sqz_buffer_free(&net);
}
END_TEST

START_TEST(bad_counts_and_gaps) {
    uint8_t level[64];
    struct sqz_buffer net = {0};
    struct entries e;
    some_levels(level);
    one_conv_net(level, &net, &e);
    net.data[3] = 0x80; /* a count of two thousand million */
    refuse(one_conv, &net, SQZ_MALFORMED, "conv1");
    net.data[3] = 0;
    net.data[0] = (uint8_t)(e.n + 1);
    refuse(one_conv, &net, SQZ_TRUNCATED, "layer conv1: gaps");
    net.data[0] = (uint8_t)e.n;
    net.data[net.nbytes - 1] |= 0x0f;
    refuse(one_conv, &net, SQZ_MALFORMED, "conv1");
    net.data[net.nbytes - 1] &= 0xf0;
    net.data[4 + 4 * (level[5]) + 3] = 0x7f; /* a code in use becomes infinite */
    net.data[4 + 4 * (level[5]) + 2] = 0x80;
    net.data[4 + 4 * (level[5]) + 1] = 0;
    net.data[4 + 4 * (level[5])] = 0;
    refuse(one_conv, &net, SQZ_NONFINITE, "conv1");
    sqz_buffer_free(&net);
}
END_TEST

START_TEST(cut_off_and_trailing) {
    uint8_t level[64];
    struct sqz_buffer net = {0};
    struct entries e;
    some_levels(level);
    one_conv_net(level, &net, &e);
    size_t whole = net.nbytes;
    for (net.nbytes = 1; net.nbytes < whole; net.nbytes++) refuse(one_conv, &net, SQZ_TRUNCATED, "conv1");
    sqz_put_u8(&net, 0);
    refuse(one_conv, &net, SQZ_MALFORMED, "1 bytes follow the last layer, conv1");
    sqz_buffer_free(&net);
}
END_TEST

START_TEST(missing_prototxt) {
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    reader_write("y.net", "abcd", 4);
    ck_assert_int_eq(read_net(reader_path("y.net"), NULL, &model, &err), SQZ_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "y.prototxt"));
    ck_assert_int_eq(read_net(reader_path("y.net"), reader_path("none.prototxt"), &model, &err), SQZ_NOT_FOUND);
}
END_TEST

/* A prototxt that asks for more memory than allowed is refused before any is taken. */
START_TEST(bombs) {
    struct sqz_buffer net = {0};
    sqz_put_u32(&net, 1);
    refuse("input: \"x\" input_dim: 1 input_dim: 2000000 input_dim: 1 input_dim: 1 layer { name: \"big\" type: "
           "\"Convolution\""
           " bottom: \"x\" top: \"y\" convolution_param { num_output: 2000000 kernel_size: 1 } }",
           &net, SQZ_LIMIT, "big");
    sqz_buffer_free(&net);
}
END_TEST

START_TEST(flipped_bytes) {
    uint8_t level[64];
    struct sqz_buffer net = {0};
    struct entries e;
    size_t n_good = 0;
    some_levels(level);
    one_conv_net(level, &net, &e);
    for (size_t i = 0; i < net.nbytes; i++) {
        struct sqz_model *model = NULL;
        struct sqz_error err = {0};
        net.data[i] ^= 0xff;
        write_pair(one_conv, &net);
        enum sqz_status status = read_net(reader_path("x.net"), NULL, &model, &err);
        ck_assert((status == SQZ_OK) == (model != NULL) && (status == SQZ_OK) == (err.text[0] == '\0'));
        n_good += status == SQZ_OK;
        sqz_model_free(model);
        net.data[i] ^= 0xff;
    }
    ck_assert_uint_gt(n_good, 100); /* a changed centroid is still a centroid */
    sqz_buffer_free(&net);
}
END_TEST

START_TEST(memory_runs_out) {
    uint8_t level[64];
    struct sqz_buffer net = {0};
    struct entries e;
    some_levels(level);
    one_conv_net(level, &net, &e);
    write_pair(one_conv, &net);
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    long n = 0;
    for (; status != SQZ_OK && n < 1000; n++) {
        struct sqz_model *model = NULL;
        sqz_alloc_fail_after(n);
        status = read_net(reader_path("x.net"), NULL, &model, NULL);
        sqz_alloc_fail_after(-1);
        ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
        sqz_model_free(model);
    }
    ck_assert_int_eq(status, SQZ_OK);
    ck_assert_int_gt(n, 5);
    sqz_buffer_free(&net);
}
END_TEST

/* ---- the published file ------------------------------------------------------- */

/* Counted by an independent decoder of the same file: weights and those of them that are not zero. */
static const struct {
    const char *name;
    size_t count, nonzero;
} published[] = {{"conv1.weight", 14112, 13902},
                 {"fire2/conv3x3_2.weight", 9216, 3039},
                 {"fire8/conv1x1_2.weight", 16384, 8187},
                 {"fire9/conv3x3_2.weight", 147456, 44173},
                 {"conv_final.weight", 512000, 102323}};

START_TEST(published_file) {
    const char *shared = reader_shared("test_han published_file");
    if (!shared) return;
    char path[512];
    snprintf(path, sizeof path, "%s/data/models/han_squeezenet_v1.0.net", shared);
    struct sqz_model *model = read_good(path);
    ck_assert_str_eq(warning, "");
    ck_assert_uint_eq(sqz_model_float_nbytes(model), 4 * 1248424);
    ck_assert_uint_eq(model->n_weights, 52);
    for (size_t k = 0; k < sizeof published / sizeof *published; k++) {
        size_t i = 0;
        while (i < model->n_weights && strcmp(model->weights[i].name, published[k].name) != 0) i++;
        ck_assert_uint_lt(i, model->n_weights);
        ck_assert_uint_eq(model->weights[i].count, published[k].count);
        ck_assert_uint_eq(sqz_packed_nonzero(model->weights[i].packed), published[k].nonzero);
    }
    ck_assert_uint_eq(model->input.height, 227);
    sqz_model_free(model);
}
END_TEST

/* Cut at each sixteenth: an error that names a layer; recognised as ours without its prototxt when whole. */
START_TEST(published_file_damaged) {
    const char *shared = reader_shared("test_han published_file_damaged");
    if (!shared) return;
    char path[512];
    struct sqz_source net, prototxt;
    snprintf(path, sizeof path, "%s/data/models/han_squeezenet_v1.0.net", shared);
    ck_assert_int_eq(sqz_source_open(path, SQZ_SOURCE_LIMIT, &net, NULL), SQZ_OK);
    struct sqz_source piped = net;
    piped.path = "-";
    ck_assert(sqz_han_probe(&piped));
    piped.nbytes--;
    ck_assert(!sqz_han_probe(&piped));
    char prototxt_path[512];
    snprintf(prototxt_path, sizeof prototxt_path, "%s/data/models/han_squeezenet_v1.0.prototxt", shared);
    ck_assert_int_eq(sqz_source_open(prototxt_path, SQZ_SOURCE_LIMIT, &prototxt, NULL), SQZ_OK);
    reader_write("x.prototxt", prototxt.data, prototxt.nbytes);
    for (size_t part = 1; part < 16; part++) {
        struct sqz_model *model = NULL;
        struct sqz_error err = {0};
        reader_write("x.net", net.data, net.nbytes * part / 16);
        ck_assert_int_eq(read_net(reader_path("x.net"), NULL, &model, &err), SQZ_TRUNCATED);
        ck_assert_msg(strstr(err.text, "layer ") && strstr(err.text, "at byte "), "%s", err.text);
    }
    sqz_source_close(&net);
    sqz_source_close(&prototxt);
}
END_TEST

/* Replace every `from` in a text by a `to` of the same length. */
static void replace_all(char *text, const char *from, const char *to) {
    ck_assert_uint_eq(strlen(from), strlen(to));
    size_t n = 0;
    for (char *p = strstr(text, from); p; p = strstr(p, from), n++) memcpy(p, to, strlen(to));
    ck_assert_uint_gt(n, 0);
}

/*
 * CASES A7: the names of the usual v1.0 prototxt give the same model and a
 * message; the sizes of v1.1 cannot fit.
 */
START_TEST(published_file_with_other_prototxts) {
    const char *shared = reader_shared("test_han published_file_with_other_prototxts");
    if (!shared) return;
    char net[512], path[512];
    struct sqz_source source;
    snprintf(net, sizeof net, "%s/data/models/han_squeezenet_v1.0.net", shared);
    snprintf(path, sizeof path, "%s/data/models/han_squeezenet_v1.0.prototxt", shared);
    ck_assert_int_eq(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, NULL), SQZ_OK);
    char *text = sqz_alloc0(source.nbytes + 1, 1);
    memcpy(text, source.data, source.nbytes);
    replace_all(text, "conv1x1_1", "squeeze11");
    replace_all(text, "conv1x1_2", "expand1x1");
    replace_all(text, "conv3x3_2", "expand3x3");
    reader_write("usual.prototxt", text, source.nbytes);
    replace_all(text, "num_output: 96", "num_output: 64");
    replace_all(text, "kernel_size: 7", "kernel_size: 3");
    reader_write("v11.prototxt", text, source.nbytes);
    struct sqz_model *usual = NULL, *original = read_good(net), *none = NULL;
    struct sqz_error err = {0};
    ck_assert_int_eq(read_net(net, reader_path("usual.prototxt"), &usual, &err), SQZ_OK);
    ck_assert_msg(strstr(warning, "fire2/squeeze11") && strstr(warning, "fire2/conv1x1_1"), "%s", warning);
    ck_assert_uint_eq(usual->n_weights, original->n_weights);
    for (size_t i = 0; i < usual->n_weights; i++) {
        struct sqz_weight *a = &usual->weights[i], *b = &original->weights[i];
        ck_assert_int_eq(sqz_weight_need_data(a, NULL), SQZ_OK);
        ck_assert_int_eq(sqz_weight_need_data(b, NULL), SQZ_OK);
        ck_assert_uint_eq(a->count, b->count);
        ck_assert_mem_eq(a->data, b->data, a->count * sizeof(float));
    }
    ck_assert_int_eq(read_net(net, reader_path("v11.prototxt"), &none, &err), SQZ_MALFORMED);
    ck_assert_msg(strstr(err.text, "layer conv1: the 13902 stored entries"), "%s", err.text);
    sqz_model_free(usual);
    sqz_model_free(original);
    sqz_source_close(&source);
    sqz_free(text);
}
END_TEST

Suite *test_han(void);

Suite *test_han(void) {
    Suite *suite = suite_create("han");
    TCase *read = tcase_create("read"), *bad = tcase_create("bad"), *real = tcase_create("published");
    tcase_add_checked_fixture(read, reader_folder_make, reader_folder_remove);
    tcase_add_checked_fixture(bad, reader_folder_make, reader_folder_remove);
    tcase_add_checked_fixture(real, reader_folder_make, reader_folder_remove);
    tcase_set_timeout(bad, 60);
    tcase_set_timeout(real, 60);
    tcase_add_test(read, relative_index_and_fillers);
    tcase_add_test(read, dense_layers_have_four_bits);
    tcase_add_test(read, codebook_is_compact);
    tcase_add_test(read, input_and_padding);
    tcase_add_test(bad, names_do_not_matter_but_are_mentioned);
    tcase_add_test(bad, other_sizes_do_not_fit);
    tcase_add_test(bad, bad_counts_and_gaps);
    tcase_add_test(bad, cut_off_and_trailing);
    tcase_add_test(bad, missing_prototxt);
    tcase_add_test(bad, bombs);
    tcase_add_test(bad, flipped_bytes);
    tcase_add_test(bad, memory_runs_out);
    tcase_add_test(real, published_file);
    tcase_add_test(real, published_file_damaged);
    tcase_add_test(real, published_file_with_other_prototxts);
    suite_add_tcase(suite, read);
    suite_add_tcase(suite, bad);
    suite_add_tcase(suite, real);
    return suite;
}
