/* test_archs.c - known architectures: parameter counts and shapes of the literature, recognition, and misfits. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/arch_steps.h"
#include "formats/archs.h"
#include "formats/formats.h"
#include "lib/infer.h"

#define MAX_TENSORS (2 * SQZ_ARCH_MAX_LAYERS)

/* Weights of an architecture, made by make(). */
struct weights {
    struct sqz_named_tensor tensors[MAX_TENSORS];
    char names[MAX_TENSORS][SQZ_ARCH_NAME + 8];
    size_t n, n_parameters;
};

static const struct sqz_arch *find(const char *name) {
    for (size_t i = 0; sqz_archs[i]; i++)
        if (strcmp(sqz_archs[i]->name, name) == 0) return sqz_archs[i];
    ck_abort_msg("no architecture %s", name);
}

static void add(struct weights *w, const char *layer, const char *what, struct sqz_shape shape, uint64_t classes,
                bool data) {
    size_t count;
    struct sqz_named_tensor *tensor = &w->tensors[w->n];
    if (shape.dim[0] == 0) shape.dim[0] = classes;
    snprintf(w->names[w->n], sizeof w->names[w->n], "%s%s", layer, what);
    ck_assert(sqz_shape_count(&shape, &count));
    *tensor = (struct sqz_named_tensor){.name = w->names[w->n], .shape = shape};
    if (data) tensor->data = sqz_alloc0(count, sizeof(float));
    w->n_parameters += count;
    w->n++;
}

/* With this many classes; alternative: which of a layer's names; data (zeros) only when wanted. */
static struct weights *make(const char *arch, size_t alternative, uint64_t classes, bool data) {
    struct sqz_arch_layer layers[SQZ_ARCH_MAX_LAYERS];
    struct weights *w = calloc(1, sizeof *w);
    size_t n = sqz_arch_layers(find(arch), layers);
    for (size_t i = 0; i < n; i++) {
        char name[SQZ_ARCH_NAME];
        for (size_t k = alternative; !sqz_arch_layer_name(&layers[i], k, name); k--) ck_assert_uint_gt(k, 0);
        add(w, name, ".weight", layers[i].kernel, classes, data);
        add(w, name, ".bias", sqz_shape1(layers[i].kernel.dim[0]), classes, data);
    }
    return w;
}

static void discard(struct weights *w) {
    for (size_t i = 0; i < w->n; i++) sqz_free(w->tensors[i].data);
    free(w);
}

/* Counts as published with the models (torchvision, Caffe's model zoo; the Fashion nets' own files). */
static const struct {
    const char *arch;
    size_t n_parameters;
    uint64_t classes;
} known[] = {
    {"squeezenet1_0", 1248424, 1000},   {"squeezenet1_1", 1235496, 1000}, {"alexnet", 61100840, 1000},
    {"alexnet-caffe", 60965224, 1000},  {"caffenet", 60965224, 1000},     {"vgg16", 138357544, 1000},
    {"fashion_squeezenet", 726474, 10}, {"fashion_alexnet", 1753002, 10},
};

START_TEST(parameter_counts_match_the_literature) {
    struct weights *w = make(known[_i].arch, 0, known[_i].classes, false);
    ck_assert_uint_eq(w->n_parameters, known[_i].n_parameters);
    ck_assert_ptr_nonnull(strstr(sqz_arch_list(), known[_i].arch));
    discard(w);
}
END_TEST

/* The graph gives one row of class scores, and the finished model is recognised again. */
START_TEST(graphs_fit_together) {
    const char *arch = known[_i].arch;
    struct weights *w = make(arch, 0, 7, true);
    struct sqz_model *model;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_arch_build(arch, w->tensors, w->n, &model, &err) == SQZ_OK, "%s", err.text);
    for (size_t i = 0; i < w->n; i++) ck_assert_ptr_null(w->tensors[i].data);
    ck_assert_str_eq(model->arch, arch);
    ck_assert_str_eq(sqz_arch_name(model), arch);
    ck_assert_uint_eq(model->n_weights, w->n);
    struct sqz_shape *shapes = calloc(model->n_nodes, sizeof *shapes);
    ck_assert_msg(sqz_infer_shapes(model, 2, 0, 0, shapes, &err) == SQZ_OK, "%s", err.text);
    struct sqz_shape expected = sqz_shape2(2, 7);
    ck_assert(sqz_shape_equal(&shapes[model->output], &expected));
    free(shapes);
    sqz_model_free(model);
    discard(w);
}
END_TEST

START_TEST(weights_tell_the_architecture) {
    const char *arch = known[_i].arch, *found;
    struct sqz_error err = {0};
    struct weights *w = make(arch, 0, 12, false);
    ck_assert_msg(sqz_arch_match(NULL, w->tensors, w->n, &found, &err) == SQZ_OK, "%s", err.text);
    /* CaffeNet's weights have the names and shapes of the original's: only the order of pool and LRN differs. */
    ck_assert_str_eq(found, strcmp(arch, "caffenet") == 0 ? "alexnet-caffe" : arch);
    ck_assert_int_eq(sqz_arch_match(arch, w->tensors, w->n, &found, &err), SQZ_OK);
    ck_assert_str_eq(found, arch);
    discard(w);
}
END_TEST

START_TEST(caffe_names_are_known) {
    for (size_t alternative = 1; alternative < 3; alternative++) {
        struct weights *w = make("alexnet-caffe", alternative, 1000, false);
        const char *found;
        struct sqz_error err = {0};
        ck_assert_msg(sqz_arch_match(NULL, w->tensors, w->n, &found, &err) == SQZ_OK, "%s", err.text);
        ck_assert_str_eq(found, "alexnet-caffe");
        discard(w);
    }
}
END_TEST

/* A file that its author calls SqueezeNet 1.0 but whose first layer has 64 filters of 3x3 is version 1.1. */
START_TEST(a_wrong_choice_names_the_right_one) {
    struct weights *w = make("squeezenet1_1", 0, 1000, false);
    const char *found;
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_arch_match("squeezenet1_0", w->tensors, w->n, &found, &err), SQZ_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "those of squeezenet1_1, not of squeezenet1_0"));
    ck_assert_int_eq(sqz_arch_match("resnet50", w->tensors, w->n, &found, &err), SQZ_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "squeezenet1_1"));
    discard(w);
}
END_TEST

START_TEST(misfits_are_named) {
    struct weights *w = make("squeezenet1_1", 0, 1000, false);
    const char *found;
    struct sqz_error err = {0};
    struct sqz_named_tensor last = w->tensors[w->n - 1];
    /* one missing */
    ck_assert_int_eq(sqz_arch_match(NULL, w->tensors, w->n - 1, &found, &err), SQZ_MISSING_WEIGHT);
    ck_assert_ptr_nonnull(strstr(err.text, "classifier.1.bias is missing"));
    /* one too many */
    w->tensors[w->n] = (struct sqz_named_tensor){.name = "features.99.weight", .shape = sqz_shape1(3)};
    ck_assert_int_eq(sqz_arch_match(NULL, w->tensors, w->n + 1, &found, &err), SQZ_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "features.99.weight has no place"));
    /* one of another shape */
    w->tensors[w->n - 1].shape = sqz_shape2(5, 5);
    ck_assert_int_eq(sqz_arch_match(NULL, w->tensors, w->n, &found, &err), SQZ_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "nearest is squeezenet1_1 (51 of its 52"));
    w->tensors[w->n - 1] = last;
    w->tensors[2].shape.dim[0]++;
    ck_assert_int_eq(sqz_arch_match(NULL, w->tensors, w->n, &found, &err), SQZ_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "features.3.squeeze.weight is 17x64x1x1 instead of 16x64x1x1"));
    discard(w);
}
END_TEST

START_TEST(a_head_with_unequal_bias_is_refused) {
    struct weights *w = make("fashion_alexnet", 0, 10, true);
    struct sqz_model *model;
    struct sqz_error err = {0};
    w->tensors[w->n - 1].shape.dim[0] = 9;
    ck_assert_int_eq(sqz_arch_build(NULL, w->tensors, w->n, &model, &err), SQZ_OK);
    ck_assert_int_eq(sqz_model_check(model, &err), SQZ_SHAPE);
    ck_assert_ptr_nonnull(strstr(err.text, "classifier.6"));
    sqz_model_free(model);
    discard(w);
}
END_TEST

/* One pool more than the architecture has. */
START_TEST(other_graphs_are_custom) {
    struct weights *w = make("fashion_alexnet", 0, 10, true);
    struct sqz_model *model;
    ck_assert_int_eq(sqz_arch_build(NULL, w->tensors, w->n, &model, NULL), SQZ_OK);
    ck_assert_str_eq(sqz_arch_name(model), "fashion_alexnet");
    uint32_t extra;
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_MAX_POOL, "extra", &model->output, 1, &extra, NULL), SQZ_OK);
    ck_assert_str_eq(sqz_arch_name(model), "custom");
    sqz_model_free(model);
    discard(w);
}
END_TEST

START_TEST(memory_shortage_is_reported) {
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    long failures = 0;
    for (; status != SQZ_OK; failures++) {
        struct weights *w = make("fashion_squeezenet", 0, 10, true);
        struct sqz_model *model;
        struct sqz_error err = {0};
        sqz_alloc_fail_after(failures);
        status = sqz_arch_build(NULL, w->tensors, w->n, &model, &err);
        sqz_alloc_fail_after(-1);
        ck_assert_msg(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY, "%s", err.text);
        if (status == SQZ_OK) sqz_model_free(model);
        discard(w);
    }
    ck_assert_int_ge(failures, 2);
}
END_TEST

/* ---- npz ---------------------------------------------------------------- */

/* The archive is read back as the bytes it must contain: NumPy's header, then the floats. */
START_TEST(npz_holds_every_weight) {
    static const char folder_template[] = P_tmpdir "/sqz-test-npz-XXXXXX";
    static const char header[] =
        "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (48, 1, 5, 5), }";
    char folder[sizeof folder_template], path[sizeof folder_template + 16];
    struct weights *w = make("fashion_alexnet", 0, 10, true);
    struct sqz_model *model;
    struct sqz_error err = {0};
    size_t nbytes[2];
    for (size_t i = 0; i < 48 * 25; i++) w->tensors[0].data[i] = (float)i;
    ck_assert_int_eq(sqz_arch_build(NULL, w->tensors, w->n, &model, &err), SQZ_OK);
    strcpy(folder, folder_template);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    struct sqz_source files[2];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%d.npz", folder, i);
        ck_assert_msg(sqz_npz_write(model, path, &nbytes[i], &err) == SQZ_OK, "%s", err.text);
        ck_assert_int_eq(sqz_source_open(path, 1 << 30, &files[i], &err), SQZ_OK);
        ck_assert_uint_eq(files[i].nbytes, nbytes[i]);
        ck_assert_int_eq(remove(path), 0);
    }
    ck_assert_int_eq(remove(folder), 0);
    ck_assert(nbytes[0] == nbytes[1] && memcmp(files[0].data, files[1].data, nbytes[0]) == 0);
    const uint8_t *at = memmem(files[0].data, nbytes[0], header, sizeof header - 1);
    ck_assert_ptr_nonnull(at);
    ck_assert_int_eq(memcmp(at + 128, model->weights[0].data, 48 * 25 * sizeof(float)), 0);
    for (size_t i = 0; i < model->n_weights; i++) {
        char name[SQZ_ARCH_NAME + 16];
        snprintf(name, sizeof name, "%s.npy", model->weights[i].name);
        ck_assert_ptr_nonnull(memmem(files[0].data, nbytes[0], name, strlen(name)));
    }
    for (int i = 0; i < 2; i++) sqz_source_close(&files[i]);
    sqz_model_free(model);
    discard(w);
}
END_TEST

START_TEST(npz_reports_failures) {
    struct weights *w = make("fashion_alexnet", 0, 10, true);
    struct sqz_model *model;
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_arch_build(NULL, w->tensors, w->n, &model, &err), SQZ_OK);
    ck_assert_int_eq(sqz_npz_write(model, "/dev/full", NULL, &err), SQZ_IO);
    ck_assert_str_eq(err.file, "/dev/full");
    err = (struct sqz_error){0};
    ck_assert_int_eq(sqz_npz_write(model, "/no/such/folder/x.npz", NULL, &err), SQZ_IO);
    sqz_model_free(model);
    discard(w);
}
END_TEST

Suite *test_archs(void) {
    Suite *suite = suite_create("archs");
    TCase *archs = tcase_create("archs"), *npz = tcase_create("npz");
    int n = sizeof known / sizeof *known;
    tcase_add_loop_test(archs, parameter_counts_match_the_literature, 0, n);
    tcase_add_loop_test(archs, graphs_fit_together, 0, n);
    tcase_add_loop_test(archs, weights_tell_the_architecture, 0, n);
    tcase_add_test(archs, caffe_names_are_known);
    tcase_add_test(archs, a_wrong_choice_names_the_right_one);
    tcase_add_test(archs, misfits_are_named);
    tcase_add_test(archs, a_head_with_unequal_bias_is_refused);
    tcase_add_test(archs, other_graphs_are_custom);
    tcase_add_test(archs, memory_shortage_is_reported);
    tcase_set_timeout(archs, 30);
    tcase_add_test(npz, npz_holds_every_weight);
    tcase_add_test(npz, npz_reports_failures);
    suite_add_tcase(suite, archs);
    suite_add_tcase(suite, npz);
    return suite;
}
