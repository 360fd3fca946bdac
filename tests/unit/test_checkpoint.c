/* test_checkpoint.c - finding the weights in checkpoints of every layout seen in the wild. */
#include "tests/unit/torch_sample.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Begin and end a dictionary; keys and values come between. */
static void open_dict(struct sqz_buffer *b) {
    sqz_put_bytes(b, "}(", 2);
}

static void close_dict(struct sqz_buffer *b) {
    sqz_put_u8(b, 'u');
}

static void finish(struct sqz_buffer *b) {
    sqz_put_u8(b, '.');
}

/* {"PREFIXconv.weight": float32 [1][1][2][3], "PREFIXconv.num_batches_tracked": int64 scalar}, all on storage 0. */
static void put_state_dict(struct sqz_buffer *b, const char *name) {
    char tracked[64];
    open_dict(b);
    sample_text(b, name);
    sample_float(b, "0", 4, 1, 1, 2, 3);
    snprintf(tracked, sizeof tracked, "%.*snum_batches_tracked", (int)(strrchr(name, '.') - name + 1), name);
    sample_text(b, tracked);
    sample_tensor(b, &(struct sample_tensor){"LongStorage", "1", 1, 0, 0, {0}, NULL});
    close_dict(b);
}

/* Optimizer state has tensors of the weights' shapes, keyed by number. */
static void put_optimizer(struct sqz_buffer *b) {
    open_dict(b);
    sample_text(b, "state");
    open_dict(b);
    sample_integer(b, 0);
    open_dict(b);
    sample_text(b, "momentum_buffer");
    sample_float(b, "0", 4, 1, 1, 2, 3);
    close_dict(b);
    close_dict(b);
    sample_text(b, "param_groups");
    sqz_put_u8(b, ']');
    close_dict(b);
}

static enum sqz_status read_pickle(const struct sqz_buffer *b, const char *state_dict, struct sqz_torch_weights *out,
                                   struct sqz_error *err) {
    struct sqz_source source = sample_file(b, NULL, false);
    struct sqz_read_options options = {.max_nbytes = 1 << 20, .state_dict = state_dict};
    enum sqz_status status = sqz_torch_read_weights(&source, &options, out, err);
    sample_free(&source);
    return status;
}

/* The pickle must give exactly conv.weight with the values 1..6. */
static void check_conv(struct sqz_buffer *b, const char *state_dict) {
    static const float expected[] = {1, 2, 3, 4, 5, 6};
    struct sqz_torch_weights weights;
    struct sqz_error err = {0};
    finish(b);
    ck_assert_msg(read_pickle(b, state_dict, &weights, &err) == SQZ_OK, "%s", err.text);
    ck_assert_uint_eq(weights.n, 1);
    ck_assert_str_eq(weights.tensors[0].name, "conv.weight");
    ck_assert_int_eq(memcmp(weights.tensors[0].data, expected, sizeof expected), 0);
    sqz_torch_weights_free(&weights);
    sqz_buffer_free(b);
    *b = (struct sqz_buffer){0};
}

static void check_refused(struct sqz_buffer *b, const char *state_dict, enum sqz_status expected, const char *part) {
    struct sqz_torch_weights weights;
    struct sqz_error err = {0};
    finish(b);
    enum sqz_status status = read_pickle(b, state_dict, &weights, &err);
    ck_assert_msg(status == expected, "%s instead of %s: %s", sqz_status_name(status), sqz_status_name(expected),
                  err.text);
    ck_assert_msg(strstr(err.text, part) != NULL, "\"%s\" does not say \"%s\"", err.text, part);
    sqz_buffer_free(b);
    *b = (struct sqz_buffer){0};
}

/* Went wrong elsewhere: prefixes of DataParallel, of a wrapped trunk, of torch.compile and of Lightning. */
START_TEST(prefixes_are_removed) {
    static const char *const names[] = {"conv.weight",
                                        "module.conv.weight",
                                        "conv.module.weight",
                                        "_orig_mod.conv.weight",
                                        "module._orig_mod.conv.weight",
                                        "model.conv.weight",
                                        "module.model.conv.weight",
                                        "net.conv.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct sqz_buffer b = {0};
        put_state_dict(&b, names[i]);
        check_conv(&b, NULL);
    }
}
END_TEST

START_TEST(wrappers_are_opened) {
    static const char *const keys[] = {"state_dict", "model", "net", "model_state_dict", "weights"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct sqz_buffer b = {0};
        open_dict(&b);
        sample_text(&b, "epoch");
        sample_integer(&b, 7);
        sample_text(&b, "optimizer");
        put_optimizer(&b);
        sample_text(&b, "best_acc1");
        sample_float(&b, "1", 0, 0, 0, 0, 0);
        sample_text(&b, "loss_weight");
        sample_float(&b, "1", 1, 6, 0, 0, 0);
        sample_text(&b, "criterion");
        open_dict(&b);
        sample_text(&b, "weight");
        sample_float(&b, "1", 1, 6, 0, 0, 0);
        close_dict(&b);
        sample_text(&b, keys[i]);
        put_state_dict(&b, i % 2 ? "module.conv.weight" : "conv.weight");
        close_dict(&b);
        check_conv(&b, NULL);
    }
}
END_TEST

START_TEST(wrappers_may_nest) {
    struct sqz_buffer b = {0};
    open_dict(&b);
    sample_text(&b, "outer");
    open_dict(&b);
    sample_text(&b, "state_dict");
    put_state_dict(&b, "conv.weight");
    close_dict(&b);
    close_dict(&b);
    check_conv(&b, NULL);
}
END_TEST

static void put_two(struct sqz_buffer *b) {
    open_dict(b);
    sample_text(b, "state_dict");
    put_state_dict(b, "conv.weight");
    sample_text(b, "ema");
    put_state_dict(b, "conv.weight");
    close_dict(b);
}

START_TEST(two_candidates_need_a_choice) {
    struct sqz_buffer b = {0};
    put_two(&b);
    check_refused(&b, NULL, SQZ_UNSUPPORTED, "(state_dict, ema)");
    put_two(&b);
    check_conv(&b, "ema");
    put_two(&b);
    check_refused(&b, "swa", SQZ_UNSUPPORTED, "state_dict, ema");
}
END_TEST

START_TEST(other_objects_are_called_what_they_are) {
    struct sqz_buffer b = {0};
    sample_float(&b, "0", 2, 2, 3, 0, 0);
    check_refused(&b, NULL, SQZ_UNSUPPORTED, "one tensor");
    sqz_put_u8(&b, ']');
    check_refused(&b, NULL, SQZ_UNSUPPORTED, "a list");
    sqz_put_u8(&b, '}');
    check_refused(&b, NULL, SQZ_UNSUPPORTED, "no state_dict");
    open_dict(&b);
    sample_text(&b, "optimizer");
    put_optimizer(&b);
    close_dict(&b);
    check_refused(&b, NULL, SQZ_UNSUPPORTED, "no state_dict");
}
END_TEST

START_TEST(tensors_that_are_no_plain_numbers_are_named) {
    static const struct {
        const char *module, *function, *part;
    } cases[] = {
        {"torch._utils", "_rebuild_sparse_tensor", "conv.weight is a sparse tensor"},
        {"torch._utils", "_rebuild_qtensor", "conv.weight is a quantised tensor"},
        {"torch._utils", "_rebuild_meta_tensor_no_storage", "conv.weight is on device meta"},
        {"numpy.core.multiarray", "_reconstruct", "conv.weight is a numpy array"},
        {"torch._utils", "_rebuild_parameter", "conv.weight is not a readable tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sqz_buffer b = {0};
        open_dict(&b);
        sample_text(&b, "conv.weight");
        sample_global(&b, cases[i].module, cases[i].function);
        sqz_put_bytes(&b, ")R", 2);
        close_dict(&b);
        check_refused(&b, NULL, i == 4 ? SQZ_MALFORMED : SQZ_UNSUPPORTED, cases[i].part);
    }
}
END_TEST

START_TEST(parameters_are_unwrapped) {
    struct sqz_buffer b = {0};
    open_dict(&b);
    sample_text(&b, "conv.weight");
    sample_global(&b, "torch._utils", "_rebuild_parameter");
    sqz_put_u8(&b, '(');
    sample_float(&b, "0", 4, 1, 1, 2, 3);
    sqz_put_bytes(&b, "\x88}tR", 4);
    close_dict(&b);
    check_conv(&b, NULL);
}
END_TEST

/* {"STEM+suffix[0]": shape a, "STEM+suffix[1]": shape b}, both on the storage of 1..6. */
static void put_pair(struct sqz_buffer *b, const char *first, const char *second, int64_t rows, bool swap) {
    open_dict(b);
    for (int i = 0; i < 2; i++) {
        const char *name = (i == 1) != swap ? second : first;
        if (!name) continue;
        static const int64_t zero[] = {0, 0};
        struct sample_tensor whole = {"FloatStorage", "0", 6, 0, 2, {2, 2}, NULL};
        struct sample_tensor mask = {"FloatStorage", "0", 6, 1, 2, {rows, 2}, zero};
        sample_text(b, name);
        sample_tensor(b, name == second ? &mask : &whole);
    }
    close_dict(b);
}

/* Went wrong elsewhere: pruning that was never made permanent leaves two tensors for each weight. */
START_TEST(pruned_pairs_are_merged) {
    for (int swap = 0; swap < 2; swap++) {
        static const float expected[] = {2, 4, 6, 8}; /* 1 2 3 4, each times the mask's 2 */
        struct sqz_buffer b = {0};
        struct sqz_torch_weights weights;
        struct sqz_error err = {0};
        put_pair(&b, "fc.weight_orig", "fc.weight_mask", 2, swap);
        finish(&b);
        ck_assert_msg(read_pickle(&b, NULL, &weights, &err) == SQZ_OK, "%s", err.text);
        ck_assert_uint_eq(weights.n, 1);
        ck_assert_str_eq(weights.tensors[0].name, "fc.weight");
        ck_assert_int_eq(memcmp(weights.tensors[0].data, expected, sizeof expected), 0);
        sqz_torch_weights_free(&weights);
        sqz_buffer_free(&b);
    }
    struct sqz_buffer b = {0};
    put_pair(&b, "fc.weight_orig", NULL, 2, false);
    check_refused(&b, NULL, SQZ_MISSING_WEIGHT, "fc.weight_orig has no fc.weight_mask");
    put_pair(&b, NULL, "fc.weight_mask", 2, false);
    check_refused(&b, NULL, SQZ_MISSING_WEIGHT, "fc.weight_mask has no fc.weight_orig");
    put_pair(&b, "fc.weight_orig", "fc.weight_mask", 3, false);
    check_refused(&b, NULL, SQZ_SHAPE, "does not fit");
}
END_TEST

/* g [2][1] and v [2][2] of the values 1 2 3 4: each row becomes g * v / |v|. */
START_TEST(weight_norm_is_computed) {
    static const char *const names[][2] = {
        {"fc.weight_g", "fc.weight_v"},
        {"fc.parametrizations.weight.original0", "fc.parametrizations.weight.original1"},
    };
    for (size_t i = 0; i < 2; i++) {
        struct sqz_buffer b = {0};
        struct sqz_torch_weights weights;
        struct sqz_error err = {0};
        open_dict(&b);
        sample_text(&b, names[i][0]);
        sample_tensor(&b, &(struct sample_tensor){"FloatStorage", "0", 6, 4, 2, {2, 1}, NULL});
        sample_text(&b, names[i][1]);
        sample_tensor(&b, &(struct sample_tensor){"FloatStorage", "0", 6, 0, 2, {2, 2}, NULL});
        close_dict(&b);
        finish(&b);
        ck_assert_msg(read_pickle(&b, NULL, &weights, &err) == SQZ_OK, "%s", err.text);
        ck_assert_uint_eq(weights.n, 1);
        ck_assert_str_eq(weights.tensors[0].name, "fc.weight");
        const float *w = weights.tensors[0].data;
        ck_assert_float_eq_tol(w[0], 5 / sqrtf(5), 1e-6);
        ck_assert_float_eq_tol(w[1], 10 / sqrtf(5), 1e-6);
        ck_assert_float_eq_tol(w[2], 6 * 3 / 5.0f, 1e-6);
        ck_assert_float_eq_tol(w[3], 6 * 4 / 5.0f, 1e-6);
        sqz_torch_weights_free(&weights);
        sqz_buffer_free(&b);
    }
}
END_TEST

START_TEST(names_must_be_usable) {
    struct sqz_buffer b = {0};
    open_dict(&b);
    sample_text(&b, "conv.weight");
    sample_float(&b, "0", 2, 2, 3, 0, 0);
    sample_text(&b, "module.conv.weight");
    sample_float(&b, "0", 2, 2, 3, 0, 0);
    close_dict(&b);
    check_refused(&b, NULL, SQZ_MALFORMED, "two tensors have the name conv.weight");
    open_dict(&b);
    sqz_put_bytes(&b, "X\x03\0\0\0a\0b", 8);
    sample_float(&b, "0", 2, 2, 3, 0, 0);
    close_dict(&b);
    check_refused(&b, NULL, SQZ_MALFORMED, "NUL");
}
END_TEST

/* A dictionary that holds itself, and many ways to one dictionary, must not multiply the work. */
START_TEST(cyclic_trees_end) {
    struct sqz_buffer b = {0};
    sqz_put_bytes(&b, "}q\0(", 4);
    for (int i = 0; i < 1000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        sample_text(&b, key);
        sqz_put_bytes(&b, "h\0", 2);
    }
    close_dict(&b);
    check_refused(&b, NULL, SQZ_UNSUPPORTED, "no state_dict");
}
END_TEST

START_TEST(an_unknown_net_names_the_nearest) {
    struct sqz_buffer b = {0};
    struct sqz_error err = {0};
    struct sqz_model *model;
    put_state_dict(&b, "conv.weight");
    finish(&b);
    struct sqz_source source = sample_file(&b, NULL, false);
    struct sqz_read_options options = {.max_nbytes = 1 << 20};
    ck_assert_int_eq(sqz_pytorch_read(&source, &options, &model, &err), SQZ_UNSUPPORTED);
    ck_assert_ptr_null(model);
    ck_assert_ptr_nonnull(strstr(err.text, "nearest is"));
    ck_assert_ptr_nonnull(strstr(err.text, "conv.weight"));
    sample_free(&source);
    sqz_buffer_free(&b);
}
END_TEST

Suite *test_checkpoint(void) {
    Suite *suite = suite_create("checkpoint");
    TCase *tcase = tcase_create("core");
    tcase_add_test(tcase, prefixes_are_removed);
    tcase_add_test(tcase, wrappers_are_opened);
    tcase_add_test(tcase, wrappers_may_nest);
    tcase_add_test(tcase, two_candidates_need_a_choice);
    tcase_add_test(tcase, other_objects_are_called_what_they_are);
    tcase_add_test(tcase, tensors_that_are_no_plain_numbers_are_named);
    tcase_add_test(tcase, parameters_are_unwrapped);
    tcase_add_test(tcase, pruned_pairs_are_merged);
    tcase_add_test(tcase, weight_norm_is_computed);
    tcase_add_test(tcase, names_must_be_usable);
    tcase_add_test(tcase, cyclic_trees_end);
    tcase_add_test(tcase, an_unknown_net_names_the_nearest);
    suite_add_tcase(suite, tcase);
    return suite;
}
