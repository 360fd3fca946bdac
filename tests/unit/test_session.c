/* test_session.c - sessions: threads and batches, packed weights, the plan, failures, and thread teams. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/plan.h"
#include "lib/infer.h"
#include "lib/parallel.h"
#include "tests/unit/random_nets.h"
#include "tests/unit/session_tools.h"

/* ---- threads, batches, packed weights ------------------------------------------------------- */

static struct sqz_model *mixed_net(void) {
    struct net net = net_new(3, 37, 33, 5);
    uint32_t at = net_conv(&net, 0, 3, 40, square_window(3, 2, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_conv(&net, at, 40, 48, square_window(3, 1, 1), 1);
    at = net_conv(&net, at, 48, 48, square_window(5, 1, 2), 2);
    at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), true);
    at = net_node(&net, SQZ_OP_FLATTEN, &at, 1);
    at = net_dense(&net, at, 48 * 9 * 8, 70);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_dense(&net, at, 70, 33);
    at = net_node(&net, SQZ_OP_SOFTMAX, &at, 1);
    net.model->nodes[at].params.softmax.axis = 1;
    at = net_dense(&net, at, 33, 12);
    return net.model;
}

/* Summation order once depended on who did the work: last digits differed, and near-ties flipped. */
START_TEST(same_bytes_for_any_threads_and_batch) {
    enum { IMAGES = 15 };
    setenv("SQZ_CPU", levels[_i], 1);
    struct sqz_model *model = mixed_net();
    struct sqz_session *first = session_of(model, 1, false);
    size_t in = sqz_session_input_count(first), out = sqz_session_output_count(first);
    float *input = random_input(first, IMAGES, 3), *wanted = malloc(IMAGES * out * sizeof *wanted);
    sqz_set_threads(1);
    for (size_t i = 0; i < IMAGES; i++) sqz_session_run(first, input + i * in, 1, wanted + i * out);
    sqz_session_free(first);
    static const uint32_t batches[] = {1, 2, 7, 15};
    for (int threads = 1; threads <= 3; threads++)
        for (size_t b = 0; b < 4; b++) {
            sqz_set_threads(threads);
            struct sqz_session *session = session_of(model, batches[b], false);
            float *got = malloc(IMAGES * out * sizeof *got);
            for (size_t i = 0; i < IMAGES; i += batches[b]) {
                size_t n = IMAGES - i < batches[b] ? IMAGES - i : batches[b];
                sqz_session_run(session, input + i * in, n, got + i * out);
            }
            ck_assert_msg(memcmp(got, wanted, IMAGES * out * sizeof *got) == 0, "%d threads, batch %u", threads,
                          batches[b]);
            free(got);
            sqz_session_free(session);
        }
    sqz_set_threads(0);
    unsetenv("SQZ_CPU");
    free(input);
    free(wanted);
    sqz_model_free(model);
}
END_TEST

START_TEST(packed_weights_give_the_same_bytes) {
    struct sqz_model *model = mixed_net();
    for (size_t i = 0; i < model->n_weights; i++) { /* few values, so that each has an exact codebook */
        struct sqz_weight *weight = &model->weights[i];
        for (size_t k = 0; k < weight->count; k++) weight->data[k] = roundf(weight->data[k] * 16) / 16;
        ck_assert_int_eq(sqz_packed_from_values(weight->data, weight->count, &weight->packed, NULL), SQZ_OK);
        ck_assert_ptr_nonnull(weight->packed);
    }
    struct sqz_session *session = session_of(model, 1, false);
    float *input = random_input(session, 1, 4), *wanted = run_images(session, input, 1);
    size_t n = sqz_session_output_count(session);
    sqz_session_free(session);
    for (size_t i = 0; i < model->n_weights; i++) {
        sqz_free(model->weights[i].data);
        model->weights[i].data = NULL;
    }
    session = session_of(model, 1, false);
    float *got = run_images(session, input, 1);
    ck_assert_mem_eq(got, wanted, n * sizeof *got);
    for (size_t i = 0; i < model->n_weights; i++) ck_assert_ptr_null(model->weights[i].data);
    free(got);
    free(wanted);
    free(input);
    sqz_session_free(session);
    sqz_model_free(model);
}
END_TEST

START_TEST(two_runs_and_stale_memory_do_not_matter) {
    struct sqz_model *model = mixed_net();
    struct sqz_session *session = session_of(model, 4, false);
    float *input = random_input(session, 4, 8), *wanted = run_images(session, input, 4);
    size_t in = sqz_session_input_count(session), out = sqz_session_output_count(session);
    float *poison = malloc(4 * in * sizeof *poison);
    for (size_t i = 0; i < 4 * in; i++) poison[i] = NAN;
    free(run_images(session, poison, 4));
    float *got = run_images(session, input, 4);
    ck_assert_mem_eq(got, wanted, 4 * out * sizeof *got);
    free(got);
    free(run_images(session, poison, 3));
    got = run_images(session, input, 1);
    ck_assert_mem_eq(got, wanted, out * sizeof *got);
    free(got);
    free(poison);
    free(wanted);
    free(input);
    sqz_session_free(session);
    sqz_model_free(model);
}
END_TEST

/* ---- the plan ------------------------------------------------------------------------------- */

static struct sqz_wish any_form(void) {
    return (struct sqz_wish){.isa = sqz_isa_detect()};
}

/* SqueezeNet becomes 26 convolutions, one of which pools as well, 3 poolings, and nothing else but the copy of its
 * result. */
START_TEST(plan_of_squeezenet_has_no_needless_steps) {
    if (sqz_isa_detect() == SQZ_ISA_SCALAR) return;
    struct sqz_model *model = random_squeezenet_1_1(224);
    struct sqz_shape *shapes = sqz_alloc(model->n_nodes, sizeof *shapes);
    ck_assert_int_eq(sqz_infer_shapes(model, 1, 0, 0, shapes, NULL), SQZ_OK);
    struct sqz_plan plan;
    struct sqz_wish wish = any_form();
    ck_assert_int_eq(sqz_plan_make(&plan, model, shapes, 1, &wish, NULL), SQZ_OK);
    size_t conv = 0, winograd = 0;
    for (size_t i = 0; i < plan.n_steps; i++) {
        conv += plan.steps[i].layer.op == SQZ_OP_CONV;
        winograd += strstr(plan.steps[i].kernel->name, "winograd") != NULL;
    }
    ck_assert_uint_eq(conv, 26);
    ck_assert_uint_eq(winograd, 8);
    ck_assert_uint_eq(plan.n_steps, 30);
    sqz_plan_free(&plan);
    sqz_free(shapes);
    sqz_model_free(model);
}
END_TEST

/* Two buffers in use at the same step never overlap in memory. */
START_TEST(buffers_of_one_time_do_not_overlap) {
    struct sqz_model *model = mixed_net();
    struct sqz_shape *shapes = sqz_alloc(model->n_nodes, sizeof *shapes);
    ck_assert_int_eq(sqz_infer_shapes(model, 1, 0, 0, shapes, NULL), SQZ_OK);
    struct sqz_wish wish = any_form();
    for (size_t batch = 1; batch <= 5; batch += 4) {
        struct sqz_plan plan;
        ck_assert_int_eq(sqz_plan_make(&plan, model, shapes, batch, &wish, NULL), SQZ_OK);
        size_t sum = 0;
        for (size_t i = 0; i < plan.n_buffers; i++)
            for (size_t k = 0; k < plan.n_buffers; k++) {
                const struct sqz_activation *a = &plan.buffers[i], *b = &plan.buffers[k];
                bool slots = a->place == SQZ_PLACE_SLOT && b->place == SQZ_PLACE_SLOT;
                if (i == k && slots && a->parent == SQZ_NO_INDEX) sum += a->count;
                if (i == k || !slots || a->parent != SQZ_NO_INDEX || b->parent != SQZ_NO_INDEX) continue;
                if (a->first > b->last || b->first > a->last) continue;
                ck_assert(a->offset + a->count <= b->offset || b->offset + b->count <= a->offset);
            }
        ck_assert_uint_lt(plan.slot_count, sum); /* and memory is used again */
        sqz_plan_free(&plan);
    }
    sqz_free(shapes);
    sqz_model_free(model);
}
END_TEST

/* ---- failures --------------------------------------------------------------------------------- */

START_TEST(sizes_that_do_not_fit_are_refused) {
    struct sqz_model *model = random_squeezenet_1_1(224);
    struct sqz_session_options options = {.height = 2, .width = 224};
    struct sqz_session *session;
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_session_new(model, &options, &session, &err), SQZ_SHAPE);
    ck_assert_ptr_null(session);
    options = (struct sqz_session_options){.max_batch = UINT32_MAX};
    enum sqz_status status = sqz_session_new(model, &options, &session, &err);
    ck_assert(status == SQZ_LIMIT || status == SQZ_OUT_OF_MEMORY);
    options = (struct sqz_session_options){.height = 90, .width = 70};
    ck_assert_int_eq(sqz_session_new(model, &options, &session, &err), SQZ_OK);
    ck_assert_uint_eq(sqz_session_input_count(session), 3 * 90 * 70);
    ck_assert_uint_eq(sqz_session_output_shape(session)->rank, 1);
    ck_assert_uint_eq(sqz_session_output_shape(session)->dim[0], 1000);
    ck_assert_uint_gt(sqz_session_nbytes(session), sqz_model_float_nbytes(model));
    sqz_session_free(session);
    sqz_model_free(model);
}
END_TEST

START_TEST(every_allocation_may_fail) {
    struct sqz_model *model = mixed_net();
    struct sqz_session_options options = {.max_batch = 2};
    struct sqz_session *session = NULL;
    long n = 0;
    for (; n < 10000; n++) {
        sqz_alloc_fail_after(n);
        enum sqz_status status = sqz_session_new(model, &options, &session, NULL);
        sqz_alloc_fail_after(-1);
        if (status == SQZ_OK) break;
        ck_assert_int_eq(status, SQZ_OUT_OF_MEMORY);
        ck_assert_ptr_null(session);
    }
    ck_assert_int_gt(n, 10);
    ck_assert_ptr_nonnull(session);
    /* A run needs none. */
    float *input = random_input(session, 2, 1), *output = malloc(2 * 12 * sizeof *output);
    sqz_alloc_fail_after(0);
    sqz_session_run(session, input, 2, output);
    sqz_alloc_fail_after(-1);
    free(input);
    free(output);
    sqz_session_free(session);
    sqz_model_free(model);
}
END_TEST

START_TEST(unknown_level_is_the_processors_own) {
    enum sqz_isa best = sqz_isa_detect();
    setenv("SQZ_CPU", "pentium", 1);
    ck_assert_int_eq(sqz_isa_detect(), best);
    setenv("SQZ_CPU", "scalar", 1);
    ck_assert_int_eq(sqz_isa_detect(), SQZ_ISA_SCALAR);
    ck_assert_str_eq(sqz_isa_name(SQZ_ISA_SCALAR), "scalar");
    unsetenv("SQZ_CPU");
}
END_TEST

/* ---- teams -------------------------------------------------------------------------------------- */

struct tally {
    int done[100], wanted;
    int errors;
};

static void mark(void *context, size_t i, int thread) {
    (void)thread;
    ((struct tally *)context)->done[i]++;
}

/* A loop of one index: whoever runs it is alone, and all of the loop before is done. */
static void check_marks(void *context, size_t index, int thread) {
    (void)index, (void)thread;
    struct tally *tally = context;
    tally->wanted = (tally->wanted + 1) % 7;
    for (int i = 0; i < 100; i++) {
        if (tally->done[i] != (i < tally->wanted * 16)) tally->errors++;
        tally->done[i] = 0;
    }
}

static void count_loops(void *context, struct sqz_team *team, int thread) {
    for (int round = 1; round <= 3000; round++) {
        sqz_team_for(team, thread, (size_t)(round % 7) * 16, mark, context);
        sqz_team_for(team, thread, 1, check_marks, context);
    }
}

START_TEST(team_runs_each_index_once) {
    for (int threads = 1; threads <= 4; threads++) {
        struct tally tally = {0};
        sqz_set_threads(threads);
        sqz_team_run(threads, count_loops, &tally);
        ck_assert_int_eq(tally.errors, 0);
        ck_assert_int_eq(tally.wanted, 3000 % 7);
    }
    sqz_set_threads(0);
}
END_TEST

Suite *test_session(void) {
    Suite *suite = suite_create("session");
    TCase *tcase = tcase_create("session");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, same_bytes_for_any_threads_and_batch, 0, N_LEVELS);
    tcase_add_test(tcase, packed_weights_give_the_same_bytes);
    tcase_add_test(tcase, two_runs_and_stale_memory_do_not_matter);
    tcase_add_test(tcase, plan_of_squeezenet_has_no_needless_steps);
    tcase_add_test(tcase, buffers_of_one_time_do_not_overlap);
    tcase_add_test(tcase, sizes_that_do_not_fit_are_refused);
    tcase_add_test(tcase, every_allocation_may_fail);
    tcase_add_test(tcase, unknown_level_is_the_processors_own);
    tcase_add_test(tcase, team_runs_each_index_once);
    suite_add_tcase(suite, tcase);
    return suite;
}
