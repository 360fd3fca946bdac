/* test_evaluate.c - the evaluation loop: what is counted, over which images, whatever the batch and the threads. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eval/evaluate.h"
#include "lib/parallel.h"

/*
 * The net is one dense layer over a grey image of 3 x 2 pixels whose matrix is
 * the identity, so that an image's logits are its pixels.
 */
enum { CLASSES = 6, HEIGHT = 2, WIDTH = 3 };

static const struct sqz_input input = {
    .channels = 1, .height = HEIGHT, .width = WIDTH, .scale = 1, .std = {1, 1, 1, 1}, .order = SQZ_CHANNELS_GREY};

static char folder[64];
static FILE *labels;
static int n_files;

static void make_folder(void) {
    char path[128];
    strcpy(folder, "/tmp/sqz-evaluate-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/labels.txt", folder);
    labels = fopen(path, "w");
    n_files = 0;
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* An image with these pixels; fewer than it promises when n is too small. */
static void add_image(const char *pixels, size_t n, int label) {
    char path[128];
    snprintf(path, sizeof path, "%s/%03d.pgm", folder, n_files);
    FILE *file = fopen(path, "wb");
    fprintf(file, "P5\n%d %d\n255\n", WIDTH, HEIGHT);
    fwrite(pixels, 1, n, file);
    fclose(file);
    fprintf(labels, "%03d.pgm %d\n", n_files++, label);
}

static struct sqz_dataset *open_folder(void) {
    const struct sqz_dataset_options options = {.need_labels = true, .n_classes = CLASSES};
    struct sqz_dataset *dataset = NULL;
    struct sqz_error err = {0};
    fclose(labels);
    ck_assert_msg(sqz_dataset_open(folder, &options, &dataset, &err) == SQZ_OK, "%s", err.text);
    return dataset;
}

/* The best class is the brightest pixel; order[] says which pixel feeds which class. */
static struct sqz_model *make_net(const int *order, float gain, bool softmax) {
    struct sqz_model *model = sqz_model_new(&input);
    const struct sqz_shape shape = sqz_shape2(CLASSES, CLASSES);
    uint32_t node = 0, weight;
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_DENSE, "fc", &node, 1, &node, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_model_add_weight(model, "fc.weight", SQZ_ROLE_KERNEL, &shape, NULL, &weight, NULL), SQZ_OK);
    for (int i = 0; i < CLASSES * CLASSES; i++) model->weights[weight].data[i] = 0;
    for (int c = 0; c < CLASSES; c++) model->weights[weight].data[c * CLASSES + order[c]] = gain;
    model->nodes[node].kernel = weight;
    if (softmax) {
        ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_SOFTMAX, "prob", &node, 1, &node, NULL), SQZ_OK);
        model->nodes[node].params.softmax.axis = 1;
    }
    model->output = node;
    ck_assert_int_eq(sqz_model_check(model, NULL), SQZ_OK);
    return model;
}

static struct sqz_subject subject_of(const struct sqz_model *model, uint32_t batch) {
    const struct sqz_session_options options = {.max_batch = batch};
    struct sqz_subject subject = {
        .input = &model->input, .n_classes = CLASSES, .probabilities = sqz_model_ends_in_softmax(model)};
    struct sqz_error err = {0};
    ck_assert_msg(sqz_session_new(model, &options, &subject.session, &err) == SQZ_OK, "%s", err.text);
    return subject;
}

static const int straight[] = {0, 1, 2, 3, 4, 5}, swapped[] = {1, 0, 2, 3, 4, 5};

static int n_reported;

static void count_bad(void *context, const char *name, const char *reason) {
    ck_assert_str_eq(context, "bad");
    ck_assert(strstr(name, ".pgm") != NULL && *reason);
    n_reported++;
}

static void evaluate(const struct sqz_model *model, const struct sqz_model *baseline, uint32_t batch, size_t limit,
                     struct sqz_evaluation *out) {
    struct sqz_dataset *dataset = open_folder();
    struct sqz_subject subjects[2] = {subject_of(model, batch)};
    if (baseline) subjects[1] = subject_of(baseline, batch);
    const struct sqz_evaluate_options options = {
        .batch = batch, .limit = limit, .bad_image = count_bad, .bad_context = (void *)"bad"};
    struct sqz_error err = {0};
    n_reported = 0;
    ck_assert_msg(sqz_evaluate(dataset, subjects, baseline ? 2 : 1, &options, out, &err) == SQZ_OK, "%s", err.text);
    sqz_session_free(subjects[0].session);
    if (baseline) sqz_session_free(subjects[1].session);
    sqz_dataset_close(dataset);
}

/* Seven images: four right, one in the five best only, one not even there, one broken. */
static void add_seven(void) {
    add_image("\x50\x01\x02\x03\x04\x05", 6, 0);
    add_image("\x01\x50\x02\x03\x04\x05", 6, 1);
    add_image("\x01\x50\x02", 3, 1); /* cut short */
    add_image("\x01\x02\x50\x03\x04\x05", 6, 2);
    add_image("\x01\x02\x03\x04\x05\x50", 6, 5);
    add_image("\x50\x40\x02\x03\x04\x05", 6, 1);
    add_image("\x01\x02\x03\x04\x05\x06", 6, 0);
}

START_TEST(broken_images_stay_in_the_denominator) {
    static const uint32_t batches[] = {1, 2, 3, 7, 16};
    struct sqz_model *model = make_net(straight, 1, false);
    sqz_set_threads(_i % 2 ? 3 : 1);
    make_folder();
    add_seven();
    struct sqz_evaluation evaluation;
    evaluate(model, NULL, batches[_i % 5], 0, &evaluation);
    ck_assert_uint_eq(evaluation.n_images, 7);
    ck_assert_uint_eq(evaluation.n_bad, 1);
    ck_assert_int_eq(n_reported, 1);
    ck_assert_uint_eq(evaluation.score[0].top1_correct, 4);
    ck_assert_uint_eq(evaluation.score[0].top5_correct, 5);
    ck_assert_uint_eq(evaluation.score[0].n_nan, 0);
    ck_assert_uint_eq(evaluation.score[0].top[2][0], SQZ_NO_CLASS);
    ck_assert_uint_eq(evaluation.score[0].top[5][0], 0);
    ck_assert_uint_eq(evaluation.score[0].top[5][1], 1);
    ck_assert(evaluation.score[0].confidence[0] > 0.99f);
    ck_assert_float_eq(evaluation.score[0].confidence[2], 0);
    ck_assert(isfinite(evaluation.score[0].run_ms_median));
    sqz_evaluation_free(&evaluation);
    sqz_model_free(model);
    remove_folder();
    sqz_set_threads(0);
}
END_TEST

START_TEST(limit_takes_the_first_images) {
    struct sqz_model *model = make_net(straight, 1, false);
    make_folder();
    add_seven();
    struct sqz_evaluation evaluation;
    evaluate(model, NULL, 2, 2, &evaluation);
    ck_assert_uint_eq(evaluation.n_images, 2);
    ck_assert_uint_eq(evaluation.n_bad, 0);
    ck_assert_uint_eq(evaluation.score[0].top1_correct, 2);
    sqz_evaluation_free(&evaluation);
    sqz_model_free(model);
    remove_folder();
}
END_TEST

/* The baseline confuses classes 0 and 1: images 0, 1 and 5 come out differently. */
START_TEST(two_models_are_compared_image_by_image) {
    struct sqz_model *model = make_net(straight, 1, false), *baseline = make_net(swapped, 1, false);
    make_folder();
    add_seven();
    struct sqz_evaluation evaluation;
    evaluate(model, baseline, 3, 0, &evaluation);
    ck_assert_uint_eq(evaluation.score[1].top1_correct, 3); /* 2, 5 and image 5, whose label is 1 */
    ck_assert_uint_eq(evaluation.only_model, 2);
    ck_assert_uint_eq(evaluation.only_baseline, 1);
    ck_assert_double_eq_tol(evaluation.agreement, 3.0 / 6, 1e-12);
    ck_assert(evaluation.mean_kl > 1);
    sqz_evaluation_free(&evaluation);
    sqz_model_free(model);
    sqz_model_free(baseline);
    remove_folder();
}
END_TEST

/* A net with a Softmax at its end and the same net without one say the same. */
START_TEST(probabilities_and_logits_compare) {
    struct sqz_model *model = make_net(straight, 0.01f, false), *baseline = make_net(straight, 0.01f, true);
    ck_assert(!sqz_model_ends_in_softmax(model) && sqz_model_ends_in_softmax(baseline));
    make_folder();
    add_seven();
    struct sqz_evaluation evaluation;
    evaluate(model, baseline, 4, 0, &evaluation);
    ck_assert_double_eq(evaluation.agreement, 1);
    ck_assert(fabs(evaluation.mean_kl) < 1e-6);
    for (int i = 0; i < 7; i++)
        ck_assert(fabsf(evaluation.score[0].confidence[i] - evaluation.score[1].confidence[i]) < 1e-6f);
    sqz_evaluation_free(&evaluation);
    sqz_model_free(model);
    sqz_model_free(baseline);
    remove_folder();
}
END_TEST

/* The first layer overflows to infinity, and the second multiplies that by its zeros. */
static struct sqz_model *make_overflowing_net(void) {
    struct sqz_model *model = make_net(straight, 1, false);
    const struct sqz_shape shape = sqz_shape2(CLASSES, CLASSES);
    uint32_t node = model->output, weight;
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_DENSE, "fc2", &node, 1, &node, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_model_add_weight(model, "fc2.weight", SQZ_ROLE_KERNEL, &shape, NULL, &weight, NULL), SQZ_OK);
    for (int i = 0; i < CLASSES * CLASSES; i++) model->weights[weight].data[i] = i % (CLASSES + 1) == 0;
    model->nodes[node].kernel = weight;
    model->output = node;
    model->weights[0].data[0] = 3e38f;
    return model;
}

/* Once an image whose result is NaN counted as class 0. */
START_TEST(nan_counts_as_wrong) {
    struct sqz_model *model = make_overflowing_net();
    make_folder();
    add_image("\x50\x01\x02\x03\x04\x05", 6, 0);
    add_image("\x00\x01\x02\x03\x04\x05", 6, 5);
    struct sqz_evaluation evaluation;
    evaluate(model, model, 2, 0, &evaluation);
    ck_assert_uint_eq(evaluation.score[0].n_nan, 1);
    ck_assert_uint_eq(evaluation.score[0].top1_correct, 1);
    ck_assert_uint_eq(evaluation.score[0].top5_correct, 1);
    ck_assert_uint_eq(evaluation.score[0].top[0][0], SQZ_NO_CLASS);
    ck_assert_double_eq(evaluation.agreement, 0.5);
    sqz_evaluation_free(&evaluation);
    sqz_model_free(model);
    remove_folder();
}
END_TEST

START_TEST(labels_beyond_the_classes_are_an_error) {
    struct sqz_model *model = make_net(straight, 1, false);
    make_folder();
    add_seven();
    struct sqz_dataset *dataset = open_folder();
    struct sqz_subject subject = subject_of(model, 1);
    const struct sqz_evaluate_options options = {.batch = 1, .label_offset = 1};
    struct sqz_evaluation evaluation;
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_evaluate(dataset, &subject, 1, &options, &evaluation, &err), SQZ_BAD_LABEL);
    ck_assert_ptr_nonnull(strstr(err.text, "004.pgm"));
    sqz_session_free(subject.session);
    sqz_dataset_close(dataset);
    sqz_model_free(model);
    remove_folder();
}
END_TEST

START_TEST(short_memory_is_an_error) {
    struct sqz_model *model = make_net(straight, 1, false);
    make_folder();
    add_seven();
    struct sqz_dataset *dataset = open_folder();
    struct sqz_subject subjects[2] = {subject_of(model, 2), subject_of(model, 2)};
    const struct sqz_evaluate_options options = {.batch = 2};
    struct sqz_evaluation evaluation;
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    int n = 0;
    sqz_set_threads(1);
    for (; n < 1000 && status != SQZ_OK; n++) {
        sqz_alloc_fail_after(n);
        status = sqz_evaluate(dataset, subjects, 2, &options, &evaluation, NULL);
        sqz_alloc_fail_after(-1);
    }
    ck_assert_int_eq(status, SQZ_OK);
    ck_assert_int_gt(n, 10);
    ck_assert_uint_eq(evaluation.n_bad, 1);
    sqz_evaluation_free(&evaluation);
    sqz_session_free(subjects[0].session);
    sqz_session_free(subjects[1].session);
    sqz_dataset_close(dataset);
    sqz_model_free(model);
    remove_folder();
}
END_TEST

Suite *test_evaluate(void) {
    Suite *suite = suite_create("evaluate");
    TCase *tc = tcase_create("evaluate");
    tcase_add_loop_test(tc, broken_images_stay_in_the_denominator, 0, 10);
    tcase_add_test(tc, limit_takes_the_first_images);
    tcase_add_test(tc, two_models_are_compared_image_by_image);
    tcase_add_test(tc, probabilities_and_logits_compare);
    tcase_add_test(tc, nan_counts_as_wrong);
    tcase_add_test(tc, labels_beyond_the_classes_are_an_error);
    tcase_add_test(tc, short_memory_is_an_error);
    suite_add_tcase(suite, tc);
    return suite;
}
