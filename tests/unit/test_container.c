/* test_container.c - whole .sqz files: round trips, accounting, and damage. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/container.h"
#include "lib/container_file.h"
#include "lib/half.h"
#include "lib/parallel.h"
#include "tests/unit/effort.h"
#include "tests/unit/packed_samples.h"

static void encode(const struct sqz_model *model, const struct sqz_encode_options *options, struct sqz_buffer *out) {
    struct sqz_error err = {0};
    ck_assert_msg(sqz_container_encode(model, options, out, &err) == SQZ_OK, "%s", err.text);
}

static struct sqz_model *decode(const struct sqz_buffer *file) {
    struct sqz_error err = {0};
    struct sqz_model *model;
    ck_assert_msg(sqz_container_decode(file->data, file->nbytes, 0, &model, &err) == SQZ_OK, "%s", err.text);
    return model;
}

static void expect_refusal(const struct sqz_buffer *file, size_t max_nbytes, enum sqz_status expected,
                           const char *text) {
    struct sqz_error err = {0};
    struct sqz_model *model;
    enum sqz_status status = sqz_container_decode(file->data, file->nbytes, max_nbytes, &model, &err);
    ck_assert_msg(status == expected, "%s instead of %s: %s", sqz_status_name(status), sqz_status_name(expected),
                  err.text);
    ck_assert_msg(strstr(err.text, text) != NULL, "\"%s\" does not say \"%s\"", err.text, text);
}

/* conv (packed) - relu - global pool - dense (float kernel, no bias): every kind of section in a few hundred bytes. */
static struct sqz_model *build_small(void) {
    struct sqz_input input = {.channels = 3, .height = 8, .width = 8, .scale = 1, .std = {1, 1, 1, 1}};
    struct sqz_model *model = sqz_model_new(&input);
    struct sqz_shape kernel = sqz_shape4(6, 3, 3, 3), vector = sqz_shape1(6), dense = sqz_shape2(4, 6);
    uint32_t node = 0;
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_CONV, "conv", &node, 1, &node, NULL), SQZ_OK);
    model->nodes[node].params.conv.window = (struct sqz_window){3, 3, 1, 1, 1, 1, 1, 1, 1, 1};
    model->nodes[node].params.conv.groups = 1;
    ck_assert_int_eq(sqz_model_add_packed(model, "conv.weight", SQZ_ROLE_KERNEL, &kernel,
                                          sample_codebook(162, 7, 0.6, 1), &model->nodes[node].kernel, NULL),
                     SQZ_OK);
    ck_assert_int_eq(
        sqz_model_add_weight(model, "conv.bias", SQZ_ROLE_BIAS, &vector, NULL, &model->nodes[node].bias, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_RELU, "relu", &node, 1, &node, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_GLOBAL_AVERAGE_POOL, "pool", &node, 1, &node, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_DENSE, "fc", &node, 1, &node, NULL), SQZ_OK);
    ck_assert_int_eq(
        sqz_model_add_weight(model, "fc.weight", SQZ_ROLE_KERNEL, &dense, NULL, &model->nodes[node].kernel, NULL),
        SQZ_OK);
    for (size_t i = 0; i < 6; i++) model->weights[1].data[i] = (float)(0.1 * (double)i - 0.3);
    for (size_t i = 0; i < 24; i++) model->weights[2].data[i] = (float)(0.07 * (double)i - 0.9);
    return model;
}

START_TEST(everything_comes_back) {
    struct sqz_model *model = build_small();
    struct sqz_buffer file = {0};
    encode(model, NULL, &file);
    ck_assert(sqz_container_probe(file.data, file.nbytes));
    struct sqz_model *back = decode(&file);
    ck_assert_uint_eq(back->n_nodes, model->n_nodes);
    ck_assert_uint_eq(back->n_weights, 3);
    ck_assert(sample_equal(back->weights[0].packed, model->weights[0].packed));
    ck_assert_ptr_null(back->weights[0].data);
    for (size_t i = 0; i < 6; i++)
        ck_assert(back->weights[1].data[i] == sqz_half_to_float(sqz_float_to_half(model->weights[1].data[i])));
    ck_assert_int_eq(memcmp(back->weights[2].data, model->weights[2].data, 24 * sizeof(float)), 0);
    sqz_model_free(back);
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

START_TEST(biases_as_asked) {
    struct sqz_model *model = build_small();
    struct sqz_buffer file = {0};
    struct sqz_encode_options options = {.bias = SQZ_BIAS_FP32};
    encode(model, &options, &file);
    struct sqz_model *back = decode(&file);
    ck_assert_int_eq(memcmp(back->weights[1].data, model->weights[1].data, 6 * sizeof(float)), 0);
    sqz_model_free(back);
    file.nbytes = 0;
    model->weights[1].data[0] = 65520; /* infinite in fp16: the tensor stays float32 */
    encode(model, NULL, &file);
    back = decode(&file);
    ck_assert_int_eq(memcmp(back->weights[1].data, model->weights[1].data, 6 * sizeof(float)), 0);
    sqz_model_free(back);
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

/* Levels of 8 or 10 bits: within half a step, counted as biases, and the same bytes again after decoding. */
START_TEST(biases_as_levels) {
    struct sqz_model *model = sample_squeezenet(3, 1, 4);
    struct sqz_buffer half = {0}, file = {0}, again = {0};
    static const enum sqz_bias_kind kinds[] = {SQZ_BIAS_8BIT, SQZ_BIAS_10BIT};
    static const float largest_level[] = {127, 511};
    encode(model, NULL, &half);
    memset(model->weights[3].data, 0, model->weights[3].count * sizeof(float)); /* no step: stays fp16 */
    for (int kind = 0; kind < 2; kind++) {
        struct sqz_encode_options options = {.bias = kinds[kind]};
        file.nbytes = again.nbytes = 0;
        encode(model, &options, &file);
        ck_assert_uint_lt(file.nbytes + (kind ? 1500 : 2500), half.nbytes);
        struct sqz_model *back = decode(&file);
        for (size_t i = 0; i < model->n_weights; i++) {
            if (model->weights[i].role != SQZ_ROLE_BIAS) continue;
            ck_assert_int_eq(sqz_weight_need_data(&back->weights[i], NULL), SQZ_OK);
            float largest = 0;
            for (size_t k = 0; k < model->weights[i].count; k++)
                largest = fmaxf(largest, fabsf(model->weights[i].data[k]));
            for (size_t k = 0; k < model->weights[i].count; k++)
                ck_assert_float_le(fabsf(back->weights[i].data[k] - model->weights[i].data[k]),
                                   0.5001f * largest / largest_level[kind]);
        }
        encode(back, &options, &again);
        ck_assert_uint_eq(again.nbytes, file.nbytes);
        ck_assert_int_eq(memcmp(again.data, file.data, file.nbytes), 0);
        struct sqz_ledger ledger;
        struct sqz_tensor_stats stats[64];
        ck_assert_int_eq(sqz_container_ledger(file.data, file.nbytes, back, &ledger, stats, NULL), SQZ_OK);
        ck_assert_uint_gt(ledger.bias_nbytes, 2000);
        sqz_model_free(back);
    }
    sqz_model_free(model);
    sqz_buffer_free(&half);
    sqz_buffer_free(&file);
    sqz_buffer_free(&again);
}
END_TEST

START_TEST(kernels_take_half_where_exact) {
    struct sqz_model *model = build_small();
    struct sqz_buffer full = {0}, half = {0};
    encode(model, NULL, &full);
    for (size_t i = 0; i < 24; i++) model->weights[2].data[i] = sqz_half_to_float((uint16_t)(0x3000 + 37 * i));
    encode(model, NULL, &half);
    ck_assert_uint_eq(full.nbytes - half.nbytes, 48);
    struct sqz_model *back = decode(&half);
    ck_assert_int_eq(memcmp(back->weights[2].data, model->weights[2].data, 24 * sizeof(float)), 0);
    sqz_model_free(back);
    sqz_model_free(model);
    sqz_buffer_free(&full);
    sqz_buffer_free(&half);
}
END_TEST

static const enum sqz_coder coders[] = {SQZ_CODER_HUFFMAN, SQZ_CODER_RANGE, SQZ_CODER_AUTO};
#define N_CODERS (sizeof coders / sizeof *coders)

START_TEST(same_bytes_for_any_thread_count_and_after_decoding) {
    struct sqz_encode_options options = {.coder = coders[_i]};
    static const double densities[] = {1, 0.3};
    for (size_t d = 0; d < 2; d++) {
        struct sqz_model *model = sample_squeezenet(5, densities[d], 3);
        struct sqz_buffer first = {0}, again = {0};
        sqz_set_threads(1);
        encode(model, &options, &first);
        for (int threads = 2; threads <= 3; threads++) {
            sqz_set_threads(threads);
            again.nbytes = 0;
            encode(model, &options, &again);
            ck_assert_uint_eq(again.nbytes, first.nbytes);
            ck_assert_int_eq(memcmp(again.data, first.data, first.nbytes), 0);
            struct sqz_model *back = decode(&first);
            for (size_t i = 0; i < model->n_weights; i++)
                if (model->weights[i].packed)
                    ck_assert(sample_equal(model->weights[i].packed, back->weights[i].packed));
            again.nbytes = 0;
            encode(back, &options, &again);
            ck_assert_uint_eq(again.nbytes, first.nbytes);
            ck_assert_int_eq(memcmp(again.data, first.data, first.nbytes), 0);
            sqz_model_free(back);
        }
        sqz_set_threads(0);
        sqz_model_free(model);
        sqz_buffer_free(&first);
        sqz_buffer_free(&again);
    }
}
END_TEST

static size_t ledger_total(const struct sqz_ledger *l) {
    return l->header_nbytes + l->graph_nbytes + l->codebook_nbytes + l->table_nbytes + l->value_nbytes +
           l->position_nbytes + l->bias_nbytes + l->float_nbytes;
}

START_TEST(ledger_adds_up) {
    struct sqz_model *model = _i ? sample_squeezenet(6, 0.4, 5) : build_small();
    struct sqz_buffer file = {0};
    encode(model, NULL, &file);
    struct sqz_model *back = decode(&file);
    struct sqz_ledger ledger;
    struct sqz_tensor_stats stats[64];
    ck_assert_int_eq(sqz_container_ledger(file.data, file.nbytes, back, &ledger, stats, NULL), SQZ_OK);
    ck_assert_uint_eq(ledger_total(&ledger), file.nbytes);
    size_t sections = 0;
    for (size_t i = 0; i < back->n_weights; i++) {
        sections += stats[i].section_nbytes;
        ck_assert_uint_eq(stats[i].count, model->weights[i].count);
        ck_assert_str_eq(stats[i].name, model->weights[i].name);
    }
    ck_assert_uint_eq(sections + ledger.header_nbytes + ledger.graph_nbytes, file.nbytes);
    ck_assert_uint_eq(ledger.bias_nbytes > 0, 1);
    ck_assert_uint_eq(ledger.float_nbytes, _i ? 0 : 1 + 24 * 4);
    sqz_model_free(back);
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

START_TEST(squeezenet_overhead_and_efficiency) {
    static const double densities[] = {1, 0.5, 0.1};
    for (unsigned bits = 1; bits <= 8; bits++) {
        for (size_t d = 0; d < 3; d++) {
            struct sqz_model *model = sample_squeezenet(bits, densities[d], 7);
            struct sqz_buffer file = {0};
            struct sqz_encode_options options = {.coder = SQZ_CODER_HUFFMAN};
            encode(model, &options, &file);
            struct sqz_ledger ledger;
            struct sqz_tensor_stats stats[64];
            ck_assert_int_eq(sqz_container_ledger(file.data, file.nbytes, model, &ledger, stats, NULL), SQZ_OK);
            ck_assert_uint_eq(ledger_total(&ledger), file.nbytes);
            for (size_t i = 0; i < model->n_weights; i++) {
                if (!model->weights[i].packed || stats[i].count <= 1000) continue;
                /* Two-bit layers of 1024 weights lose a few bytes more, less than the tables of longer tuples take. */
                double allowed = stats[i].count > 2000 ? 1.03 : 1.04;
                ck_assert_msg((double)stats[i].stream_nbits <= allowed * stats[i].entropy_nbits,
                              "%s of %u bits at %g: %zu bits for an entropy of %.0f", stats[i].name, bits, densities[d],
                              stats[i].stream_nbits, stats[i].entropy_nbits);
            }
            size_t frame = ledger.header_nbytes + ledger.graph_nbytes;
            ck_assert_msg(frame + (bits >= 5 && d == 0 ? ledger.table_nbytes : 0) < 1500,
                          "%zu bytes of header, %zu of graph, %zu of tables", ledger.header_nbytes, ledger.graph_nbytes,
                          ledger.table_nbytes);
            sqz_model_free(model);
            sqz_buffer_free(&file);
        }
    }
}
END_TEST

START_TEST(ledger_refuses_another_model) {
    struct sqz_model *model = build_small(), *other = sample_squeezenet(2, 1, 1);
    struct sqz_buffer file = {0};
    struct sqz_ledger ledger;
    struct sqz_tensor_stats stats[64];
    encode(model, NULL, &file);
    ck_assert_int_eq(sqz_container_ledger(file.data, file.nbytes, other, &ledger, stats, NULL), SQZ_ARGUMENT);
    sqz_model_free(other);
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

/* ---- bad files ---------------------------------------------------------------------- */

/* A decode of damaged bytes must end with a status; only the truncated file's own length is good. */
START_TEST(truncation_is_noticed) {
    struct sqz_model *model = _i ? sample_squeezenet(4, 0.3, 9) : build_small();
    struct sqz_buffer file = {0};
    encode(model, NULL, &file);
    size_t step = _i ? file.nbytes / 16 : 1;
    for (size_t n = 0; n < file.nbytes; n += step) {
        uint8_t *exact = malloc(n ? n : 1);
        struct sqz_model *back;
        struct sqz_error err = {0};
        memcpy(exact, file.data, n);
        enum sqz_status status = sqz_container_decode(exact, n, 0, &back, &err);
        ck_assert_int_eq(status, n < 4 ? SQZ_UNKNOWN_FORMAT : SQZ_TRUNCATED);
        ck_assert_str_ne(err.text, "");
        free(exact);
    }
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

START_TEST(every_flipped_bit_is_noticed) {
    struct sqz_model *model = build_small();
    struct sqz_buffer file = {0};
    encode(model, NULL, &file);
    for (size_t i = 0; i < file.nbytes; i++)
        for (int bit = (int)(i % EFFORT(1, 4)); bit < 8; bit += EFFORT(1, 4)) {
            struct sqz_model *back;
            struct sqz_error err = {0};
            file.data[i] ^= (uint8_t)(1 << bit);
            ck_assert_int_ne(sqz_container_decode(file.data, file.nbytes, 0, &back, &err), SQZ_OK);
            ck_assert_str_ne(err.text, "");
            file.data[i] ^= (uint8_t)(1 << bit);
        }
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

START_TEST(refusals_have_a_status_each) {
    struct sqz_model *model = build_small();
    struct sqz_buffer file = {0};
    encode(model, NULL, &file);
    expect_refusal(&file, 100, SQZ_LIMIT, "");
    file.data[file.nbytes - 1] ^= 1;
    expect_refusal(&file, 0, SQZ_CHECKSUM, "the checksum of weight fc.weight does not match");
    file.data[file.nbytes - 1] ^= 1;
    file.data[4] = 2;
    expect_refusal(&file, 0, SQZ_VERSION, "version 2 of the .sqz format is not known");
    file.data[4] = 1;
    file.data[8] ^= 4;
    expect_refusal(&file, 0, SQZ_CHECKSUM, "header");
    file.data[8] ^= 4;
    sqz_put_u8(&file, 0);
    expect_refusal(&file, 0, SQZ_MALFORMED, "follow the last section");
    file.data[0] = 'P';
    expect_refusal(&file, 0, SQZ_UNKNOWN_FORMAT, "not a .sqz file");
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

/* Rewrite the checksums after a change, as an attacker would. */
static void rewrite(struct sqz_buffer *file, uint64_t graph_nbytes, const uint8_t *deflated, size_t deflated_nbytes,
                    size_t n_sections, const uint8_t *section, size_t section_nbytes) {
    file->nbytes = 0;
    sqz_put_bytes(file, SQZ_CONTAINER_MAGIC, 4);
    sqz_put_u8(file, 1);
    sqz_put_varint(file, graph_nbytes);
    sqz_put_varint(file, deflated_nbytes);
    sqz_put_varint(file, n_sections);
    for (size_t i = 0; i < n_sections; i++) {
        sqz_put_varint(file, section_nbytes);
        sqz_put_u32(file, sqz_crc32(section, section_nbytes));
    }
    sqz_put_bytes(file, deflated, deflated_nbytes);
    sqz_put_u32(file, sqz_crc32(file->data, file->nbytes));
    for (size_t i = 0; i < n_sections; i++) sqz_put_bytes(file, section, section_nbytes);
    ck_assert(!file->failed);
}

START_TEST(hostile_frames_are_refused) {
    struct sqz_model *model = build_small();
    struct sqz_buffer good = {0}, bad = {0};
    encode(model, NULL, &good);
    struct sqz_container_file frame;
    ck_assert_int_eq(sqz_container_file_open(&frame, good.data, good.nbytes, NULL), SQZ_OK);
    const uint8_t *graph = frame.deflated;
    size_t n = frame.deflated_nbytes, inflated = frame.graph_nbytes;
    uint8_t zero[8] = {0};
    rewrite(&bad, (uint64_t)1 << 40, graph, n, 3, zero, 1);
    expect_refusal(&bad, 0, SQZ_LIMIT, "the graph claims");
    rewrite(&bad, inflated + 1, graph, n, 3, zero, 1);
    expect_refusal(&bad, 0, SQZ_MALFORMED, "deflated graph");
    rewrite(&bad, inflated - 1, graph, n, 3, zero, 1);
    expect_refusal(&bad, 0, SQZ_MALFORMED, "deflated graph");
    rewrite(&bad, inflated, graph, n - 1, 3, zero, 1);
    expect_refusal(&bad, 0, SQZ_MALFORMED, "deflated graph");
    rewrite(&bad, inflated, graph, n, 2, zero, 1);
    expect_refusal(&bad, 0, SQZ_MALFORMED, "the index has 2 tensors, the graph 3");
    rewrite(&bad, inflated, graph, n, 3, zero, 0);
    expect_refusal(&bad, 0, SQZ_TRUNCATED, "is empty");
    rewrite(&bad, inflated, graph, n, 3, zero, 1);
    expect_refusal(&bad, 0, SQZ_TRUNCATED, "holds 0 bytes instead of");
    rewrite(&bad, inflated, graph, n, SQZ_MAX_WEIGHTS + 1, zero, 0);
    expect_refusal(&bad, 0, SQZ_LIMIT, "more than");
    sqz_container_file_close(&frame);
    sqz_model_free(model);
    sqz_buffer_free(&good);
    sqz_buffer_free(&bad);
}
END_TEST

START_TEST(weights_without_values_are_refused) {
    struct sqz_model *model = build_small();
    struct sqz_buffer file = {0};
    struct sqz_error err = {0};
    sqz_free(model->weights[2].data);
    model->weights[2].data = NULL;
    ck_assert_int_eq(sqz_container_encode(model, NULL, &file, &err), SQZ_MISSING_WEIGHT);
    ck_assert_str_eq(err.text, "weight fc.weight has no values");
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

START_TEST(short_of_memory) {
    struct sqz_model *model = build_small(), *back = NULL;
    struct sqz_buffer file = {0};
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    sqz_set_threads(1);
    for (long n = 0; status != SQZ_OK; n++) {
        sqz_buffer_free(&file);
        sqz_alloc_fail_after(n);
        status = sqz_container_encode(model, NULL, &file, NULL);
        sqz_alloc_fail_after(-1);
        ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
    }
    status = SQZ_OUT_OF_MEMORY;
    for (long n = 0; status != SQZ_OK; n++) {
        sqz_alloc_fail_after(n);
        status = sqz_container_decode(file.data, file.nbytes, 0, &back, NULL);
        sqz_alloc_fail_after(-1);
        ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
    }
    struct sqz_ledger ledger;
    struct sqz_tensor_stats stats[3];
    status = SQZ_OUT_OF_MEMORY;
    for (long n = 0; status != SQZ_OK; n++) {
        sqz_alloc_fail_after(n);
        status = sqz_container_ledger(file.data, file.nbytes, back, &ledger, stats, NULL);
        sqz_alloc_fail_after(-1);
        ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
    }
    sqz_model_free(back);
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

Suite *test_container(void);

Suite *test_container(void) {
    Suite *suite = suite_create("container");
    TCase *tcase = tcase_create("container");
    tcase_set_timeout(tcase, 240);
    tcase_add_test(tcase, everything_comes_back);
    tcase_add_test(tcase, biases_as_asked);
    tcase_add_test(tcase, biases_as_levels);
    tcase_add_test(tcase, kernels_take_half_where_exact);
    tcase_add_loop_test(tcase, same_bytes_for_any_thread_count_and_after_decoding, 0, N_CODERS);
    tcase_add_loop_test(tcase, ledger_adds_up, 0, 2);
    tcase_add_test(tcase, squeezenet_overhead_and_efficiency);
    tcase_add_test(tcase, ledger_refuses_another_model);
    tcase_add_loop_test(tcase, truncation_is_noticed, 0, 2);
    tcase_add_test(tcase, every_flipped_bit_is_noticed);
    tcase_add_test(tcase, refusals_have_a_status_each);
    tcase_add_test(tcase, hostile_frames_are_refused);
    tcase_add_test(tcase, weights_without_values_are_refused);
    tcase_add_test(tcase, short_of_memory);
    suite_add_tcase(suite, tcase);
    return suite;
}
