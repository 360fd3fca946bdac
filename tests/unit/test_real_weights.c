/*
 * test_real_weights.c - the trained SqueezeNets of the shared data through the whole pipeline: accuracy, exactness,
 * size.
 *
 * The references are PyTorch's: its five best classes for each of 600 photographs and its logits for the first 16.
 * Under AddressSanitizer only the first photographs are run.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/evaluate.h"
#include "eval/npy.h"
#include "formats/formats.h"
#include "lib/container.h"
#include "lib/parallel.h"
#include "lib/quantize.h"
#include "tests/unit/reader_folder.h"

#ifdef __SANITIZE_ADDRESS__
enum { N_PHOTOGRAPHS = 20 };
#else
enum { N_PHOTOGRAPHS = 600 };
#endif
enum { N_LOGITS = 16, N_CLASSES = 1000 };

static const char *const sources[] = {"squeezenet1_1.pth", "squeezenet1_1_legacy.pth", "squeezenet1_1.onnx",
                                      "squeezenet_v1.1.ncnn.param"};
#define HAN "han_squeezenet_v1.0.net"

static const char *shared;

/* Whether the data are there; says so when they are not. */
static bool have_data(const char *test) {
    char text[64];
    snprintf(text, sizeof text, "test_real_weights %s", test);
    shared = reader_shared(text);
    return shared != NULL;
}

static struct sqz_model *read_model(const char *path) {
    struct sqz_read_options options = {0};
    struct sqz_model *model;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_model_read(path, &options, &model, &err) == SQZ_OK, "%s: %s", path, err.text);
    return model;
}

static struct sqz_model *read_shared(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/data/models/%s", shared, name);
    return read_model(path);
}

static struct sqz_dataset *open_photographs(void) {
    char path[512];
    struct sqz_dataset_options options = {.need_labels = true};
    struct sqz_dataset *dataset;
    struct sqz_error err = {0};
    snprintf(path, sizeof path, "%s/data/eval", shared);
    ck_assert_msg(sqz_dataset_open(path, &options, &dataset, &err) == SQZ_OK, "%s", err.text);
    return dataset;
}

static struct sqz_session *plan(const struct sqz_model *model) {
    struct sqz_session_options options = {.max_batch = N_LOGITS};
    struct sqz_session *session;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_session_new(model, &options, &session, &err) == SQZ_OK, "%s", err.text);
    ck_assert_uint_eq(sqz_session_output_count(session), N_CLASSES);
    return session;
}

static void evaluate(const struct sqz_model *model, struct sqz_evaluation *out) {
    struct sqz_session *session = plan(model);
    struct sqz_dataset *dataset = open_photographs();
    struct sqz_subject subject = {session, &model->input, N_CLASSES, sqz_model_ends_in_softmax(model)};
    struct sqz_evaluate_options options = {.limit = N_PHOTOGRAPHS, .batch = N_LOGITS};
    struct sqz_error err = {0};
    ck_assert_msg(sqz_evaluate(dataset, &subject, 1, &options, out, &err) == SQZ_OK, "%s", err.text);
    ck_assert_uint_eq(out->n_images, N_PHOTOGRAPHS);
    ck_assert_uint_eq(out->n_bad, 0);
    sqz_dataset_close(dataset);
    sqz_session_free(session);
}

/* The net's results for the first 16 photographs; free() them. */
static float *logits_of(const struct sqz_model *model) {
    struct sqz_session *session = plan(model);
    struct sqz_dataset *dataset = open_photographs();
    size_t n_input = sqz_session_input_count(session);
    float *input = malloc(N_LOGITS * n_input * sizeof *input), *output = malloc(N_LOGITS * N_CLASSES * sizeof *output);
    for (size_t i = 0; i < N_LOGITS; i++)
        ck_assert_int_eq(sqz_dataset_load(dataset, i, &model->input, input + i * n_input, NULL), SQZ_OK);
    sqz_session_run(session, input, N_LOGITS, output);
    free(input);
    sqz_dataset_close(dataset);
    sqz_session_free(session);
    return output;
}

static double largest_difference(const float *a, const float *b, size_t n) {
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        if (!(difference <= largest)) largest = difference; /* NaN is the largest */
    }
    return largest;
}

static void share(struct sqz_model *model, unsigned bits) {
    struct sqz_layer_value rule = {NULL, bits};
    struct sqz_quantize_options options = {.bits = &rule, .n_bits = 1, .method = SQZ_KMEANS_OPTIMAL};
    struct sqz_quantize_stats *stats = sqz_alloc(model->n_weights, sizeof *stats);
    struct sqz_error err = {0};
    size_t n;
    ck_assert_msg(sqz_quantize(model, &options, stats, &n, &err) == SQZ_OK, "%s", err.text);
    sqz_free(stats);
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

static void expect_same_bytes(const struct sqz_buffer *a, const struct sqz_buffer *b, const char *what) {
    ck_assert_msg(a->nbytes == b->nbytes && memcmp(a->data, b->data, a->nbytes) == 0, "%s: other bytes", what);
}

/* ---- one model in four files ------------------------------------------------------------------ */

static bool takes_weights(const struct sqz_node *node) {
    return node->op == SQZ_OP_CONV || node->op == SQZ_OP_DENSE;
}

/* The layers in order: names differ between formats, kernels and biases must not, in any bit. */
static void expect_same_layers(struct sqz_model *a, struct sqz_model *b, const char *what) {
    size_t n_layers = 0, k = 0;
    for (size_t i = 0; i < a->n_nodes; i++) {
        if (!takes_weights(&a->nodes[i])) continue;
        while (k < b->n_nodes && !takes_weights(&b->nodes[k])) k++;
        ck_assert_msg(k < b->n_nodes, "%s has fewer layers", what);
        const uint32_t weights[2][2] = {{a->nodes[i].kernel, b->nodes[k].kernel}, {a->nodes[i].bias, b->nodes[k].bias}};
        for (int w = 0; w < 2; w++) {
            struct sqz_weight *x = &a->weights[weights[w][0]], *y = &b->weights[weights[w][1]];
            ck_assert_int_eq(sqz_weight_need_data(x, NULL), SQZ_OK);
            ck_assert_int_eq(sqz_weight_need_data(y, NULL), SQZ_OK);
            ck_assert_msg(x->count == y->count && memcmp(x->data, y->data, x->count * sizeof(float)) == 0,
                          "%s: %s is not %s", what, y->name, x->name);
        }
        n_layers++;
        k++;
    }
    ck_assert_uint_eq(n_layers, 26);
}

START_TEST(four_files_hold_one_model) {
    if (!have_data("four_files_hold_one_model")) return;
    struct sqz_model *first = read_shared(sources[0]);
    for (size_t i = 1; i < 4; i++) {
        struct sqz_model *other = read_shared(sources[i]);
        expect_same_layers(first, other, sources[i]);
        ck_assert_str_eq(other->arch, "squeezenet1_1");
        ck_assert_int_eq(memcmp(&first->input.scale, &other->input.scale, sizeof first->input.scale), 0);
        ck_assert_int_eq(memcmp(first->input.mean, other->input.mean, 3 * sizeof(float)), 0);
        ck_assert_int_eq(memcmp(first->input.std, other->input.std, 3 * sizeof(float)), 0);
        ck_assert_uint_eq(first->input.resize_short, other->input.resize_short);
        sqz_model_free(other);
    }
    sqz_model_free(first);
}
END_TEST

START_TEST(logits_equal_pytorch) {
    if (!have_data("logits_equal_pytorch")) return;
    char path[512];
    struct sqz_source source;
    struct sqz_npy wanted;
    snprintf(path, sizeof path, "%s/data/models/squeezenet1_1.eval16.logits.npy", shared);
    ck_assert_int_eq(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_npy_read(source.data, source.nbytes, &wanted, NULL), SQZ_OK);
    ck_assert_uint_eq(wanted.count, N_LOGITS * N_CLASSES);
    struct sqz_model *model = read_shared(sources[_i]);
    float *logits = logits_of(model);
    double difference = largest_difference(logits, wanted.data, wanted.count);
    ck_assert_msg(difference < 1e-3, "%s: %g away", sources[_i], difference);
    free(logits);
    sqz_model_free(model);
    sqz_npy_free(&wanted);
    sqz_source_close(&source);
}
END_TEST

/* How many of the photographs have the same five best classes, in the same order, as PyTorch found. */
static size_t count_same_top5(const struct sqz_evaluation *evaluation) {
    char path[512], name[128];
    uint32_t top[SQZ_TOP];
    size_t same = 0;
    snprintf(path, sizeof path, "%s/data/models/squeezenet1_1.eval.top5.txt", shared);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    struct sqz_dataset *dataset = open_photographs();
    for (size_t i = 0; i < N_PHOTOGRAPHS; i++) {
        ck_assert_int_eq(fscanf(file, "%127s %u %u %u %u %u", name, &top[0], &top[1], &top[2], &top[3], &top[4]), 6);
        ck_assert_str_eq(name, sqz_dataset_name(dataset, i));
        same += memcmp(evaluation->score[0].top[i], top, sizeof top) == 0;
    }
    fclose(file);
    sqz_dataset_close(dataset);
    return same;
}

START_TEST(photographs_are_classified_as_by_pytorch) {
    if (!have_data("photographs_are_classified_as_by_pytorch")) return;
    struct sqz_model *model = read_shared(sources[_i]);
    struct sqz_evaluation evaluation;
    evaluate(model, &evaluation);
    ck_assert_uint_ge(count_same_top5(&evaluation), N_PHOTOGRAPHS == 600 ? 595 : N_PHOTOGRAPHS - 1);
    if (N_PHOTOGRAPHS == 600) {
        /* PyTorch has 402 and 522; summation order may move one. */
        ck_assert_uint_ge(evaluation.score[0].top1_correct, 401);
        ck_assert_uint_le(evaluation.score[0].top1_correct, 403);
        ck_assert_uint_ge(evaluation.score[0].top5_correct, 521);
        ck_assert_uint_le(evaluation.score[0].top5_correct, 523);
    }
    sqz_evaluation_free(&evaluation);
    sqz_model_free(model);
}
END_TEST

/* ---- the published file ----------------------------------------------------------------------- */

/* 675,763 bytes by its authors; the same weights, bit for bit, in at most 540,000. */
START_TEST(published_file_is_recoded_without_loss) {
    if (!have_data("published_file_is_recoded_without_loss")) return;
    struct sqz_model *model = read_shared(HAN);
    struct sqz_buffer file = encode(model, SQZ_CODER_AUTO, SQZ_BIAS_FP32);
    struct sqz_model *back = decode(&file);
    expect_same_layers(model, back, "recoded");
    ck_assert_msg(file.nbytes <= 540000, "%zu bytes", file.nbytes);
    sqz_model_free(back);
    sqz_buffer_free(&file);
    sqz_model_free(model);
}
END_TEST

/* Blue, green, red, 0 to 255 less the means: with any of that wrong, the net has a few percent. Found: 304 and 465. */
START_TEST(published_file_classifies) {
    if (!have_data("published_file_classifies")) return;
    struct sqz_model *model = read_shared(HAN);
    struct sqz_evaluation evaluation;
    evaluate(model, &evaluation);
    const struct sqz_score *score = &evaluation.score[0];
    fprintf(stderr, "%s: top-1 %zu, top-5 %zu of %d photographs\n", HAN, score->top1_correct, score->top5_correct,
            N_PHOTOGRAPHS);
    ck_assert_uint_ge(score->top1_correct, N_PHOTOGRAPHS == 600 ? 301 : 5);
    ck_assert_uint_ge(score->top5_correct, N_PHOTOGRAPHS == 600 ? 462 : 10);
    sqz_evaluation_free(&evaluation);
    sqz_model_free(model);
}
END_TEST

/* ---- the classic pipeline --------------------------------------------------------------------- */

/* Six bits everywhere, nothing pruned, no calibration: at least 63% of the photographs, where the float net has 67%. */
START_TEST(six_bits_keep_the_accuracy) {
    if (!have_data("six_bits_keep_the_accuracy")) return;
    struct sqz_model *model = read_shared(sources[0]);
    share(model, 6);
    struct sqz_buffer file = encode(model, SQZ_CODER_AUTO, SQZ_BIAS_FP16);
    struct sqz_model *back = decode(&file);
    struct sqz_evaluation evaluation;
    evaluate(back, &evaluation);
    if (N_PHOTOGRAPHS == 600) ck_assert_uint_ge(evaluation.score[0].top1_correct, 378);
    ck_assert_uint_ge(evaluation.score[0].top5_correct, N_PHOTOGRAPHS * 8 / 10);
    sqz_evaluation_free(&evaluation);
    sqz_model_free(back);
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

/* Huffman within 3% of the order-0 entropy of what it codes, on every layer of more than 1000 weights. */
START_TEST(huffman_is_near_the_entropy) {
    if (!have_data("huffman_is_near_the_entropy")) return;
    struct sqz_model *model = _i == 0 ? read_shared(HAN) : read_shared(sources[0]);
    if (_i > 0) share(model, (unsigned)_i);
    struct sqz_buffer file = encode(model, SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
    struct sqz_tensor_stats *stats = sqz_alloc(model->n_weights, sizeof *stats);
    struct sqz_ledger ledger;
    ck_assert_int_eq(sqz_container_ledger(file.data, file.nbytes, model, &ledger, stats, NULL), SQZ_OK);
    size_t worst = 0, n_layers = 0;
    double most = 0;
    for (size_t i = 0; i < model->n_weights; i++) {
        if (strcmp(stats[i].coder, "huffman") != 0 || stats[i].count <= 1000) continue;
        double above = (double)stats[i].stream_nbits / stats[i].entropy_nbits - 1;
        n_layers++;
        if (above <= most) continue;
        most = above;
        worst = i;
    }
    ck_assert_uint_ge(n_layers, 25);
    fprintf(stderr, "Huffman, %s: the worst layer, %s, is %.2f%% above its entropy\n",
            _i == 0   ? "published file"
            : _i == 6 ? "6 bits"
                      : "5 bits",
            stats[worst].layer, 100 * most);
    ck_assert_msg(most <= 0.03, "%s is %.2f%% above its entropy", stats[worst].layer, 100 * most);
    sqz_free(stats);
    sqz_buffer_free(&file);
    sqz_model_free(model);
}
END_TEST

/* Decoding restores the levels exactly; encoding again, any number of threads, and another run give the same bytes. */
START_TEST(coding_is_exact_and_repeatable) {
    if (!have_data("coding_is_exact_and_repeatable")) return;
    struct sqz_buffer first = {0};
    for (int threads = 1; threads <= 3; threads++) {
        char what[32];
        snprintf(what, sizeof what, "%d threads", threads);
        sqz_set_threads(threads);
        struct sqz_model *model = read_shared(sources[0]);
        share(model, 5);
        struct sqz_buffer file = encode(model, SQZ_CODER_AUTO, SQZ_BIAS_FP16);
        struct sqz_model *back = decode(&file);
        for (size_t i = 0; i < model->n_weights; i++) {
            const struct sqz_packed *a = model->weights[i].packed, *b = back->weights[i].packed;
            if (!a) continue;
            ck_assert_ptr_nonnull(b);
            ck_assert_uint_eq(a->n_codebook, b->n_codebook);
            ck_assert_mem_eq(a->codebook, b->codebook, a->n_codebook * sizeof *a->codebook);
            ck_assert_mem_eq(a->levels, b->levels, a->n_levels * sizeof *a->levels);
        }
        struct sqz_buffer again = encode(back, SQZ_CODER_AUTO, SQZ_BIAS_FP16);
        expect_same_bytes(&file, &again, "encoded after decoding");
        if (threads > 1) expect_same_bytes(&first, &file, what);
        if (threads == 1)
            first = file;
        else
            sqz_buffer_free(&file);
        sqz_buffer_free(&again);
        sqz_model_free(back);
        sqz_model_free(model);
    }
    sqz_buffer_free(&first);
    sqz_set_threads(0);
}
END_TEST

/* The ONNX export of a compressed model, read again, gives its logits. tests/peers/onnx_export.py asks ONNX Runtime. */
START_TEST(export_gives_the_same_logits) {
    if (!have_data("export_gives_the_same_logits")) return;
    struct sqz_model *model = read_shared(_i ? HAN : sources[0]);
    if (_i == 0) share(model, 5);
    struct sqz_buffer file = encode(model, SQZ_CODER_AUTO, SQZ_BIAS_FP16);
    sqz_model_free(model);
    model = decode(&file);
    ck_assert_int_eq(sqz_onnx_write(model, reader_path("export.onnx"), NULL, NULL), SQZ_OK);
    struct sqz_model *back = read_model(reader_path("export.onnx"));
    float *ours = logits_of(model), *theirs = logits_of(back);
    ck_assert_double_lt(largest_difference(ours, theirs, N_LOGITS * N_CLASSES), 1e-4);
    free(ours);
    free(theirs);
    sqz_model_free(back);
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

Suite *test_real_weights(void);

Suite *test_real_weights(void) {
    Suite *suite = suite_create("real_weights");
    TCase *tc = tcase_create("real_weights");
    tcase_add_checked_fixture(tc, reader_folder_make, reader_folder_remove);
    tcase_set_timeout(tc, 240);
    tcase_add_test(tc, four_files_hold_one_model);
    tcase_add_loop_test(tc, logits_equal_pytorch, 0, 4);
    tcase_add_loop_test(tc, photographs_are_classified_as_by_pytorch, 0, 4);
    tcase_add_test(tc, published_file_is_recoded_without_loss);
    tcase_add_test(tc, published_file_classifies);
    tcase_add_test(tc, six_bits_keep_the_accuracy);
    tcase_add_loop_test(tc, huffman_is_near_the_entropy, 0, 1);
    tcase_add_loop_test(tc, huffman_is_near_the_entropy, 5, 7);
    tcase_add_test(tc, coding_is_exact_and_repeatable);
    tcase_add_loop_test(tc, export_gives_the_same_logits, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}
