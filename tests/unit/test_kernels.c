/* test_kernels.c - every kernel of the list against the reference loops, over awkward shapes. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/kernels.h"
#include "lib/infer.h"
#include "lib/memory.h"
#include "tests/unit/random_nets.h"

/* ---- running one kernel on exactly sized memory ------------------------------------ */

struct problem {
    struct sqz_layer layer;
    struct sqz_shape in_shape[2];
    float *in[2], *kernel, *bias; /* plain */
};

static float *floats(size_t n) {
    float *p = sqz_alloc_aligned(n ? n : 1, sizeof *p);
    ck_assert_ptr_nonnull(p);
    return p;
}

static float *random_floats(size_t n, float spread, uint64_t *random) {
    float *p = floats(n);
    for (size_t i = 0; i < n; i++) p[i] = spread * random_unit(random);
    return p;
}

static size_t shape_count(const struct sqz_shape *shape) {
    size_t count;
    ck_assert(sqz_shape_count(shape, &count));
    return count;
}

static size_t area_of(const struct sqz_shape *shape) {
    return shape->rank == 4 ? (size_t)(shape->dim[2] * shape->dim[3]) : 1;
}

/* A plain value in the layout of a kernel; lanes that do not exist hold NaN, which must not spread. */
static float *to_layout(const float *plain, const struct sqz_shape *shape, enum sqz_layout layout, size_t lanes) {
    size_t n = shape_count(shape), area = area_of(shape), channels = (size_t)shape->dim[1];
    if (layout == SQZ_LAYOUT_PLAIN || layout == SQZ_LAYOUT_ANY || layout == SQZ_LAYOUT_BATCH) {
        float *copy = floats(n); /* a batch of one is plain; its last block may end early */
        memcpy(copy, plain, n * sizeof *copy);
        return copy;
    }
    float *out = floats(sqz_round_up(channels, lanes) * area);
    for (size_t c = 0; c < sqz_round_up(channels, lanes); c++)
        for (size_t i = 0; i < area; i++)
            out[(c / lanes * area + i) * lanes + c % lanes] = c < channels ? plain[c * area + i] : NAN;
    return out;
}

static void from_layout(const float *from, const struct sqz_shape *shape, enum sqz_layout layout, size_t lanes,
                        float *plain) {
    size_t area = area_of(shape), channels = (size_t)shape->dim[1];
    if (layout != SQZ_LAYOUT_BLOCKED) {
        memcpy(plain, from, shape_count(shape) * sizeof *plain);
        return;
    }
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < area; i++) plain[c * area + i] = from[(c / lanes * area + i) * lanes + c % lanes];
}

/* The kernel's plain result, or NULL when it does not take the problem. Items run last to first: order is free. */
static float *run_kernel(const struct sqz_kernel *kernel, const struct problem *problem) {
    struct sqz_layer layer = problem->layer;
    if (!kernel->prepare(&layer)) return NULL;
    size_t lanes = kernel->lanes;
    const float *in[2];
    for (size_t k = 0; k < layer.n_inputs; k++)
        in[k] = to_layout(problem->in[k], &problem->in_shape[k], kernel->in, lanes);
    size_t out_count = shape_count(&layer.out);
    if (kernel->out == SQZ_LAYOUT_BLOCKED)
        out_count = sqz_round_up((size_t)layer.out.dim[1], lanes) * area_of(&layer.out);
    if (kernel->out == SQZ_LAYOUT_BATCH) out_count = sqz_round_up(out_count, lanes);
    layer.flat_count = out_count;
    float *weights = floats(layer.weight_count), *shared = floats(layer.shared_count);
    float *local = floats(layer.local_count), *out = floats(out_count), *plain = floats(shape_count(&layer.out));
    if (problem->kernel)
        for (size_t i = layer.pack_items; i-- > 0;) kernel->pack(&layer, problem->kernel, problem->bias, weights, i);
    struct sqz_io io = {.in = in, .out = out, .weights = weights, .shared = shared, .images = 1};
    for (unsigned phase = 0; phase < layer.n_phases; phase++)
        for (size_t i = layer.items[phase]; i-- > 0;) kernel->run(&layer, &io, phase, i, local);
    from_layout(out, &layer.out, kernel->out, lanes, plain);
    for (size_t k = 0; k < layer.n_inputs; k++) sqz_free((float *)in[k]);
    sqz_free(weights);
    sqz_free(shared);
    sqz_free(local);
    sqz_free(out);
    return plain;
}

static bool processor_has(enum sqz_isa isa) {
    return isa <= sqz_isa_detect();
}

/* How often each kernel took a problem, so that a kernel that declines everything does not pass unseen. */
static size_t taken[64];

/*
 * Bound on the difference. A float sum of n products of magnitude 1/sqrt(n)
 * errs by about 2^-24 * sqrt(n); with n <= 15,000 here that is under 1e-5. The
 * transforms of Winograd's F(4x4,3x3) multiply by up to 8 * 8 and cost about
 * one decimal more.
 */
static double tolerance(const struct sqz_kernel *kernel) {
    return strstr(kernel->name, "winograd") ? 1e-4 : 2e-5;
}

/* Hold every kernel that takes the problem against the wanted numbers, which are freed. */
static void compare_with(const struct problem *problem, float *wanted) {
    size_t n = shape_count(&problem->layer.out);
    for (size_t i = 0; i < sqz_n_kernels; i++) {
        const struct sqz_kernel *kernel = sqz_kernels[i];
        if (!processor_has(kernel->isa) || kernel->pools != problem->layer.pooled) continue;
        float *got = run_kernel(kernel, problem);
        if (!got) continue;
        taken[i]++;
        double bound = tolerance(kernel);
        for (size_t k = 0; k < n; k++) {
            double difference = fabs((double)got[k] - (double)wanted[k]);
            char shape[SQZ_SHAPE_TEXT];
            ck_assert_msg(difference <= bound * fmax(1, fabs((double)wanted[k])),
                          "%s of %s, output %zu of %zu: %.9g instead of %.9g", kernel->name,
                          sqz_shape_format(&problem->in_shape[0], shape), k, n, (double)got[k], (double)wanted[k]);
        }
        sqz_free(got);
    }
    sqz_free(wanted);
}

static void compare_all(const struct problem *problem) {
    float *wanted = run_kernel(&sqz_kernel_reference_scalar, problem);
    ck_assert_ptr_nonnull(wanted);
    compare_with(problem, wanted);
}

static void free_problem(struct problem *problem) {
    sqz_free(problem->in[0]);
    sqz_free(problem->in[1]);
    sqz_free(problem->kernel);
    sqz_free(problem->bias);
}

static void fill_layer(struct problem *problem, enum sqz_op op, struct sqz_shape out) {
    problem->layer.op = op;
    problem->layer.in = problem->in_shape;
    problem->layer.out = out;
    problem->layer.max_batch = 1;
    sqz_layer_set_sizes(&problem->layer);
}

static void assert_taken(const char *name) {
    char full[64];
    for (size_t i = 0; i < sqz_n_kernels; i++) {
        snprintf(full, sizeof full, "%s_%s", name, sqz_isa_name(sqz_kernels[i]->isa));
        if (strcmp(sqz_kernels[i]->name, full) == 0 && processor_has(sqz_kernels[i]->isa))
            ck_assert_msg(taken[i] > 0, "%s took no problem", sqz_kernels[i]->name);
    }
}

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
    struct problem problem = {.layer = {.n_inputs = 1, .has_bias = true, .low = -INFINITY, .high = INFINITY}};
    size_t fan_in = in_c / groups * window.kernel_h * window.kernel_w;
    problem.in_shape[0] = sqz_shape4(1, in_c, h, w);
    problem.layer.params.conv.window = window;
    problem.layer.params.conv.groups = groups;
    fill_layer(&problem, SQZ_OP_CONV, sqz_shape4(1, out_c, out_h, out_w));
    problem.in[0] = random_floats(in_c * h * w, 1, &random);
    problem.kernel = random_floats(out_c * fan_in, 1.7f / sqrtf((float)fan_in), &random);
    problem.bias = random_floats(out_c, 1, &random);
    compare_all(&problem);
    if (h * w < 100) { /* a fused clip, and no bias */
        problem.layer.low = 0;
        problem.layer.high = 0.5f;
        sqz_free(problem.bias);
        problem.bias = NULL;
        compare_all(&problem);
    }
    free_problem(&problem);
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
    for (size_t c = 0; c < sizeof channel_pairs / sizeof *channel_pairs; c++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            try_conv(channel_pairs[c][0], channel_pairs[c][1], sizes[s][0], sizes[s][1], *window, 1);
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
    struct problem conv = {.layer = {.n_inputs = 1, .has_bias = true, .low = 0, .high = INFINITY}};
    struct problem pooling = {.layer = {.n_inputs = 1}};
    size_t fan_in = in_c * window.kernel_h * window.kernel_w;
    conv.in_shape[0] = sqz_shape4(1, in_c, h, w);
    conv.layer.params.conv.window = window;
    conv.layer.params.conv.groups = 1;
    fill_layer(&conv, SQZ_OP_CONV, sqz_shape4(1, out_c, conv_h, conv_w));
    conv.in[0] = random_floats(in_c * h * w, 1, &random);
    conv.kernel = random_floats(out_c * fan_in, 1.7f / sqrtf((float)fan_in), &random);
    conv.bias = random_floats(out_c, 1, &random);
    pooling.in_shape[0] = conv.layer.out;
    pooling.layer.params.pool.window = pool;
    pooling.layer.params.pool.ceil_mode = ceil_mode;
    fill_layer(&pooling, SQZ_OP_MAX_POOL, sqz_shape4(1, out_c, out_h, out_w));
    pooling.in[0] = run_kernel(&sqz_kernel_reference_scalar, &conv);
    float *wanted = run_kernel(&sqz_kernel_reference_scalar, &pooling);
    conv.layer.pooled = true;
    conv.layer.pool = pool;
    conv.layer.out = pooling.layer.out;
    conv.layer.out_h = out_h;
    conv.layer.out_w = out_w;
    compare_with(&conv, wanted);
    free_problem(&conv);
    free_problem(&pooling);
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
            struct problem problem = {.layer = {.n_inputs = 1, .has_bias = true, .low = -INFINITY, .high = INFINITY}};
            problem.in_shape[0] = sqz_shape2(1, in);
            fill_layer(&problem, SQZ_OP_DENSE, sqz_shape2(1, out));
            problem.in[0] = random_floats(in, 1, &random);
            problem.kernel = random_floats(in * out, 1.7f / sqrtf((float)in), &random);
            problem.bias = random_floats(out, 1, &random);
            compare_all(&problem);
            free_problem(&problem);
        }
    assert_taken("dense");
}
END_TEST

/* ---- pooling, LRN, element by element ------------------------------------------------------------ */

static void try_pool(enum sqz_op op, size_t c, size_t h, size_t w, struct sqz_window window, bool ceil_mode,
                     enum sqz_divisor divisor) {
    uint64_t random = c + h + w;
    struct problem problem = {.layer = {.n_inputs = 1}};
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
    fill_layer(&problem, op, sqz_shape4(1, c, out_h, out_w));
    problem.in[0] = random_floats(c * h * w, 1, &random);
    compare_all(&problem);
    free_problem(&problem);
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
                struct problem problem = {.layer = {.n_inputs = 1}};
                problem.in_shape[0] = sqz_shape4(1, channels[c], 3, 5);
                problem.layer.params.lrn.size = spans[s];
                problem.layer.params.lrn.alpha = 0.3f;
                problem.layer.params.lrn.beta = betas[k];
                problem.layer.params.lrn.k = 1.5f;
                fill_layer(&problem, SQZ_OP_LRN, problem.in_shape[0]);
                problem.in[0] = random_floats(channels[c] * 15, 3, &random);
                compare_all(&problem);
                free_problem(&problem);
            }
    assert_taken("lrn");
}
END_TEST

START_TEST(elementwise_equals_the_reference) {
    static const enum sqz_op ops[] = {SQZ_OP_RELU,       SQZ_OP_LEAKY_RELU, SQZ_OP_SIGMOID, SQZ_OP_TANH,
                                      SQZ_OP_HARD_SWISH, SQZ_OP_CLIP,       SQZ_OP_ADD,     SQZ_OP_MUL};
    for (size_t i = 0; i < 8; i++) {
        uint64_t random = i;
        struct problem problem = {.layer = {.n_inputs = i < 6 ? 1 : 2}};
        problem.in_shape[0] = problem.in_shape[1] = sqz_shape4(1, 17, 5, 3);
        if (ops[i] == SQZ_OP_LEAKY_RELU) problem.layer.params.leaky_relu.slope = 0.25f;
        if (ops[i] == SQZ_OP_CLIP) {
            problem.layer.params.clip.low = -1;
            problem.layer.params.clip.high = 2;
        }
        fill_layer(&problem, ops[i], problem.in_shape[0]);
        problem.in[0] = random_floats(255, 6, &random);
        problem.in[1] = random_floats(255, 6, &random);
        compare_all(&problem);
        free_problem(&problem);
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
