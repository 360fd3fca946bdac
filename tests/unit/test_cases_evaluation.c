/* test_cases_evaluation.c - accuracies that were wrong with a good model: label order, ties, threads, sizes of maps. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "eval/evaluate.h"
#include "lib/infer.h"
#include "lib/parallel.h"
#include "lib/random.h"
#include "tests/unit/random_nets.h"
#include "tests/unit/reader_folder.h"

/* An image of 2x2 equal pixels. */
static void write_grey(const char *name, unsigned value) {
    uint8_t file[11 + 4] = "P5\n2 2\n255\n";
    memset(file + 11, (int)value, 4);
    reader_write(name, file, sizeof file);
}

/* A net whose best class is the pixels' value, plus `shift`: score c is -(x - c)^2 without the x^2. */
static struct sqz_model *reading_net(uint32_t n_classes, int shift) {
    struct net net = net_new(1, 2, 2, 1);
    struct sqz_model *model = net.model;
    ck_assert(sqz_input_preset("raw", &model->input));
    uint32_t at = net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, (uint32_t[]){0}, 1);
    model->output = net_dense(&net, at, 1, n_classes);
    for (uint32_t c = 0; c < n_classes; c++) {
        float value = (float)c - (float)shift;
        model->weights[0].data[c] = 2 * value;
        model->weights[1].data[c] = -value * value;
    }
    return model;
}

/* Evaluate a folder of the test's; the caller frees *out. */
static enum sqz_status evaluate(const struct sqz_model *model, const char *folder, uint32_t batch, int label_offset,
                                struct sqz_dataset **dataset, struct sqz_evaluation *out, struct sqz_error *err) {
    struct sqz_dataset_options labels = {.need_labels = true};
    struct sqz_session_options planned = {.max_batch = batch};
    struct sqz_session *session;
    SQZ_TRY(sqz_dataset_open(reader_path(folder), &labels, dataset, err));
    ck_assert_int_eq(sqz_session_new(model, &planned, &session, NULL), SQZ_OK);
    struct sqz_subject subject = {session, &model->input, sqz_session_output_count(session), false};
    struct sqz_evaluate_options options = {.batch = batch, .label_offset = label_offset};
    enum sqz_status status = sqz_evaluate(*dataset, &subject, 1, &options, out, err);
    sqz_session_free(session);
    return status;
}

static size_t count_correct(const struct sqz_model *model, const char *folder, int label_offset) {
    struct sqz_dataset *dataset;
    struct sqz_evaluation evaluation;
    struct sqz_error err = {0};
    ck_assert_msg(evaluate(model, folder, 4, label_offset, &dataset, &evaluation, &err) == SQZ_OK, "%s", err.text);
    size_t correct = evaluation.score[0].top1_correct;
    sqz_evaluation_free(&evaluation);
    sqz_dataset_close(dataset);
    return correct;
}

/* Folders "0".."19" were sorted as text, 0 1 10 11 ...: accuracy of chance with a perfect model. */
START_TEST(numeric_folders_are_right_to_the_score) {
    ck_assert_int_eq(mkdir(reader_path("set"), 0700), 0);
    for (unsigned c = 0; c < 20; c++) {
        char name[64];
        snprintf(name, sizeof name, "set/%u", c);
        ck_assert_int_eq(mkdir(reader_path(name), 0700), 0);
        snprintf(name, sizeof name, "set/%u/image.pgm", c);
        write_grey(name, c);
    }
    struct sqz_model *model = reading_net(20, 0);
    ck_assert_uint_eq(count_correct(model, "set", 0), 20);
    sqz_model_free(model);
}
END_TEST

/* A net with one more class, for "background", scored nothing; with the offset every image is right, and only then. */
START_TEST(background_class_needs_its_offset) {
    char list[512] = "";
    ck_assert_int_eq(mkdir(reader_path("set"), 0700), 0);
    for (unsigned c = 0; c < 10; c++) {
        char name[64];
        snprintf(name, sizeof name, "set/image%u.pgm", c);
        write_grey(name, c);
        snprintf(list + strlen(list), sizeof list - strlen(list), "image%u.pgm %u\n", c, c);
    }
    reader_write("set/labels.txt", list, strlen(list));
    struct sqz_model *model = reading_net(11, 1);
    ck_assert_uint_eq(count_correct(model, "set", 1), 10);
    ck_assert_uint_eq(count_correct(model, "set", 0), 0);
    sqz_model_free(model);
}
END_TEST

/* ---- threads, batches and order --------------------------------------------------------------- */

enum { N_IMAGES = 64, N_CLASSES = 12 };

/* Images of random pixels with their list, in the given order. */
static void write_set(const char *folder, const unsigned order[N_IMAGES]) {
    char list[N_IMAGES * 32] = "";
    ck_assert_int_eq(mkdir(reader_path(folder), 0700), 0);
    for (size_t i = 0; i < N_IMAGES; i++) {
        uint8_t file[14 + 256] = "P5\n16 16\n255\n";
        struct sqz_random random = sqz_random_seeded(order[i]);
        char name[64];
        for (size_t k = 0; k < 256; k++) file[13 + k] = (uint8_t)sqz_random_next(&random);
        snprintf(name, sizeof name, "%s/image%u.pgm", folder, order[i]);
        reader_write(name, file, 13 + 256);
        snprintf(list + strlen(list), sizeof list - strlen(list), "image%u.pgm %u\n", order[i], order[i] % N_CLASSES);
    }
    char name[64];
    snprintf(name, sizeof name, "%s/labels.txt", folder);
    reader_write(name, list, strlen(list));
}

/* Two convolutions and a dense layer; classes 3 and 7 always have the same score, and often the highest. */
static struct sqz_model *tied_net(void) {
    struct net net = net_new(1, 16, 16, 9);
    uint32_t at = net_conv(&net, 0, 1, 24, square_window(3, 1, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), true);
    at = net_conv(&net, at, 24, 8, square_window(3, 1, 1), 1);
    net.model->output = net_dense(&net, at, 8 * 8 * 8, N_CLASSES);
    ck_assert(sqz_input_preset("fashion-mnist", &net.model->input));
    struct sqz_weight *kernel = &net.model->weights[4], *bias = &net.model->weights[5];
    memcpy(kernel->data + 7 * 512, kernel->data + 3 * 512, 512 * sizeof(float));
    bias->data[3] = bias->data[7] = 1;
    return net.model;
}

struct results {
    size_t top1, top5;
    uint32_t top[N_IMAGES][SQZ_TOP]; /* by the image's own number */
    float confidence[N_IMAGES];
};

static void evaluate_set(const struct sqz_model *model, const char *folder, uint32_t batch, struct results *results) {
    struct sqz_dataset *dataset;
    struct sqz_evaluation evaluation;
    struct sqz_error err = {0};
    memset(results, 0, sizeof *results);
    ck_assert_msg(evaluate(model, folder, batch, 0, &dataset, &evaluation, &err) == SQZ_OK, "%s", err.text);
    ck_assert_uint_eq(evaluation.n_images, N_IMAGES);
    results->top1 = evaluation.score[0].top1_correct;
    results->top5 = evaluation.score[0].top5_correct;
    for (size_t i = 0; i < N_IMAGES; i++) {
        unsigned number;
        ck_assert_int_eq(sscanf(sqz_dataset_name(dataset, i), "image%u.pgm", &number), 1);
        memcpy(results->top[number], evaluation.score[0].top[i], sizeof results->top[number]);
        results->confidence[number] = evaluation.score[0].confidence[i];
    }
    sqz_evaluation_free(&evaluation);
    sqz_dataset_close(dataset);
}

/*
 * Two machines disagreed on an accuracy: sums depended on the number of threads or the batch, and near-ties flipped.
 * 64 images, in two orders, with 1, 3 and 16 threads, one and seven at a time; ties go to the lower class.
 */
START_TEST(threads_batches_and_order_change_nothing) {
    unsigned order[N_IMAGES], shuffled[N_IMAGES];
    struct sqz_random random = sqz_random_seeded(5);
    for (unsigned i = 0; i < N_IMAGES; i++) order[i] = shuffled[i] = i;
    for (unsigned i = N_IMAGES - 1; i > 0; i--) {
        unsigned k = (unsigned)(sqz_random_next(&random) % (i + 1)), held = shuffled[i];
        shuffled[i] = shuffled[k];
        shuffled[k] = held;
    }
    write_set("straight", order);
    write_set("shuffled", shuffled);
    struct sqz_model *model = tied_net();
    static const int threads[] = {1, 3, 16};
    static const uint32_t batches[] = {1, 7};
    struct results first, results;
    size_t n_ties = 0;
    sqz_set_threads(1);
    evaluate_set(model, "straight", 1, &first);
    for (size_t t = 0; t < 3; t++)
        for (size_t b = 0; b < 2; b++)
            for (int order_of_list = 0; order_of_list < 2; order_of_list++) {
                sqz_set_threads(threads[t]);
                evaluate_set(model, order_of_list ? "shuffled" : "straight", batches[b], &results);
                ck_assert_msg(memcmp(&first, &results, sizeof first) == 0, "%d threads, batch %u, order %d", threads[t],
                              batches[b], order_of_list);
            }
    sqz_set_threads(0);
    for (size_t i = 0; i < N_IMAGES; i++) {
        ck_assert_uint_ne(first.top[i][0], 7);
        n_ties += first.top[i][0] == 3 && first.top[i][1] == 7;
    }
    ck_assert_uint_gt(n_ties, 0);
    sqz_model_free(model);
}
END_TEST

/* AlexNet without padding at 224 has 6x6 maps at its end in Caffe, which rounds up, and 5x5 elsewhere: a shape error.
 */
START_TEST(alexnet_without_padding) {
    for (int ceil_mode = 0; ceil_mode < 2; ceil_mode++) {
        struct net net = net_new(3, 224, 224, 1);
        uint32_t at = net_conv(&net, 0, 3, 2, square_window(11, 4, 0), 1);
        at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), ceil_mode);
        at = net_conv(&net, at, 2, 2, square_window(5, 1, 2), 2);
        at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), ceil_mode);
        at = net_conv(&net, at, 2, 2, square_window(3, 1, 1), 1);
        at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), ceil_mode);
        net.model->output = at;
        struct sqz_shape shapes[7];
        struct sqz_error err = {0};
        ck_assert_msg(sqz_infer_shapes(net.model, 1, 0, 0, shapes, &err) == SQZ_OK, "%s", err.text);
        ck_assert_uint_eq(shapes[at].dim[2], ceil_mode ? 6 : 5);
        ck_assert_uint_eq(shapes[at].dim[3], ceil_mode ? 6 : 5);
        sqz_model_free(net.model);
    }
}
END_TEST

Suite *test_cases_evaluation(void);

Suite *test_cases_evaluation(void) {
    Suite *suite = suite_create("cases_evaluation");
    TCase *tc = tcase_create("cases");
    tcase_add_checked_fixture(tc, reader_folder_make, reader_folder_remove);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, numeric_folders_are_right_to_the_score);
    tcase_add_test(tc, background_class_needs_its_offset);
    tcase_add_test(tc, threads_batches_and_order_change_nothing);
    tcase_add_test(tc, alexnet_without_padding);
    suite_add_tcase(suite, tc);
    return suite;
}
