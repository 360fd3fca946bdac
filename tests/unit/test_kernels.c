/* test_kernels.c - every kernel of the list that takes float weights against the reference loops, over awkward shapes.
 */
#include <check.h>
#include <math.h>
#include <string.h>

#include "lib/infer.h"
#include "tests/unit/effort.h"
#include "tests/unit/kernel_problems.h"

/* ---- convolutions ---------------------------------------------------------------------- */

/* Multiplications that the reference loops do in a few milliseconds, also under the sanitizers. */
#define MOST_WORK 4000000

static void try_conv(size_t in_c, size_t out_c, size_t h, size_t w, struct sqz_window window, uint32_t groups) {
    uint64_t random = in_c * 1000003 + out_c * 1009 + h * 31 + w;
    uint64_t out_h = sqz_window_output(h, window.kernel_h, window.stride_h, window.dilation_h, window.pad_top,
                                       window.pad_bottom, false);
    uint64_t out_w = sqz_window_output(w, window.kernel_w, window.stride_w, window.dilation_w, window.pad_left,
                                       window.pad_right, false);
    if (out_h == 0 || out_w == 0 || in_c % groups || out_c % groups) return;
    size_t work = out_c * (in_c / groups) * window.kernel_h * window.kernel_w * (size_t)(out_h * out_w);
    if (work > MOST_WORK) return;
    struct kernel_problem problem = {.layer = {.n_inputs = 1, .has_bias = true, .low = -INFINITY, .high = INFINITY}};
    size_t fan_in = in_c / groups * window.kernel_h * window.kernel_w;
    problem.in_shape[0] = sqz_shape4(1, in_c, h, w);
    problem.layer.params.conv.window = window;
    problem.layer.params.conv.groups = groups;
    kernel_problem_fill(&problem, SQZ_OP_CONV, sqz_shape4(1, out_c, out_h, out_w));
    problem.in[0] = random_guarded(in_c * h * w, 1, &random);
    problem.kernel = random_guarded(out_c * fan_in, 1.7f / sqrtf((float)fan_in), &random);
    problem.bias = random_guarded(out_c, 1, &random);
    compare_kernels(&problem);
    if (h * w < 100) { /* a fused clip, and no bias */
        problem.layer.low = 0;
        problem.layer.high = 0.5f;
        guarded_free(problem.bias);
        problem.bias = NULL;
        compare_kernels(&problem);
    }
    kernel_problem_free(&problem);
}

static const struct sqz_window windows[] = {
    {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},   {1, 1, 2, 2, 1, 1, 0, 0, 0, 0},
    {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, {3, 3, 1, 1, 1, 1, 0, 0, 0, 0},   {3, 3, 1, 1, 1, 1, 0, 2, 1, 0},
    {3, 3, 2, 2, 1, 1, 0, 0, 1, 1}, {3, 3, 1, 1, 2, 2, 2, 2, 2, 2},   {3, 3, 2, 1, 1, 3, 1, 3, 0, 2},
    {5, 5, 1, 1, 1, 1, 2, 2, 2, 2}, {11, 11, 4, 4, 1, 1, 2, 2, 2, 2}, {1, 3, 1, 4, 1, 1, 0, 1, 0, 1},
    {3, 1, 4, 1, 1, 1, 2, 0, 1, 0}, {2, 2, 2, 2, 1, 1, 0, 0, 0, 0},   {7, 7, 2, 2, 1, 1, 3, 3, 3, 3},
    {5, 5, 1, 1, 1, 1, 4, 0, 1, 3}, {5, 5, 1, 1, 1, 1, 0, 0, 0, 0},
};
#define N_WINDOWS (sizeof windows / sizeof *windows)

static const size_t channel_pairs[][2] = {{1, 1},   {3, 64},   {4, 17},   {12, 13}, {13, 12},
                                          {16, 16}, {17, 127}, {127, 17}, {32, 48}};
static const size_t sizes[][2] = {{1, 1}, {2, 13}, {13, 13}, {13, 2}};

START_TEST(convolutions_equal_the_reference) {
    const struct sqz_window *window = &windows[_i];
    for (size_t c = (size_t)_i % EFFORT(1, 2); c < sizeof channel_pairs / sizeof *channel_pairs; c += EFFORT(1, 2))
        for (size_t s = c / 2 % EFFORT(1, 2); s < sizeof sizes / sizeof *sizes; s += EFFORT(1, 2))
            try_conv(channel_pairs[c][0], channel_pairs[c][1], sizes[s][0], sizes[s][1], *window, 1);
    if (window->stride_h > EFFORT(1, 2)) try_conv(3, 16, 224, 224, *window, 1); /* a first layer */
    try_conv(3, 16, 55, 55, *window, 1);
    try_conv(16, 3, 55, 29, *window, 1);
    assert_taken("conv_direct");
    assert_taken("conv_image");
}
END_TEST

START_TEST(grouped_convolutions_equal_the_reference) {
    const struct sqz_window *window = &windows[_i];
    static const size_t cases[][3] = {/* in, out, groups */
                                      {2, 4, 2},    {4, 2, 2},       {12, 12, 3},  {26, 34, 2}, {32, 32, 2},
                                      {48, 96, 3},  {64, 16, 4},     {40, 40, 10}, {3, 3, 3},   {16, 16, 16},
                                      {17, 17, 17}, {127, 127, 127}, {17, 34, 17}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        try_conv(cases[i][0], cases[i][1], 13, 7, *window, (uint32_t)cases[i][2]);
        try_conv(cases[i][0], cases[i][1], 2, 1, *window, (uint32_t)cases[i][2]);
    }
    assert_taken("conv_depthwise");
}
END_TEST

START_TEST(special_convolutions_are_taken) {
    try_conv(16, 32, 13, 13, windows[0], 1);
    try_conv(16, 32, 13, 13, windows[3], 1);
    assert_taken("conv_pointwise");
    assert_taken("conv_winograd");
    assert_taken("conv_winograd8");
    assert_taken("reference");
}
END_TEST

/* A convolution and the maximum pooling behind it, in one kernel, against the two of the reference. */
static void try_conv_pool(size_t in_c, size_t out_c, size_t h, size_t w, struct sqz_window window,
                          struct sqz_window pool, bool ceil_mode) {
    uint64_t random = h * 100 + w;
    uint64_t conv_h =
        sqz_window_output(h, window.kernel_h, window.stride_h, 1, window.pad_top, window.pad_bottom, false);
    uint64_t conv_w =
        sqz_window_output(w, window.kernel_w, window.stride_w, 1, window.pad_left, window.pad_right, false);
    uint64_t out_h =
        sqz_window_output(conv_h, pool.kernel_h, pool.stride_h, 1, pool.pad_top, pool.pad_bottom, ceil_mode);
    uint64_t out_w =
        sqz_window_output(conv_w, pool.kernel_w, pool.stride_w, 1, pool.pad_left, pool.pad_right, ceil_mode);
    if (out_h == 0 || out_w == 0) return;
    struct kernel_problem conv = {.layer = {.n_inputs = 1, .has_bias = true, .low = 0, .high = INFINITY}};
    struct kernel_problem pooling = {.layer = {.n_inputs = 1}};
    size_t fan_in = in_c * window.kernel_h * window.kernel_w;
    conv.in_shape[0] = sqz_shape4(1, in_c, h, w);
    conv.layer.params.conv.window = window;
    conv.layer.params.conv.groups = 1;
    kernel_problem_fill(&conv, SQZ_OP_CONV, sqz_shape4(1, out_c, conv_h, conv_w));
    conv.in[0] = random_guarded(in_c * h * w, 1, &random);
    conv.kernel = random_guarded(out_c * fan_in, 1.7f / sqrtf((float)fan_in), &random);
    conv.bias = random_guarded(out_c, 1, &random);
    pooling.in_shape[0] = conv.layer.out;
    pooling.layer.params.pool.window = pool;
    pooling.layer.params.pool.ceil_mode = ceil_mode;
    kernel_problem_fill(&pooling, SQZ_OP_MAX_POOL, sqz_shape4(1, out_c, out_h, out_w));
    pooling.in[0] = run_kernel(&sqz_kernel_reference_scalar, &conv);
    float *wanted = run_kernel(&sqz_kernel_reference_scalar, &pooling);
    conv.layer.pooled = true;
    conv.layer.pool = pool;
    conv.layer.out = pooling.layer.out;
    conv.layer.out_h = out_h;
    conv.layer.out_w = out_w;
    compare_kernels_with(&conv, wanted);
    kernel_problem_free(&conv);
    kernel_problem_free(&pooling);
}

START_TEST(convolutions_with_pooling_equal_the_reference) {
    static const struct sqz_window convs[] = {
        {3, 3, 2, 2, 1, 1, 0, 0, 0, 0}, {3, 3, 1, 1, 1, 1, 1, 0, 1, 2}, {11, 11, 4, 4, 1, 1, 2, 2, 2, 2}};
    static const struct sqz_window pools[] = {{3, 3, 2, 2, 1, 1, 0, 0, 0, 0},
                                              {2, 2, 2, 2, 1, 1, 0, 0, 0, 0},
                                              {3, 3, 2, 2, 1, 1, 1, 1, 1, 1},
                                              {2, 2, 3, 3, 1, 1, 0, 0, 0, 0},
                                              {8, 1, 1, 1, 1, 1, 4, 0, 4, 0}};
    for (size_t c = 0; c < 3; c++)
        for (size_t p = 0; p < 5; p++)
            for (int ceil_mode = 0; ceil_mode < 2; ceil_mode++) {
                try_conv_pool(3, 64, 29, 33, convs[c], pools[p], ceil_mode);
                try_conv_pool(1, 17, 13, 12, convs[c], pools[p], ceil_mode);
                try_conv_pool(4, 5, 55, 14, convs[c], pools[p], ceil_mode);
            }
    assert_taken("conv_image_pool");
}
END_TEST

/* ---- dense ----------------------------------------------------------------------------------- */

START_TEST(dense_layers_equal_the_reference) {
    static const size_t features[] = {1, 3, 12, 13, 16, 17, 127, 400};
    for (size_t i = 0; i < 8; i++)
        for (size_t o = 0; o < 8; o++) {
            uint64_t random = i * 8 + o;
            size_t in = features[i], out = features[o];
            struct kernel_problem problem = {
                .layer = {.n_inputs = 1, .has_bias = true, .low = -INFINITY, .high = INFINITY}};
            problem.in_shape[0] = sqz_shape2(1, in);
            kernel_problem_fill(&problem, SQZ_OP_DENSE, sqz_shape2(1, out));
            problem.in[0] = random_guarded(in, 1, &random);
            problem.kernel = random_guarded(in * out, 1.7f / sqrtf((float)in), &random);
            problem.bias = random_guarded(out, 1, &random);
            compare_kernels(&problem);
            kernel_problem_free(&problem);
        }
    assert_taken("dense");
}
END_TEST

/* ---- pooling, LRN, element by element ------------------------------------------------------------ */

static void try_pool(enum sqz_op op, size_t c, size_t h, size_t w, struct sqz_window window, bool ceil_mode,
                     enum sqz_divisor divisor) {
    uint64_t random = c + h + w;
    struct kernel_problem problem = {.layer = {.n_inputs = 1}};
    uint64_t out_h = 1, out_w = 1;
    if (op != SQZ_OP_GLOBAL_AVERAGE_POOL) {
        out_h = sqz_window_output(h, window.kernel_h, window.stride_h, window.dilation_h, window.pad_top,
                                  window.pad_bottom, ceil_mode);
        out_w = sqz_window_output(w, window.kernel_w, window.stride_w, window.dilation_w, window.pad_left,
                                  window.pad_right, ceil_mode);
    }
    if (out_h == 0 || out_w == 0) return;
    problem.in_shape[0] = sqz_shape4(1, c, h, w);
    problem.layer.params.pool.window = window;
    problem.layer.params.pool.ceil_mode = ceil_mode;
    problem.layer.params.pool.divisor = divisor;
    kernel_problem_fill(&problem, op, sqz_shape4(1, c, out_h, out_w));
    problem.in[0] = random_guarded(c * h * w, 1, &random);
    compare_kernels(&problem);
    kernel_problem_free(&problem);
}

START_TEST(pooling_equals_the_reference) {
    static const struct sqz_window pools[] = {{3, 3, 2, 2, 1, 1, 0, 0, 0, 0}, {2, 2, 2, 2, 1, 1, 0, 0, 0, 0},
                                              {3, 3, 2, 2, 1, 1, 1, 1, 1, 1}, {2, 3, 1, 2, 1, 1, 0, 1, 1, 0},
                                              {3, 3, 1, 1, 2, 2, 1, 1, 1, 1}, {2, 2, 3, 3, 1, 1, 0, 0, 0, 0}};
    static const size_t channels[] = {1, 12, 16, 17, 127};
    for (size_t i = 0; i < 6; i++)
        for (size_t c = 0; c < 5; c++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                for (int ceil_mode = 0; ceil_mode < 2; ceil_mode++) {
                    size_t h = sizes[s][0], w = sizes[s][1];
                    try_pool(SQZ_OP_MAX_POOL, channels[c], h, w, pools[i], ceil_mode, SQZ_DIVISOR_VALID);
                    for (int d = SQZ_DIVISOR_VALID; d <= SQZ_DIVISOR_KERNEL; d++)
                        try_pool(SQZ_OP_AVERAGE_POOL, channels[c], h, w, pools[i], ceil_mode, (enum sqz_divisor)d);
                    try_pool(SQZ_OP_GLOBAL_AVERAGE_POOL, channels[c], h, w, pools[i], false, SQZ_DIVISOR_VALID);
                }
    assert_taken("pool");
}
END_TEST

START_TEST(lrn_equals_the_reference) {
    static const size_t channels[] = {1, 3, 12, 16, 17, 33, 127};
    static const uint32_t spans[] = {1, 2, 4, 5, 16};
    static const float betas[] = {0.75f, 0.5f, 1.0f, 0.6f};
    for (size_t c = 0; c < 7; c++)
        for (size_t s = 0; s < 5; s++)
            for (size_t k = 0; k < 4; k++) {
                uint64_t random = c * 100 + s * 10 + k;
                struct kernel_problem problem = {.layer = {.n_inputs = 1}};
                problem.in_shape[0] = sqz_shape4(1, channels[c], 3, 5);
                problem.layer.params.lrn.size = spans[s];
                problem.layer.params.lrn.alpha = 0.3f;
                problem.layer.params.lrn.beta = betas[k];
                problem.layer.params.lrn.k = 1.5f;
                kernel_problem_fill(&problem, SQZ_OP_LRN, problem.in_shape[0]);
                problem.in[0] = random_guarded(channels[c] * 15, 3, &random);
                compare_kernels(&problem);
                kernel_problem_free(&problem);
            }
    assert_taken("lrn");
}
END_TEST

START_TEST(elementwise_equals_the_reference) {
    static const enum sqz_op ops[] = {SQZ_OP_RELU,       SQZ_OP_LEAKY_RELU, SQZ_OP_SIGMOID, SQZ_OP_TANH,
                                      SQZ_OP_HARD_SWISH, SQZ_OP_CLIP,       SQZ_OP_ADD,     SQZ_OP_MUL};
    for (size_t i = 0; i < 8; i++) {
        uint64_t random = i;
        struct kernel_problem problem = {.layer = {.n_inputs = i < 6 ? 1 : 2}};
        problem.in_shape[0] = problem.in_shape[1] = sqz_shape4(1, 17, 5, 3);
        if (ops[i] == SQZ_OP_LEAKY_RELU) problem.layer.params.leaky_relu.slope = 0.25f;
        if (ops[i] == SQZ_OP_CLIP) {
            problem.layer.params.clip.low = -1;
            problem.layer.params.clip.high = 2;
        }
        kernel_problem_fill(&problem, ops[i], problem.in_shape[0]);
        problem.in[0] = random_guarded(255, 6, &random);
        problem.in[1] = random_guarded(255, 6, &random);
        compare_kernels(&problem);
        kernel_problem_free(&problem);
    }
    assert_taken("elementwise");
}
END_TEST

START_TEST(names_are_unique_and_carry_their_level) {
    for (size_t i = 0; i < sqz_n_kernels; i++) {
        ck_assert_ptr_nonnull(strstr(sqz_kernels[i]->name, sqz_isa_name(sqz_kernels[i]->isa)));
        for (size_t k = 0; k < i; k++) ck_assert_str_ne(sqz_kernels[i]->name, sqz_kernels[k]->name);
    }
}
END_TEST

Suite *test_kernels(void) {
    Suite *suite = suite_create("kernels");
    TCase *tcase = tcase_create("kernels");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, convolutions_equal_the_reference, 0, N_WINDOWS);
    tcase_add_loop_test(tcase, grouped_convolutions_equal_the_reference, 0, N_WINDOWS);
    tcase_add_test(tcase, special_convolutions_are_taken);
    tcase_add_test(tcase, convolutions_with_pooling_equal_the_reference);
    tcase_add_test(tcase, dense_layers_equal_the_reference);
    tcase_add_test(tcase, pooling_equals_the_reference);
    tcase_add_test(tcase, lrn_equals_the_reference);
    tcase_add_test(tcase, elementwise_equals_the_reference);
    tcase_add_test(tcase, names_are_unique_and_carry_their_level);
    suite_add_tcase(suite, tcase);
    return suite;
}
