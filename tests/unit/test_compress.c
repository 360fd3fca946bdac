/* test_compress.c - the search for a small file: probe, sweep, cache and the goals, on a small random net. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eval/compress.h"
#include "lib/parallel.h"
#include "tests/unit/random_nets.h"

Suite *test_compress(void);

enum { SIDE = 12, CLASSES = 7 };

static char folder[64], cache[96];

static void make_folder(void) {
    strcpy(folder, "/tmp/sqz-compress-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(cache, sizeof cache, "%s/cache", folder);
    char path[96];
    snprintf(path, sizeof path, "%s/images", folder);
    ck_assert_int_eq(system(NULL) != 0, 1);
    char command[128];
    snprintf(command, sizeof command, "mkdir %s", path);
    ck_assert_int_eq(system(command), 0);
    sqz_set_threads(1); /* these layers are too small for two to be worth their meetings */
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
    sqz_set_threads(0);
}

/* Grey images of smooth blobs; `contrast` 0 makes them all of one grey. */
static struct sqz_dataset *write_images(size_t n, double contrast) {
    uint64_t state = 5;
    for (size_t k = 0; k < n; k++) {
        char path[128];
        unsigned char pixels[SIDE * SIDE];
        double x0 = SIDE * (random_unit(&state) + 1) / 2, y0 = SIDE * (random_unit(&state) + 1) / 2;
        for (int i = 0; i < SIDE * SIDE; i++) {
            double x = i % SIDE - x0, y = i / SIDE - y0;
            double v = 128 + contrast * (120 * exp(-(x * x + y * y) / 18) - 60 + 20 * (double)random_unit(&state));
            pixels[i] = (unsigned char)v;
        }
        snprintf(path, sizeof path, "%s/images/%03zu.pgm", folder, k);
        FILE *file = fopen(path, "wb");
        ck_assert_ptr_nonnull(file);
        fprintf(file, "P5\n%d %d\n255\n", SIDE, SIDE);
        fwrite(pixels, 1, sizeof pixels, file);
        fclose(file);
    }
    char path[96];
    struct sqz_dataset *dataset = NULL;
    struct sqz_error err = {0};
    const struct sqz_dataset_options options = {0};
    snprintf(path, sizeof path, "%s/images", folder);
    ck_assert_msg(sqz_dataset_open(path, &options, &dataset, &err) == SQZ_OK, "%s", err.text);
    return dataset;
}

/* Two branches that meet in a Concat, so that not every node is a cut. With `dead`, a layer that leads nowhere. */
static struct sqz_model *make_net(bool dead) {
    struct net net = net_new(1, SIDE, SIDE, 3);
    net.model->input.order = SQZ_CHANNELS_GREY;
    net.model->input.scale = 1 / 64.0f;
    net.model->input.mean[0] = 2;
    for (int c = 0; c < 4; c++) net.model->input.std[c] = 1;
    uint32_t at = net_conv(&net, 0, 1, 8, square_window(3, 1, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(2, 2, 0), false);
    uint32_t branches[2] = {net_conv(&net, at, 8, 8, square_window(1, 1, 0), 1),
                            net_conv(&net, at, 8, 12, square_window(3, 1, 1), 1)};
    if (dead) net_conv(&net, at, 8, 4, square_window(1, 1, 0), 1);
    at = net_node(&net, SQZ_OP_CONCAT, branches, 2);
    net.model->nodes[at].params.concat.axis = 1;
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_conv(&net, at, 20, 24, square_window(3, 2, 1), 2);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_node(&net, SQZ_OP_FLATTEN, &at, 1);
    at = net_dense(&net, at, 24 * 9, CLASSES);
    /* Random nets hardly tell their classes apart; this makes the divergences as large as a trained one's. */
    struct sqz_weight *last = &net.model->weights[net.model->nodes[at].kernel];
    for (size_t i = 0; i < last->count; i++) last->data[i] *= 4;
    return net.model;
}

static struct sqz_compressor *open_compressor(struct sqz_model *model, const struct sqz_dataset *dataset,
                                              const struct sqz_compress_options *options) {
    struct sqz_compressor *compressor = NULL;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_compressor_new(model, dataset, options, &compressor, &err) == SQZ_OK, "%s", err.text);
    return compressor;
}

static const struct sqz_compress_options usual = {.n_images = 48, .n_probe = 16, .lambda = -1};

/* ---- probe -------------------------------------------------------------- */

START_TEST(a_probe_gives_the_same_from_any_start) {
    struct sqz_dataset *dataset = write_images(20, 1);
    struct sqz_model *model = make_net(false), *changed = NULL;
    struct sqz_calibration *images = NULL;
    struct sqz_probe *probe = NULL;
    const struct sqz_calibration_options options = {.n_images = 20};
    ck_assert_int_eq(sqz_calibration_load(dataset, &model->input, &options, &images, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_probe_new(model, images->images, 20, &probe, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_model_clone(model, &changed, NULL), SQZ_OK);
    struct sqz_divergence same, first, again;
    ck_assert_int_eq(sqz_probe_measure(probe, changed, &same, NULL), SQZ_OK);
    ck_assert_double_eq(same.kl, 0);
    ck_assert_double_eq(same.agreement, 1);
    /* The last dense layer is behind every cut. */
    for (uint32_t node = (uint32_t)model->n_nodes - 1; node > 0; node--) {
        uint32_t kernel = model->nodes[node].kernel;
        if (kernel == SQZ_NO_WEIGHT) continue;
        changed->weights[kernel].data[0] += 0.5f;
        ck_assert_int_eq(sqz_probe_start_at(probe, 0, NULL), SQZ_OK);
        ck_assert_int_eq(sqz_probe_measure(probe, changed, &first, NULL), SQZ_OK);
        ck_assert_double_gt(first.kl, 0);
        ck_assert_int_eq(sqz_probe_start_at(probe, node, NULL), SQZ_OK);
        ck_assert_int_eq(sqz_probe_measure(probe, changed, &again, NULL), SQZ_OK);
        ck_assert_double_eq(again.kl, first.kl);
    }
    sqz_probe_free(probe);
    sqz_calibration_free(images);
    sqz_model_free(changed);
    sqz_model_free(model);
    sqz_dataset_close(dataset);
}
END_TEST

/* ---- goals ---------------------------------------------------------------- */

static const enum sqz_compress_levels kinds[] = {SQZ_COMPRESS_UNIFORM, SQZ_COMPRESS_CODEBOOK};

/* _i: bit 0 the kind of levels, bit 1 the method */
START_TEST(a_target_size_is_kept) {
    struct sqz_dataset *dataset = write_images(64, 1);
    struct sqz_model *model = make_net(false);
    struct sqz_compress_options options = usual;
    options.levels = kinds[_i & 1];
    options.classic = _i >> 1;
    struct sqz_compressor *compressor = open_compressor(model, dataset, &options);
    size_t fixed = sqz_compressor_facts(compressor).fixed_nbytes;
    double last = INFINITY;
    for (size_t target = fixed + 1200; target <= fixed + 2800; target += 800) {
        struct sqz_candidate best;
        bool met;
        ck_assert_int_eq(sqz_compress_to_size(compressor, target, &best, &met, NULL), SQZ_OK);
        ck_assert(met);
        ck_assert_uint_le(best.file.nbytes, target);
        /* Without compensation layers add up by chance. */
        if (!options.classic) ck_assert_double_lt(best.kl, last);
        last = best.kl;
        sqz_candidate_free(&best);
    }
    sqz_compressor_free(compressor);
    sqz_model_free(model);
    sqz_dataset_close(dataset);
}
END_TEST

START_TEST(a_target_out_of_reach_gives_the_smallest_file) {
    struct sqz_dataset *dataset = write_images(64, 1);
    struct sqz_model *model = make_net(false);
    struct sqz_compressor *compressor = open_compressor(model, dataset, &usual);
    struct sqz_candidate best;
    bool met;
    ck_assert_int_eq(sqz_compress_to_size(compressor, 50, &best, &met, NULL), SQZ_OK);
    ck_assert(!met);
    ck_assert(best.is_smallest);
    ck_assert_uint_gt(best.file.nbytes, 50);
    sqz_candidate_free(&best);
    sqz_compressor_free(compressor);
    sqz_model_free(model);
    sqz_dataset_close(dataset);
}
END_TEST

START_TEST(a_budget_is_kept) {
    struct sqz_dataset *dataset = write_images(64, 1);
    struct sqz_model *model = make_net(false);
    struct sqz_compressor *compressor = open_compressor(model, dataset, &usual);
    size_t last = SIZE_MAX;
    for (double limit = 0.002; limit < 0.1; limit *= 5) {
        struct sqz_candidate best;
        bool met;
        ck_assert_int_eq(sqz_compress_to_kl(compressor, limit, &best, &met, NULL), SQZ_OK);
        ck_assert(met);
        ck_assert_double_le(best.kl, limit);
        ck_assert_uint_lt(best.file.nbytes, last);
        last = best.file.nbytes;
        sqz_candidate_free(&best);
    }
    sqz_compressor_free(compressor);
    sqz_model_free(model);
    sqz_dataset_close(dataset);
}
END_TEST

struct points {
    size_t n, nbytes[10];
    double kl[10];
};

static void collect(void *context, struct sqz_candidate *candidate) {
    struct points *points = context;
    points->nbytes[points->n] = candidate->file.nbytes;
    points->kl[points->n++] = candidate->kl;
    sqz_candidate_free(candidate);
}

START_TEST(a_front_falls_from_one_end_to_the_other) {
    struct sqz_dataset *dataset = write_images(64, 1);
    struct sqz_model *model = make_net(false);
    struct sqz_compressor *compressor = open_compressor(model, dataset, &usual);
    struct points points = {0};
    ck_assert_int_eq(sqz_compress_front(compressor, 5, collect, &points, NULL), SQZ_OK);
    ck_assert_uint_eq(points.n, 5);
    for (size_t i = 1; i < 5; i++) ck_assert_uint_gt(points.nbytes[i], points.nbytes[i - 1]);
    ck_assert_double_gt(points.kl[0], 10 * points.kl[4]);
    sqz_compressor_free(compressor);
    sqz_model_free(model);
    sqz_dataset_close(dataset);
}
END_TEST

/* ---- the same bytes ---------------------------------------------------------- */

static void build_file(struct sqz_dataset *dataset, const struct sqz_compress_options *options, size_t *n_cached,
                       struct sqz_buffer *file) {
    struct sqz_model *model = make_net(false);
    struct sqz_compressor *compressor = open_compressor(model, dataset, options);
    struct sqz_candidate best;
    bool met;
    *n_cached = sqz_compressor_facts(compressor).n_cached;
    size_t target = sqz_compressor_facts(compressor).fixed_nbytes + 2000;
    ck_assert_int_eq(sqz_compress_to_size(compressor, target, &best, &met, NULL), SQZ_OK);
    *file = best.file;
    sqz_compressor_free(compressor);
    sqz_model_free(model);
}

static void assert_same(const struct sqz_buffer *a, const struct sqz_buffer *b) {
    ck_assert_uint_eq(a->nbytes, b->nbytes);
    ck_assert_mem_eq(a->data, b->data, a->nbytes);
}

START_TEST(threads_do_not_change_the_file) {
    struct sqz_dataset *dataset = write_images(64, 1);
    struct sqz_buffer one, three;
    size_t n_cached;
    sqz_set_threads(1);
    build_file(dataset, &usual, &n_cached, &one);
    sqz_set_threads(3);
    build_file(dataset, &usual, &n_cached, &three);
    assert_same(&one, &three);
    sqz_buffer_free(&one);
    sqz_buffer_free(&three);
    sqz_dataset_close(dataset);
}
END_TEST

START_TEST(a_cache_is_used_and_one_of_other_options_is_not) {
    struct sqz_dataset *dataset = write_images(64, 1);
    struct sqz_compress_options options = usual;
    options.cache = cache;
    struct sqz_buffer fresh, cached, other;
    size_t n_cached;
    build_file(dataset, &options, &n_cached, &fresh);
    ck_assert_uint_eq(n_cached, 0);
    build_file(dataset, &options, &n_cached, &cached);
    ck_assert_uint_eq(n_cached, 5);
    assert_same(&fresh, &cached);
    options.seed = 1;
    build_file(dataset, &options, &n_cached, &other);
    ck_assert_uint_eq(n_cached, 0);
    sqz_buffer_free(&other);
    /* A cache cut short is good for the layers that are whole. */
    FILE *file = fopen(cache, "r+");
    ck_assert_ptr_nonnull(file);
    fseek(file, 0, SEEK_END);
    ck_assert_int_eq(ftruncate(fileno(file), ftell(file) * 6 / 10), 0);
    fclose(file);
    build_file(dataset, &options, &n_cached, &other);
    ck_assert_uint_gt(n_cached, 0);
    ck_assert_uint_lt(n_cached, 5);
    sqz_buffer_free(&fresh);
    sqz_buffer_free(&cached);
    sqz_buffer_free(&other);
    sqz_dataset_close(dataset);
}
END_TEST

/* ---- bad input ------------------------------------------------------------------ */

START_TEST(seven_images_are_too_few) {
    struct sqz_dataset *dataset = write_images(7, 1);
    struct sqz_model *model = make_net(false);
    struct sqz_compressor *compressor = NULL;
    ck_assert_int_eq(sqz_compressor_new(model, dataset, &usual, &compressor, NULL), SQZ_ARGUMENT);
    sqz_model_free(model);
    sqz_dataset_close(dataset);
}
END_TEST

/* Second moments of rank 0, a dead layer, eight images: all of it at once. */
START_TEST(constant_images_and_a_dead_layer_are_survived) {
    struct sqz_dataset *dataset = write_images(8, 0);
    struct sqz_model *model = make_net(true);
    struct sqz_compressor *compressor = open_compressor(model, dataset, &usual);
    const struct sqz_sensitivity *sweep = sqz_compressor_sensitivity(compressor);
    size_t n_dead = 0;
    ck_assert_uint_eq(sweep->n_layers, 6);
    for (size_t i = 0; i < sweep->n_layers; i++) n_dead += !sweep->layers[i].reached;
    ck_assert_uint_eq(n_dead, 1);
    struct sqz_candidate best;
    bool met;
    size_t target = sqz_compressor_facts(compressor).fixed_nbytes + 1500;
    ck_assert_int_eq(sqz_compress_to_size(compressor, target, &best, &met, NULL), SQZ_OK);
    ck_assert(met);
    ck_assert(isfinite(best.kl));
    sqz_candidate_free(&best);
    sqz_compressor_free(compressor);
    sqz_model_free(model);
    sqz_dataset_close(dataset);
}
END_TEST

START_TEST(a_result_that_is_not_finite_is_refused) {
    struct sqz_dataset *dataset = write_images(20, 1);
    struct sqz_model *model = make_net(false);
    struct sqz_compressor *compressor = NULL;
    model->weights[0].data[0] = NAN;
    ck_assert_int_eq(sqz_compressor_new(model, dataset, &usual, &compressor, NULL), SQZ_NONFINITE);
    sqz_model_free(model);
    sqz_dataset_close(dataset);
}
END_TEST

START_TEST(short_memory_is_reported) {
    struct sqz_dataset *dataset = write_images(12, 1);
    struct sqz_compress_options options = {.n_images = 8, .n_probe = 8, .lambda = -1};
    sqz_set_threads(1);
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    /* Every allocation of the first hundred, then in growing strides up to the end. */
    for (long n = 0; status != SQZ_OK; n += 1 + n / 50) {
        struct sqz_model *model = make_net(false);
        struct sqz_compressor *compressor = NULL;
        struct sqz_candidate candidate = {0};
        sqz_alloc_fail_after(n);
        status = sqz_compressor_new(model, dataset, &options, &compressor, NULL);
        if (status == SQZ_OK) status = sqz_compressor_build(compressor, 8000, &candidate, NULL);
        sqz_alloc_fail_after(-1);
        ck_assert_msg(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY, "status %s after %ld allocations",
                      sqz_status_name(status), n);
        sqz_candidate_free(&candidate);
        sqz_compressor_free(compressor);
        sqz_model_free(model);
    }
    sqz_dataset_close(dataset);
}
END_TEST

Suite *test_compress(void) {
    Suite *suite = suite_create("compress");
    TCase *tcase = tcase_create("search");
    tcase_add_checked_fixture(tcase, make_folder, remove_folder);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_probe_gives_the_same_from_any_start);
    tcase_add_loop_test(tcase, a_target_size_is_kept, 0, 4);
    tcase_add_test(tcase, a_target_out_of_reach_gives_the_smallest_file);
    tcase_add_test(tcase, a_budget_is_kept);
    tcase_add_test(tcase, a_front_falls_from_one_end_to_the_other);
    tcase_add_test(tcase, threads_do_not_change_the_file);
    tcase_add_test(tcase, a_cache_is_used_and_one_of_other_options_is_not);
    tcase_add_test(tcase, seven_images_are_too_few);
    tcase_add_test(tcase, constant_images_and_a_dead_layer_are_survived);
    tcase_add_test(tcase, a_result_that_is_not_finite_is_refused);
    tcase_add_test(tcase, short_memory_is_reported);
    suite_add_tcase(suite, tcase);
    return suite;
}
