/* test_cases_compression.c - failures that people met when they pruned, shared and coded, each through the whole chain.
 */
#include <stdlib.h>

#include "eval/engine.h"
#include "lib/container.h"
#include "lib/parallel.h"
#include "lib/prune.h"
#include "lib/quantize.h"
#include "tests/unit/chain_model.h"

/*
 * Layers that all read the one input, so that each may have any number of weights (one for each output) and the model
 * is a net. Layer i has weights 2i (the kernel) and 2i + 1 (biases of 1e-9).
 */
static struct sqz_model *fan_model(const struct chain_layer *layers, size_t n_layers) {
    struct sqz_input input = {.channels = 1, .height = 1, .width = 1, .scale = 1, .std = {1, 1, 1, 1}};
    struct sqz_model *model = sqz_model_new(&input);
    for (size_t i = 0; i < n_layers; i++) {
        const struct chain_layer *layer = &layers[i];
        uint32_t node = 0, weights[2];
        struct sqz_shape vector = sqz_shape1(layer->n);
        struct sqz_shape shape = layer->op == SQZ_OP_CONV ? sqz_shape4(layer->n, 1, 1, 1) : sqz_shape2(layer->n, 1);
        ck_assert_int_eq(sqz_model_add_node(model, layer->op, layer->name, &node, 1, &node, NULL), SQZ_OK);
        for (int which = 0; which < 2; which++) {
            char name[64];
            snprintf(name, sizeof name, "%s.%s", layer->name, which ? "bias" : "weight");
            ck_assert_int_eq(sqz_model_add_weight(model, name, which ? SQZ_ROLE_BIAS : SQZ_ROLE_KERNEL,
                                                  which ? &vector : &shape, NULL, &weights[which], NULL),
                             SQZ_OK);
            for (size_t k = 0; k < layer->n; k++)
                model->weights[weights[which]].data[k] = which ? 1e-9f : layer->values ? layer->values[k] : 0;
        }
        model->nodes[node].kernel = weights[0];
        model->nodes[node].bias = weights[1];
        model->nodes[node].params.conv.window = (struct sqz_window){1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
        model->nodes[node].params.conv.groups = 1;
        model->output = node;
    }
    return model;
}

static void prune(struct sqz_model *model, double density, bool global, size_t floor) {
    struct sqz_layer_value rule = {NULL, density};
    struct sqz_prune_options options = {SQZ_PRUNE_DENSITY, &rule, 1, global, floor};
    struct sqz_prune_stats stats[8];
    struct sqz_error err = {0};
    size_t n;
    ck_assert_msg(sqz_prune(model, &options, stats, &n, &err) == SQZ_OK, "%s", err.text);
}

static void share(struct sqz_model *model, unsigned bits) {
    struct sqz_layer_value rule = {NULL, bits};
    struct sqz_quantize_options options = {.bits = &rule, .n_bits = 1};
    struct sqz_quantize_stats stats[8];
    struct sqz_error err = {0};
    size_t n;
    ck_assert_msg(sqz_quantize(model, &options, stats, &n, &err) == SQZ_OK, "%s", err.text);
}

static struct sqz_buffer encode(const struct sqz_model *model, enum sqz_coder coder, enum sqz_bias_kind bias) {
    struct sqz_encode_options options = {coder, bias};
    struct sqz_buffer file = {0};
    struct sqz_error err = {0};
    ck_assert_msg(sqz_container_encode(model, &options, &file, &err) == SQZ_OK, "%s", err.text);
    return file;
}

static struct sqz_model *decode(const struct sqz_buffer *file) {
    struct sqz_model *model;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_container_decode(file->data, file->nbytes, 0, &model, &err) == SQZ_OK, "%s", err.text);
    return model;
}

/* Encode with each coder, decode, and compare every weight bit for bit. */
static void expect_lossless(struct sqz_model *model) {
    for (int coder = SQZ_CODER_AUTO; coder <= SQZ_CODER_RANGE; coder++) {
        struct sqz_buffer file = encode(model, (enum sqz_coder)coder, SQZ_BIAS_FP32);
        struct sqz_model *back = decode(&file);
        for (size_t i = 0; i < model->n_weights; i++) {
            ck_assert_uint_eq(model->weights[i].count, back->weights[i].count);
            const float *before = weight_values(model, i), *after = weight_values(back, i);
            ck_assert_msg(memcmp(before, after, model->weights[i].count * sizeof(float)) == 0, "weight %zu, coder %d",
                          i, coder);
        }
        sqz_model_free(back);
        sqz_buffer_free(&file);
    }
}

static struct sqz_ledger ledger_of(const struct sqz_buffer *file, struct sqz_tensor_stats *stats) {
    struct sqz_model *model = decode(file);
    struct sqz_ledger ledger;
    ck_assert_int_eq(sqz_container_ledger(file->data, file->nbytes, model, &ledger, stats, NULL), SQZ_OK);
    sqz_model_free(model);
    return ledger;
}

/*
 * Clustered zeros once came back as small values, and the file grew again:
 * here they must be zeros at the same places behind the decoder, with every number of bits and either coder.
 */
START_TEST(zeros_are_zeros_behind_the_decoder) {
    enum { N = 64 };
    float values[N];
    for (int i = 0; i < N; i++) values[i] = i * 37 % N < 32 ? 0 : 0.02f + 0.04f * (float)i / N;
    struct chain_layer layer = {"conv", SQZ_OP_CONV, N, values};
    struct sqz_model *model = fan_model(&layer, 1);
    share(model, (unsigned)_i);
    for (int coder = SQZ_CODER_HUFFMAN; coder <= SQZ_CODER_RANGE; coder++) {
        struct sqz_buffer file = encode(model, (enum sqz_coder)coder, SQZ_BIAS_FP16);
        struct sqz_model *back = decode(&file);
        const float *after = weight_values(back, 0);
        for (int i = 0; i < N; i++) ck_assert_msg((after[i] == 0) == (values[i] == 0), "weight %d is %g", i, after[i]);
        sqz_model_free(back);
        sqz_buffer_free(&file);
    }
    sqz_model_free(model);
}
END_TEST

/*
 * Layers with fewer distinct values than clusters crashed tools or collapsed; and where they worked, the file still
 * held all 256 entries. Codebooks of 3, 1 and 0 entries are what the report shows.
 */
START_TEST(short_codebooks_are_short_in_the_file) {
    float values[300];
    static const float three[] = {-0.5f, 0.25f, 1}, one[] = {0.7f};
    for (int i = 0; i < 300; i++) values[i] = three[i % 3];
    struct chain_layer layers[] = {
        {"three", SQZ_OP_CONV, 300, values}, {"one", SQZ_OP_CONV, 1, one}, {"zeros", SQZ_OP_CONV, 200, NULL}};
    struct sqz_model *model = fan_model(layers, 3);
    share(model, 8);
    expect_lossless(model);
    struct sqz_buffer file = encode(model, SQZ_CODER_AUTO, SQZ_BIAS_FP16);
    struct sqz_tensor_stats stats[6];
    struct sqz_ledger ledger = ledger_of(&file, stats);
    ck_assert_uint_le(ledger.codebook_nbytes, 4 * sizeof(float) + 3);
    /* A third of 300 times log2(3) bits, and a few bytes for each of the others. */
    ck_assert_uint_le(stats[0].section_nbytes, 85);
    ck_assert_uint_le(stats[2].section_nbytes, 16);
    ck_assert_uint_le(stats[4].section_nbytes, 12);
    ck_assert(stats[0].weight_bits == 2 && stats[2].weight_bits == 0 && stats[4].nonzero == 0);
    sqz_buffer_free(&file);
    sqz_model_free(model);
}
END_TEST

/*
 * A code of a single symbol has no bits, and decoders gave nothing back for it; others took symbol 0 for "not a leaf".
 * One value everywhere, zeros, one weight, and a dense layer that uses the first of two values.
 */
START_TEST(single_symbols_come_back) {
    float same[100], two[100];
    for (int i = 0; i < 100; i++) {
        same[i] = 0.25f;
        two[i] = i % 3 ? -0.5f : 0.75f;
    }
    static const float one[] = {-3};
    struct chain_layer layers[] = {{"same", SQZ_OP_DENSE, 100, same},
                                   {"zeros", SQZ_OP_DENSE, 100, NULL},
                                   {"one", SQZ_OP_DENSE, 1, one},
                                   {"two", SQZ_OP_DENSE, 100, two}};
    for (size_t i = 0; i < 4; i++) {
        struct sqz_model *model = fan_model(&layers[i], 1);
        share(model, 5);
        expect_lossless(model);
        struct sqz_buffer file = encode(model, SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
        struct sqz_tensor_stats stats[2];
        struct sqz_ledger ledger = ledger_of(&file, stats);
        if (i < 3) ck_assert_uint_eq(ledger.value_nbytes + ledger.position_nbytes, 0);
        sqz_buffer_free(&file);
        sqz_model_free(model);
    }
}
END_TEST

/* The same through levels of a uniform grid, which people reach with calibrated rounding. */
START_TEST(single_levels_come_back) {
    static const int16_t levels[][4] = {{3, 3, 3, 3}, {0, 0, 0, 0}, {-8191, -8191, -8191, -8191}, {0, 8191, 0, -1}};
    for (size_t i = 0; i < 4; i++) {
        struct chain_layer layer = {"conv", SQZ_OP_CONV, 4, NULL};
        struct sqz_model *model = fan_model(&layer, 1);
        struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
        packed->kind = SQZ_LEVELS_UNIFORM;
        packed->n_levels = 4;
        packed->n_steps = 1;
        packed->levels = sqz_alloc(4, sizeof *packed->levels);
        packed->steps = sqz_alloc(1, sizeof *packed->steps);
        memcpy(packed->levels, levels[i], sizeof levels[i]);
        packed->steps[0] = 0.1f;
        sqz_free(model->weights[0].data);
        model->weights[0].data = NULL;
        model->weights[0].packed = packed;
        expect_lossless(model);
        sqz_model_free(model);
    }
}
END_TEST

/*
 * One global threshold emptied a layer of small weights, and the stages behind it failed on a layer without any.
 * Forced without a floor, the emptied layer must be shared, coded, decoded and run.
 */
START_TEST(an_emptied_layer_goes_all_the_way) {
    float large[90], small[20];
    fill_laplace(large, 90, 1, 3);
    fill_laplace(small, 20, 0.001, 4);
    struct chain_layer layers[] = {
        {"one", SQZ_OP_CONV, 1, large}, {"two", SQZ_OP_CONV, 1, small}, {"three", SQZ_OP_CONV, 1, large + 1}};
    struct sqz_model *model = chain_model(layers, 3);
    for (size_t i = 0; i < 3; i++)
        model->nodes[i + 1].params.conv.window = (struct sqz_window){1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
    for (size_t i = 0; i < 3; i++) model->nodes[i + 1].params.conv.groups = 1;
    model->output = 3;
    prune(model, 0.67, true, 0);
    ck_assert_uint_eq(count_zeros(weight_values(model, 2), 1), 1);
    share(model, 4);
    expect_lossless(model);
    struct sqz_buffer file = encode(model, SQZ_CODER_AUTO, SQZ_BIAS_FP32);
    struct sqz_model *back = decode(&file);
    struct sqz_session *session;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_session_new(back, NULL, &session, &err) == SQZ_OK, "%s", err.text);
    float input = 5, output = NAN;
    sqz_session_run(session, &input, 1, &output);
    /* Only the biases are left: 1e-9 of the second layer through the third, and its own. */
    ck_assert(fabsf(output - 1e-9f * (1 + large[1])) < 1e-12f);
    sqz_session_free(session);
    sqz_model_free(back);
    sqz_buffer_free(&file);
    sqz_model_free(model);
}
END_TEST

/*
 * Asked for 50%, a layer of shared values became 80% sparse because every tie went. A model that is pruned, shared and
 * pruned again is all ties: the count must be exact, and the same weights must go with any number of threads.
 */
START_TEST(ties_are_broken_alike_by_any_number_of_threads) {
    enum { N = 300000 };
    float *values = malloc(N * sizeof *values), *first = malloc(N * sizeof *first);
    for (int i = 0; i < N; i++) values[i] = (i * 5 + i / 100) % 11 < 7 ? (i % 2 ? 0.5f : -0.5f) : i % 3 ? 0.25f : 1;
    struct chain_layer layers[] = {{"a", SQZ_OP_CONV, N / 2, values}, {"b", SQZ_OP_DENSE, N / 2, values + N / 2}};
    static const int threads[] = {1, 3, 8};
    for (int global = 0; global < 2; global++)
        for (size_t t = 0; t < 3; t++) {
            struct sqz_model *model = fan_model(layers, 2);
            sqz_set_threads(threads[t]);
            share(model, 2);
            prune(model, 0.5, global, 1);
            float *now = malloc(N * sizeof *now);
            memcpy(now, weight_values(model, 0), N / 2 * sizeof *now);
            memcpy(now + N / 2, weight_values(model, 2), N / 2 * sizeof *now);
            ck_assert_uint_eq(count_zeros(now, N), N / 2);
            if (t == 0) memcpy(first, now, N * sizeof *now);
            ck_assert_int_eq(memcmp(first, now, N * sizeof *now), 0);
            ck_assert(weight_values(model, 1)[0] == 1e-9f);
            free(now);
            sqz_model_free(model);
        }
    sqz_set_threads(0);
    free(values);
    free(first);
}
END_TEST

/*
 * NaN went through every comparison and ended in a corrupt file; denormals were flushed to zero and counted as pruned.
 * A denormal is a weight like any other, -0.0 is a zero, and NaN is refused by the coder too.
 */
START_TEST(special_values_go_all_the_way_or_nowhere) {
    static const float values[] = {1e-40f, -0.0f, 0.5f, -1e-40f, 0, 0x1p-149f};
    struct chain_layer layer = {"conv", SQZ_OP_CONV, 6, values};
    struct sqz_model *model = fan_model(&layer, 1);
    share(model, 8);
    struct sqz_buffer file = encode(model, SQZ_CODER_AUTO, SQZ_BIAS_FP16);
    struct sqz_model *back = decode(&file);
    const float *after = weight_values(back, 0);
    for (int i = 0; i < 6; i++) ck_assert(after[i] == values[i]);
    struct sqz_tensor_stats stats[2];
    ledger_of(&file, stats);
    ck_assert_uint_eq(stats[0].nonzero, 4);
    sqz_model_free(back);
    sqz_buffer_free(&file);
    sqz_model_free(model);
    model = fan_model(&layer, 1); /* as floats: bit for bit, with the sign of zero */
    expect_lossless(model);
    model->weights[0].data[2] = NAN;
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_container_encode(model, NULL, &file, &err), SQZ_NONFINITE);
    ck_assert_ptr_nonnull(strstr(err.text, "holds NaN at index 2"));
    sqz_buffer_free(&file);
    sqz_model_free(model);
}
END_TEST

/*
 * A layer whose only value is 2, or 2 and -2, could be written and not be read: the bound on a codebook's entries was
 * rounded down. Every power of two, alone, with either sign and with a neighbour, as an entry and as a step.
 */
START_TEST(powers_of_two_are_shared_values) {
    sqz_set_threads(1); /* a thousand files of six weights */
    for (int exponent = -149; exponent <= 127; exponent++) {
        float power = ldexpf(1, exponent), values[3][2] = {{power, power}, {-power, power}, {-power, -power / 2}};
        struct chain_layer layers[] = {{"one", SQZ_OP_CONV, 2, values[0]},
                                       {"two", SQZ_OP_CONV, 2, values[1]},
                                       {"three", SQZ_OP_CONV, 2, values[2]}};
        struct sqz_model *model = fan_model(layers, exponent == -149 ? 2 : 3);
        share(model, 2);
        expect_lossless(model);
        struct sqz_packed *packed = model->weights[0].packed;
        if (exponent < 115) { /* 8191 steps must be finite */
            packed->kind = SQZ_LEVELS_UNIFORM;
            packed->n_codebook = 0;
            packed->n_steps = 1;
            packed->steps = packed->codebook;
            packed->codebook = NULL;
            expect_lossless(model);
        }
        sqz_model_free(model);
    }
}
END_TEST

/*
 * "Nothing got smaller": codebooks, indices and biases were left out of the ratio, and the reported size was not the
 * file's. Ten thousand weights: the parts add up to the file, and coding without lossy steps changes no bit.
 */
START_TEST(size_report_is_the_size) {
    enum { N = 10000 };
    float *values = malloc(N * sizeof *values);
    fill_laplace(values, N, 0.05, 12);
    struct chain_layer layer = {"conv", SQZ_OP_CONV, N, values};
    for (int stage = 0; stage < 3; stage++) {
        struct sqz_model *model = fan_model(&layer, 1);
        if (stage >= 1) prune(model, 0.3, false, 1);
        if (stage >= 2) share(model, 5);
        expect_lossless(model);
        struct sqz_buffer file = encode(model, SQZ_CODER_AUTO, SQZ_BIAS_FP16);
        struct sqz_tensor_stats stats[2];
        struct sqz_ledger ledger = ledger_of(&file, stats);
        ck_assert_uint_eq(ledger.header_nbytes + ledger.graph_nbytes + ledger.codebook_nbytes + ledger.table_nbytes +
                              ledger.value_nbytes + ledger.position_nbytes + ledger.bias_nbytes + ledger.float_nbytes,
                          file.nbytes);
        ck_assert_uint_eq(sqz_model_float_nbytes(model), 2 * N * sizeof(float));
        if (stage < 2)
            ck_assert_uint_gt(file.nbytes, N * sizeof(float)); /* zeros alone do not shrink floats */
        else
            ck_assert_uint_lt(file.nbytes - ledger.bias_nbytes, N * sizeof(float) / 12);
        sqz_buffer_free(&file);
        sqz_model_free(model);
    }
    free(values);
}
END_TEST

Suite *test_cases_compression(void);

Suite *test_cases_compression(void) {
    Suite *suite = suite_create("cases_compression");
    TCase *tc = tcase_create("cases");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, zeros_are_zeros_behind_the_decoder, 1, 9);
    tcase_add_test(tc, short_codebooks_are_short_in_the_file);
    tcase_add_test(tc, single_symbols_come_back);
    tcase_add_test(tc, single_levels_come_back);
    tcase_add_test(tc, an_emptied_layer_goes_all_the_way);
    tcase_add_test(tc, ties_are_broken_alike_by_any_number_of_threads);
    tcase_add_test(tc, special_values_go_all_the_way_or_nowhere);
    tcase_add_test(tc, powers_of_two_are_shared_values);
    tcase_add_test(tc, size_report_is_the_size);
    suite_add_tcase(suite, tc);
    return suite;
}
