/*
 * test_codebook_kernels.c - kernels on packed weights: against the reference loops, and bit for bit against the kernels
 * that compute the same from floats, whose order of additions they keep.
 */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/infer.h"
#include "lib/memory.h"
#include "lib/parallel.h"
#include "tests/unit/effort.h"
#include "tests/unit/kernel_problems.h"
#include "tests/unit/packed_samples.h"
#include "tests/unit/random_nets.h"
#include "tests/unit/session_tools.h"

/* ---- packed weights -------------------------------------------------------------------- */

static const uint32_t codebooks[] = {1, 2, 3, 5, 8, 16, 17, 32, 33, 64, 255, 256};
static const double densities[] = {0, 0.01, 0.3, 1};

/* Weights of about 1 / sqrt(fan_in): `n_codebook` values, a share `density` of the weights not zero. */
static struct sqz_packed *shared_weights(size_t count, size_t fan_in, uint32_t n_codebook, double density,
                                         uint64_t seed) {
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    uint64_t random = seed * 2 + 1;
    packed->kind = SQZ_LEVELS_CODEBOOK;
    packed->n_levels = count;
    packed->levels = sqz_alloc(count, sizeof *packed->levels);
    packed->n_codebook = density > 0 ? n_codebook : 0;
    packed->codebook = sqz_alloc(n_codebook, sizeof *packed->codebook);
    for (uint32_t i = 0; i < n_codebook; i++)
        packed->codebook[i] = ((float)i + 0.25f - (float)n_codebook / 2) / (float)n_codebook * 3 / sqrtf((float)fan_in);
    for (size_t i = 0; i < count; i++)
        packed->levels[i] =
            sample_unit(&random) < density ? (int16_t)(1 + sample_random(&random) % n_codebook) : (int16_t)0;
    return packed;
}

/* Whole numbers in [-most, most], times one step or one for each output channel. */
static struct sqz_packed *uniform_weights(size_t count, size_t fan_in, uint32_t n_steps, int most, uint64_t seed) {
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    uint64_t random = seed * 2 + 1;
    packed->kind = SQZ_LEVELS_UNIFORM;
    packed->n_levels = count;
    packed->levels = sqz_alloc(count, sizeof *packed->levels);
    packed->n_steps = n_steps;
    packed->steps = sqz_alloc(n_steps, sizeof *packed->steps);
    for (uint32_t i = 0; i < n_steps; i++)
        packed->steps[i] = (1 + 0.01f * (float)i) / (float)most / sqrtf((float)fan_in);
    for (size_t i = 0; i < count; i++)
        packed->levels[i] = (int16_t)((int)(sample_random(&random) % (uint64_t)(2 * most + 1)) - most);
    return packed;
}

/* ---- against the kernels for floats ------------------------------------------------------- */

static const struct sqz_kernel *kernel_named(const char *name, enum sqz_isa isa) {
    for (size_t i = 0; i < sqz_n_kernels; i++)
        if (sqz_kernels[i]->isa == isa && strncmp(sqz_kernels[i]->name, name, strlen(name)) == 0 &&
            sqz_kernels[i]->name[strlen(name)] == '_' && !strchr(sqz_kernels[i]->name + strlen(name) + 1, '_'))
            return sqz_kernels[i];
    return NULL;
}

static const char *const twins[][2] = {{"codebook_dense", "dense"},
                                       {"codebook_pointwise", "conv_pointwise"},
                                       {"codebook_direct", "conv_direct"},
                                       {"codebook_winograd", "conv_winograd"},
                                       {"codebook_winograd8", "conv_winograd8"}};

static void compare_twins(const struct kernel_problem *problem) {
    size_t n;
    ck_assert(sqz_shape_count(&problem->layer.out, &n));
    for (size_t t = 0; t < sizeof twins / sizeof *twins; t++)
        for (int isa = SQZ_ISA_AVX2; isa <= (int)sqz_isa_detect(); isa++) {
            if (!kernel_named("pool", (enum sqz_isa)isa)) continue; /* a level of other processors */
            const struct sqz_kernel *coded = kernel_named(twins[t][0], (enum sqz_isa)isa);
            const struct sqz_kernel *plain = kernel_named(twins[t][1], (enum sqz_isa)isa);
            ck_assert_ptr_nonnull(coded);
            ck_assert_ptr_nonnull(plain);
            float *got = run_kernel(coded, problem);
            if (!got) continue;
            float *wanted = run_kernel(plain, problem);
            for (size_t i = 0; i < n; i++)
                ck_assert_msg(got[i] == wanted[i], "%s with %zu values, output %zu of %zu: %.9g, but %.9g from floats",
                              coded->name, problem->layer.weights.n_values, i, n, (double)got[i], (double)wanted[i]);
            guarded_free(got);
            guarded_free(wanted);
        }
}

static void compare(struct kernel_problem *problem) {
    compare_kernels(problem);
    compare_twins(problem);
    kernel_problem_free(problem);
}

/* Takes over the packed weights [out][in]. */
static void try_dense(size_t in, size_t out, struct sqz_packed *packed, float high) {
    uint64_t random = in * 131 + out;
    struct kernel_problem problem = {.layer = {.n_inputs = 1, .has_bias = true, .low = -high, .high = high}};
    problem.in_shape[0] = sqz_shape2(1, in);
    kernel_problem_fill(&problem, SQZ_OP_DENSE, sqz_shape2(1, out));
    kernel_problem_pack(&problem, packed, out);
    problem.in[0] = random_guarded(in, 1, &random);
    problem.bias = random_guarded(out, 1, &random);
    compare(&problem);
}

START_TEST(dense_layers_of_few_values) {
    static const size_t features[] = {1, 3, 12, 13, 16, 17, 127};
    uint32_t n = codebooks[_i];
    for (size_t d = 0; d < 4; d++) {
        if (n == 256 && densities[d] < 1) continue; /* with zero that makes 257 */
        for (size_t i = 0; i < 7; i += EFFORT(1, 2))
            for (size_t o = 0; o < 7; o += EFFORT(1, 2)) {
                size_t in = features[i], out = features[o];
                try_dense(in, out, shared_weights(in * out, in, n, densities[d], i * 8 + o), o % 2 ? 0.5f : INFINITY);
            }
    }
    assert_taken("codebook_dense");
}
END_TEST

/* Every number of blocks of output that a panel can have. */
START_TEST(dense_layers_of_any_width) {
    for (size_t out = 1; out <= 300; out += 23) {
        try_dense(29, out, shared_weights(29 * out, 29, 32, 0.5, out), INFINITY);
        try_dense(130, out, uniform_weights(130 * out, 130, 1, 3, out), INFINITY);
        try_dense(130, out, uniform_weights(130 * out, 130, (uint32_t)out, 15, out), INFINITY);
        try_dense(7, out, uniform_weights(7 * out, 7, (uint32_t)out, 127, out), INFINITY);
    }
}
END_TEST

/* Takes over the packed weights. */
static void try_conv(size_t in_c, size_t out_c, size_t h, size_t w, struct sqz_window window, uint32_t groups,
                     struct sqz_packed *packed) {
    uint64_t random = in_c * 1003 + out_c * 109 + h * 31 + w;
    uint64_t out_h = sqz_window_output(h, window.kernel_h, window.stride_h, window.dilation_h, window.pad_top,
                                       window.pad_bottom, false);
    uint64_t out_w = sqz_window_output(w, window.kernel_w, window.stride_w, window.dilation_w, window.pad_left,
                                       window.pad_right, false);
    ck_assert(out_h > 0 && out_w > 0);
    struct kernel_problem problem = {.layer = {.n_inputs = 1, .has_bias = true, .low = 0, .high = INFINITY}};
    problem.in_shape[0] = sqz_shape4(1, in_c, h, w);
    problem.layer.params.conv.window = window;
    problem.layer.params.conv.groups = groups;
    kernel_problem_fill(&problem, SQZ_OP_CONV, sqz_shape4(1, out_c, out_h, out_w));
    kernel_problem_pack(&problem, packed, out_c);
    problem.in[0] = random_guarded(in_c * h * w, 1, &random);
    problem.bias = random_guarded(out_c, 1, &random);
    compare(&problem);
}

static const struct sqz_window windows[] = {
    {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, {5, 5, 1, 1, 1, 1, 2, 2, 2, 2},
    {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}, {1, 1, 2, 2, 1, 1, 0, 1, 1, 0}, {3, 2, 1, 4, 1, 1, 2, 0, 1, 0},
};
#define N_WINDOWS (sizeof windows / sizeof *windows)

START_TEST(convolutions_of_few_values) {
    static const size_t channels[][2] = {{1, 1},   {3, 64},   {12, 13},  {13, 12}, {16, 16},
                                         {17, 33}, {127, 17}, {17, 127}, {100, 40}};
    const struct sqz_window *window = &windows[_i];
    size_t taps = (size_t)window->kernel_h * window->kernel_w;
    for (size_t c = 0; c < sizeof channels / sizeof *channels; c++)
        for (size_t k = c % 2; k < sizeof codebooks / sizeof *codebooks; k += EFFORT(2, 6)) {
            size_t in = channels[c][0], out = channels[c][1], count = in * out * taps;
            double density = densities[1 + (c + k) % 3];
            if (codebooks[k] == 256) density = 1;
            try_conv(in, out, 13, 9, *window, 1, shared_weights(count, in * taps, codebooks[k], density, c * 12 + k));
        }
    try_conv(16, 32, 55, 29, *window, 1, uniform_weights(512 * taps, 16 * taps, 32, 31, 1));
    try_conv(33, 48, 2, 5, *window, 1, uniform_weights(33 * 48 * taps, 33 * taps, 1, 127, 2));
    try_conv(33, 48, 13, 13, *window, 1, shared_weights(33 * 48 * taps, 33 * taps, 16, 0, 3));
    /* Groups that end where panels end, and such that do not. */
    try_conv(32, 64, 7, 5, *window, 2, shared_weights(32 * 32 * taps, 16 * taps, 16, 1, 4));
    try_conv(96, 128, 7, 5, *window, 2, shared_weights(64 * 96 * taps, 48 * taps, 255, 0.5, 5));
    try_conv(12, 24, 7, 5, *window, 3, shared_weights(4 * 24 * taps, 4 * taps, 16, 1, 6));
    assert_taken("codebook_direct");
}
END_TEST

START_TEST(special_convolutions_of_few_values_are_taken) {
    try_conv(16, 32, 13, 13, windows[0], 1, shared_weights(512, 16, 8, 1, 1));
    try_conv(16, 32, 13, 13, windows[1], 1, shared_weights(512 * 9, 144, 8, 1, 1));
    assert_taken("codebook_pointwise");
    assert_taken("codebook_winograd");
    assert_taken("codebook_winograd8");
}
END_TEST

/* ---- whole sessions ----------------------------------------------------------------------- */

/* SqueezeNet's kinds of convolution on a small image, and two dense layers; all weights packed. */
static struct sqz_model *packed_net(void) {
    struct net net = net_new(3, 40, 36, 5);
    uint32_t at = net_conv(&net, 0, 3, 32, square_window(3, 2, 0), 1);
    at = net_conv(&net, at, 32, 48, square_window(3, 1, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_conv(&net, at, 48, 40, square_window(1, 1, 0), 1);
    at = net_conv(&net, at, 40, 32, square_window(3, 2, 1), 1);
    at = net_dense(&net, at, 32 * 10 * 9, 200);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_dense(&net, at, 200, 10);
    net.model->output = at;
    for (size_t i = 0; i < net.model->n_weights; i++) {
        struct sqz_weight *weight = &net.model->weights[i];
        if (weight->role != SQZ_ROLE_KERNEL) continue;
        size_t fan_in = weight->count / (size_t)weight->shape.dim[0];
        sqz_free(weight->data);
        weight->data = NULL;
        weight->packed = shared_weights(weight->count, fan_in, i % 3 ? 32 : 200, 0.7, i);
    }
    return net.model;
}

static struct sqz_session *session_with(const struct sqz_model *model, uint32_t max_batch, enum sqz_engine engine,
                                        enum sqz_resident resident) {
    const struct sqz_session_options options = {.max_batch = max_batch, .engine = engine, .resident = resident};
    struct sqz_session *session;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_session_new(model, &options, &session, &err) == SQZ_OK, "%s", err.text);
    return session;
}

/* One image's result is the same bits for any number of threads and of images beside it. */
START_TEST(threads_and_batches_agree) {
    struct sqz_model *model = packed_net();
    setenv("SQZ_CPU", levels[_i], 1);
    sqz_set_threads(1);
    struct sqz_session *one = session_with(model, 1, SQZ_ENGINE_CODEBOOK, SQZ_RESIDENT_PACKED);
    struct sqz_session *dense = session_with(model, 5, SQZ_ENGINE_DENSE, SQZ_RESIDENT_AUTO);
    size_t count = sqz_session_output_count(one), input_count = sqz_session_input_count(one);
    float *input = random_input(one, 5, 3), *plain = run_images(dense, input, 5);
    float *wanted = malloc(5 * count * sizeof *wanted);
    for (size_t i = 0; i < 5; i++) sqz_session_run(one, input + i * input_count, 1, wanted + i * count);
    /* The engine on floats may have chosen another method for a convolution. */
    for (size_t i = 0; i < 5 * count; i++) ck_assert_float_eq_tol(plain[i], wanted[i], 1e-4f);
    for (int threads = 1; threads <= 3; threads++)
        for (uint32_t batch = 1; batch <= 5; batch += 2) {
            sqz_set_threads(threads);
            struct sqz_session *coded = session_with(model, batch, SQZ_ENGINE_CODEBOOK, SQZ_RESIDENT_PACKED);
            for (size_t i = 0; i + batch <= 5; i += batch) {
                float *got = run_images(coded, input + i * input_count, batch);
                ck_assert_mem_eq(got, wanted + i * count, batch * count * sizeof *got);
                free(got);
            }
            sqz_session_free(coded);
        }
    sqz_set_threads(0);
    sqz_session_free(one);
    sqz_session_free(dense);
    free(input);
    free(plain);
    free(wanted);
    sqz_model_free(model);
    unsetenv("SQZ_CPU");
}
END_TEST

static bool has_form(const struct sqz_session *session, const char *prefix) {
    for (size_t i = 0; i < sqz_session_step_count(session); i++) {
        struct sqz_step_report report;
        sqz_session_step(session, i, &report);
        if (strncmp(report.kernel, prefix, strlen(prefix)) == 0) return true;
    }
    return false;
}

START_TEST(options_choose_form_and_residence) {
    if (sqz_isa_detect() == SQZ_ISA_SCALAR) return;
    struct sqz_model *model = packed_net();
    static const enum sqz_engine engines[] = {SQZ_ENGINE_AUTO, SQZ_ENGINE_DENSE, SQZ_ENGINE_CODEBOOK};
    size_t nbytes[3][SQZ_N_RESIDENTS];
    for (int e = 0; e < 3; e++)
        for (int r = 0; r < SQZ_N_RESIDENTS; r++) {
            struct sqz_session *session = session_with(model, 1, engines[e], (enum sqz_resident)r);
            nbytes[e][r] = sqz_session_weight_nbytes(session);
            bool coded = has_form(session, "codebook_");
            if (engines[e] == SQZ_ENGINE_DENSE || r == SQZ_RESIDENT_DENSE) ck_assert(!coded);
            if (engines[e] == SQZ_ENGINE_CODEBOOK && r != SQZ_RESIDENT_DENSE) ck_assert(coded);
            if (r == SQZ_RESIDENT_PACKED && engines[e] != SQZ_ENGINE_DENSE) ck_assert(coded);
            sqz_session_free(session);
        }
    ck_assert_uint_le(nbytes[0][SQZ_RESIDENT_PACKED], nbytes[0][SQZ_RESIDENT_AUTO]);
    ck_assert_uint_lt(2 * nbytes[0][SQZ_RESIDENT_PACKED], nbytes[1][SQZ_RESIDENT_AUTO]);
    struct sqz_session *session = session_with(model, 1, SQZ_ENGINE_REFERENCE, SQZ_RESIDENT_AUTO);
    ck_assert(has_form(session, "reference_scalar"));
    ck_assert(!has_form(session, "conv_") && !has_form(session, "dense_") && !has_form(session, "codebook_"));
    sqz_session_free(session);
    sqz_model_free(model);
}
END_TEST

START_TEST(names_are_read_back) {
    for (int i = 0; i < SQZ_N_ENGINES; i++) {
        enum sqz_engine engine = SQZ_N_ENGINES;
        ck_assert(sqz_engine_by_name(sqz_engine_name((enum sqz_engine)i), &engine));
        ck_assert_int_eq(engine, i);
    }
    for (int i = 0; i < SQZ_N_RESIDENTS; i++) {
        enum sqz_resident resident = SQZ_N_RESIDENTS;
        ck_assert(sqz_resident_by_name(sqz_resident_name((enum sqz_resident)i), &resident));
        ck_assert_int_eq(resident, i);
    }
    enum sqz_engine engine;
    enum sqz_resident resident;
    ck_assert(!sqz_engine_by_name("fast", &engine));
    ck_assert(!sqz_resident_by_name("", &resident));
}
END_TEST

/* The steps tell what a layer costs; with a profile also how long it took. */
START_TEST(steps_report_work_and_time) {
    struct sqz_model *model = packed_net();
    struct sqz_session_options options = {.profile = true};
    struct sqz_session *session;
    ck_assert_int_eq(sqz_session_new(model, &options, &session, NULL), SQZ_OK);
    float *input = random_input(session, 1, 1);
    free(run_images(session, input, 1));
    double seconds = 0, operations = 0;
    size_t nbytes = 0;
    struct sqz_step_report report;
    for (size_t i = 0; i < sqz_session_step_count(session); i++) {
        sqz_session_step(session, i, &report);
        ck_assert(report.layer && report.op && report.kernel && report.reason);
        seconds += report.seconds;
        nbytes += report.weight_nbytes;
        if (strcmp(report.op, "Conv") == 0 || strcmp(report.op, "Dense") == 0) {
            operations += report.operations;
            ck_assert(report.density > 0.5 && report.density < 0.9);
        }
    }
    /* 19x17 of 3x3x3 x 32, 19x17 of 3x3x32 x 48, 19x17 of 48 x 40, 10x9 of 3x3x40 x 32, 2880 x 200, 200 x 10 */
    double wanted = 323.0 * 27 * 32 + 323.0 * 288 * 48 + 323.0 * 48 * 40 + 90.0 * 360 * 32 + 2880 * 200 + 2000;
    ck_assert_double_eq(operations, 2 * wanted);
    ck_assert_double_gt(seconds, 0);
    ck_assert_uint_eq(nbytes, sqz_session_weight_nbytes(session));
    sqz_session_reset_profile(session);
    sqz_session_step(session, 0, &report);
    ck_assert_double_eq(report.seconds, 0);
    free(input);
    sqz_session_free(session);
    sqz_model_free(model);
}
END_TEST

Suite *test_codebook_kernels(void) {
    Suite *suite = suite_create("codebook_kernels");
    TCase *tcase = tcase_create("codebook_kernels");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, dense_layers_of_few_values, 0, sizeof codebooks / sizeof *codebooks);
    tcase_add_test(tcase, dense_layers_of_any_width);
    tcase_add_loop_test(tcase, convolutions_of_few_values, 0, N_WINDOWS);
    tcase_add_test(tcase, special_convolutions_of_few_values_are_taken);
    tcase_add_loop_test(tcase, threads_and_batches_agree, 0, N_LEVELS);
    tcase_add_test(tcase, options_choose_form_and_residence);
    tcase_add_test(tcase, names_are_read_back);
    tcase_add_test(tcase, steps_report_work_and_time);
    suite_add_tcase(suite, tcase);
    return suite;
}
