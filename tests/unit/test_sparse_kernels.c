/* test_sparse_kernels.c - kernels on what pruning left of the weights, against the reference loops. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/weight_facts.h"
#include "lib/infer.h"
#include "lib/memory.h"
#include "lib/parallel.h"
#include "tests/unit/effort.h"
#include "tests/unit/kernel_problems.h"
#include "tests/unit/random_nets.h"
#include "tests/unit/session_tools.h"

static const double densities[] = {0, 0.01, 0.3, 0.9, 1};

/* Set all but a share of the weights to zero. */
static void prune(float *weights, size_t n, double density, uint64_t *random) {
    for (size_t i = 0; i < n; i++)
        if (((double)random_unit(random) + 1) / 2 >= density) weights[i] = 0;
}

static void try_conv(size_t in_c, size_t out_c, size_t h, size_t w, struct sqz_window window, uint32_t groups,
                     double density) {
    uint64_t random = in_c * 1003 + out_c * 109 + h * 31 + w;
    uint64_t out_h = sqz_window_output(h, window.kernel_h, window.stride_h, window.dilation_h, window.pad_top,
                                       window.pad_bottom, false);
    uint64_t out_w = sqz_window_output(w, window.kernel_w, window.stride_w, window.dilation_w, window.pad_left,
                                       window.pad_right, false);
    if (out_h == 0 || out_w == 0) return;
    size_t fan_in = in_c / groups * window.kernel_h * window.kernel_w, count = out_c * fan_in;
    struct kernel_problem problem = {.layer = {.n_inputs = 1, .has_bias = true, .low = -1, .high = INFINITY}};
    problem.in_shape[0] = sqz_shape4(1, in_c, h, w);
    problem.layer.params.conv.window = window;
    problem.layer.params.conv.groups = groups;
    kernel_problem_fill(&problem, SQZ_OP_CONV, sqz_shape4(1, out_c, out_h, out_w));
    problem.in[0] = random_guarded(in_c * h * w, 1, &random);
    problem.kernel = random_guarded(count, 1.7f / sqrtf((float)fan_in), &random);
    problem.bias = random_guarded(out_c, 1, &random);
    prune(problem.kernel, count, density, &random);
    problem.layer.weights = sqz_weight_facts_of(&(struct sqz_weight){.count = count, .data = problem.kernel});
    compare_kernels(&problem);
    kernel_problem_free(&problem);
}

static const struct sqz_window windows[] = {
    {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, {3, 3, 1, 1, 1, 1, 0, 2, 1, 0},
    {5, 5, 1, 1, 1, 1, 2, 2, 2, 2}, {3, 2, 1, 1, 2, 3, 2, 0, 1, 4}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
};
#define N_WINDOWS (sizeof windows / sizeof *windows)

START_TEST(pruned_convolutions_equal_the_reference) {
    static const size_t channels[][2] = {{1, 1},   {3, 64},   {12, 13},  {13, 12}, {16, 16},
                                         {17, 33}, {127, 17}, {17, 127}, {200, 70}};
    static const size_t sizes[][2] = {{1, 1}, {2, 13}, {13, 13}, {13, 2}, {7, 31}};
    for (size_t c = (size_t)_i % EFFORT(1, 3); c < sizeof channels / sizeof *channels; c += EFFORT(1, 3))
        for (size_t d = 0; d < sizeof densities / sizeof *densities; d++) {
            size_t s = (c + d) % 5;
            try_conv(channels[c][0], channels[c][1], sizes[s][0], sizes[s][1], windows[_i], 1, densities[d]);
        }
    try_conv(16, 20, 55, 55, windows[_i], 1, 0.2);
    try_conv(3, 5, 224, 61, windows[_i], 1, 0.2);
    try_conv(48, 96, 13, 7, windows[_i], 3, 0.5);
    try_conv(26, 34, 5, 7, windows[_i], 2, 0.5);
    try_conv(17, 17, 13, 7, windows[_i], 17, 0.5);
    assert_taken("sparse_conv");
}
END_TEST

/* With every weight there, or a stride, it has nothing to win. */
START_TEST(dense_and_strided_layers_are_declined) {
    struct sqz_shape in = sqz_shape4(1, 16, 9, 9);
    struct sqz_layer layer = {.op = SQZ_OP_CONV, .n_inputs = 1, .in = &in, .out = sqz_shape4(1, 16, 9, 9)};
    layer.params.conv.window = windows[0];
    layer.params.conv.groups = 1;
    for (size_t i = 0; i < sqz_n_kernels; i++) {
        if (sqz_kernels[i]->form != SQZ_FORM_SPARSE) continue;
        struct sqz_layer tried = layer;
        tried.weights = (struct sqz_weight_facts){.n_nonzero = 128, .density = 0.5};
        sqz_layer_set_sizes(&tried);
        ck_assert(sqz_kernels[i]->prepare(&tried));
        tried = layer;
        tried.weights = (struct sqz_weight_facts){.n_nonzero = 256, .density = 1};
        sqz_layer_set_sizes(&tried);
        ck_assert(!sqz_kernels[i]->prepare(&tried));
        tried = layer;
        tried.out = sqz_shape4(1, 16, 5, 5);
        tried.params.conv.window.stride_h = tried.params.conv.window.stride_w = 2;
        tried.weights = (struct sqz_weight_facts){.n_nonzero = 128, .density = 0.5};
        sqz_layer_set_sizes(&tried);
        ck_assert(!sqz_kernels[i]->prepare(&tried));
    }
}
END_TEST

/* ---- whole sessions ------------------------------------------------------------------------ */

static struct sqz_model *pruned_net(double density) {
    struct net net = net_new(3, 40, 36, 5);
    uint32_t at = net_conv(&net, 0, 3, 32, square_window(3, 2, 0), 1);
    at = net_conv(&net, at, 32, 64, square_window(3, 1, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_conv(&net, at, 64, 100, square_window(1, 1, 0), 1);
    at = net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, &at, 1);
    net.model->output = net_dense(&net, at, 100, 10);
    uint64_t random = 7;
    for (size_t i = 0; i < net.model->n_weights; i++)
        if (net.model->weights[i].role == SQZ_ROLE_KERNEL)
            prune(net.model->weights[i].data, net.model->weights[i].count, density, &random);
    return net.model;
}

static size_t sparse_steps(const struct sqz_session *session) {
    size_t n = 0;
    for (size_t i = 0; i < sqz_session_step_count(session); i++) {
        struct sqz_step_report report;
        sqz_session_step(session, i, &report);
        n += strncmp(report.kernel, "sparse_", 7) == 0;
    }
    return n;
}

static struct sqz_session *session_with(const struct sqz_model *model, uint32_t max_batch, enum sqz_engine engine) {
    const struct sqz_session_options options = {.max_batch = max_batch, .engine = engine};
    struct sqz_session *session;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_session_new(model, &options, &session, &err) == SQZ_OK, "%s", err.text);
    return session;
}

/* The engine takes a kernel for what is left only far below break-even by itself, and always when told to. */
START_TEST(density_decides) {
    if (sqz_isa_detect() == SQZ_ISA_SCALAR) return;
    static const struct {
        double density;
        size_t automatic, asked;
    } cases[] = {{0.02, 2, 2}, {0.9, 0, 2}, {1, 0, 0}};
    for (size_t i = 0; i < 3; i++) {
        struct sqz_model *model = pruned_net(cases[i].density);
        struct sqz_session *session = session_with(model, 1, SQZ_ENGINE_AUTO);
        ck_assert_uint_eq(sparse_steps(session), cases[i].automatic);
        sqz_session_free(session);
        session = session_with(model, 1, SQZ_ENGINE_SPARSE);
        ck_assert_uint_eq(sparse_steps(session), cases[i].asked);
        sqz_session_free(session);
        session = session_with(model, 1, SQZ_ENGINE_DENSE);
        ck_assert_uint_eq(sparse_steps(session), 0);
        sqz_session_free(session);
        sqz_model_free(model);
    }
}
END_TEST

/* One image's result is the same bits for any number of threads and of images beside it. */
START_TEST(threads_and_batches_agree) {
    struct sqz_model *model = pruned_net(0.2);
    setenv("SQZ_CPU", levels[_i], 1);
    sqz_set_threads(1);
    struct sqz_session *one = session_with(model, 1, SQZ_ENGINE_SPARSE);
    struct sqz_session *reference = session_with(model, 4, SQZ_ENGINE_REFERENCE);
    size_t count = sqz_session_output_count(one), input_count = sqz_session_input_count(one);
    float *input = random_input(one, 4, 3), *plain = run_images(reference, input, 4);
    float *wanted = malloc(4 * count * sizeof *wanted);
    for (size_t i = 0; i < 4; i++) sqz_session_run(one, input + i * input_count, 1, wanted + i * count);
    for (size_t i = 0; i < 4 * count; i++) ck_assert_float_eq_tol(plain[i], wanted[i], 2e-5f);
    for (int threads = 1; threads <= 3; threads++) {
        sqz_set_threads(threads);
        struct sqz_session *session = session_with(model, 4, SQZ_ENGINE_SPARSE);
        float *got = run_images(session, input, 4);
        ck_assert_mem_eq(got, wanted, 4 * count * sizeof *got);
        free(got);
        sqz_session_free(session);
    }
    sqz_set_threads(0);
    sqz_session_free(one);
    sqz_session_free(reference);
    free(input);
    free(plain);
    free(wanted);
    sqz_model_free(model);
    unsetenv("SQZ_CPU");
}
END_TEST

Suite *test_sparse_kernels(void) {
    Suite *suite = suite_create("sparse_kernels");
    TCase *tcase = tcase_create("sparse_kernels");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, pruned_convolutions_equal_the_reference, 0, N_WINDOWS);
    tcase_add_test(tcase, dense_and_strided_layers_are_declined);
    tcase_add_test(tcase, density_decides);
    tcase_add_loop_test(tcase, threads_and_batches_agree, 0, N_LEVELS);
    suite_add_tcase(suite, tcase);
    return suite;
}
