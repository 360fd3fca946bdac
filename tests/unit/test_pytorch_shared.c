/* test_pytorch_shared.c - files that PyTorch itself wrote, from the shared data beside the project (SQZ_SHARED). */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "formats/pytorch.h"

#define MAX_WEIGHT_NBYTES ((size_t)1 << 30)

/* Path below the shared folder; false and a line on stderr when it is absent. */
static bool shared(const char *name, char *path, size_t capacity) {
    const char *folder = getenv("SQZ_SHARED");
    snprintf(path, capacity, "%s/%s", folder ? folder : "../shared", name);
    if (access(path, R_OK) == 0) return true;
    fprintf(stderr, "SKIPPED %s (SQZ_SHARED not found)\n", name);
    return false;
}

static enum sqz_status read_model(const char *path, struct sqz_model **out, struct sqz_error *err) {
    struct sqz_source source;
    struct sqz_read_options options = {.max_nbytes = MAX_WEIGHT_NBYTES};
    enum sqz_status status = sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, err);
    if (status != SQZ_OK) return status;
    ck_assert(sqz_pytorch_probe(&source));
    status = sqz_pytorch_read(&source, &options, out, err);
    sqz_source_close(&source);
    return status;
}

static enum sqz_status read_weights(const char *path, const char *state_dict, struct sqz_torch_weights *out,
                                    struct sqz_error *err) {
    struct sqz_source source;
    struct sqz_read_options options = {.max_nbytes = MAX_WEIGHT_NBYTES, .state_dict = state_dict};
    enum sqz_status status = sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, err);
    if (status != SQZ_OK) return status;
    status = sqz_torch_read_weights(&source, &options, out, err);
    sqz_source_close(&source);
    return status;
}

START_TEST(both_layouts_of_squeezenet_are_bit_identical) {
    char zip_path[512], legacy_path[512];
    struct sqz_model *zip, *legacy;
    struct sqz_error err = {0};
    if (!shared("data/models/squeezenet1_1.pth", zip_path, sizeof zip_path)) return;
    if (!shared("data/models/squeezenet1_1_legacy.pth", legacy_path, sizeof legacy_path)) return;
    ck_assert_msg(read_model(zip_path, &zip, &err) == SQZ_OK, "%s", err.text);
    ck_assert_msg(read_model(legacy_path, &legacy, &err) == SQZ_OK, "%s", err.text);
    ck_assert_str_eq(zip->arch, "squeezenet1_1");
    ck_assert_str_eq(zip->source, "pytorch");
    ck_assert_uint_eq(sqz_model_float_nbytes(zip), 4 * 1235496);
    ck_assert_uint_eq(zip->n_weights, legacy->n_weights);
    for (size_t i = 0; i < zip->n_weights; i++) {
        ck_assert_str_eq(zip->weights[i].name, legacy->weights[i].name);
        ck_assert_int_eq(memcmp(zip->weights[i].data, legacy->weights[i].data, zip->weights[i].count * sizeof(float)),
                         0);
    }
    sqz_model_free(zip);
    sqz_model_free(legacy);
}
END_TEST

static const struct {
    const char *path, *arch;
    size_t n_parameters;
} nets[] = {
    {"data/models/fashion_squeezenet.pth", "fashion_squeezenet", 726474},
    {"data/models/fashion_alexnet.pth", "fashion_alexnet", 1753002},
    {"fixtures/pytorch/torch215/fashion_squeezenet_fp16.pth", "fashion_squeezenet", 726474},
    {"fixtures/pytorch/torch215/fashion_squeezenet_bf16.pth", "fashion_squeezenet", 726474},
    {"fixtures/pytorch/squeezenet10_cifar10_zip.pth", "squeezenet1_0", 740554},
};

START_TEST(trained_nets_are_recognised) {
    char path[512];
    struct sqz_model *model;
    struct sqz_error err = {0};
    if (!shared(nets[_i].path, path, sizeof path)) return;
    ck_assert_msg(read_model(path, &model, &err) == SQZ_OK, "%s", err.text);
    ck_assert_str_eq(model->arch, nets[_i].arch);
    ck_assert_str_eq(sqz_arch_name(model), nets[_i].arch);
    ck_assert_uint_eq(sqz_model_float_nbytes(model), 4 * nets[_i].n_parameters);
    sqz_model_free(model);
}
END_TEST

/* A trained net that torch 1.13 loads, but of an architecture that is not known: with BatchNorm before each layer. */
START_TEST(another_net_is_refused_by_its_shapes) {
    char path[512];
    struct sqz_model *model;
    struct sqz_error err = {0};
    if (!shared("fixtures/pytorch/squeezenet11bn_cifar10_ckpt_dataparallel_cuda_legacy.pth", path, sizeof path)) return;
    ck_assert_int_eq(read_model(path, &model, &err), SQZ_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "nearest is squeezenet1_1"));
}
END_TEST

/* ---- fixtures ----------------------------------------------------------- */

/* "nan", "inf" and "-inf" stand as texts. */
static double number(const json_t *value) {
    return json_is_string(value) ? strtod(json_string_value(value), NULL) : json_number_value(value);
}

/* Reference numbers have nine digits, and sums over a tensor lose a few more. */
static bool close_to(double got, double expected) {
    if (isnan(expected)) return isnan(got);
    if (isinf(expected)) return got == expected;
    return fabs(got - expected) <= 1e-6 * fmax(1, fabs(expected));
}

static const struct sqz_named_tensor *find(const struct sqz_torch_weights *weights, const char *name) {
    for (size_t i = 0; i < weights->n; i++)
        if (strcmp(weights->tensors[i].name, name) == 0) return &weights->tensors[i];
    return NULL;
}

/* Reference: [dtype, shape, sum, first values]. */
static void compare(const char *file, const struct sqz_named_tensor *tensor, const json_t *reference) {
    const json_t *shape = json_array_get(reference, 1), *first = json_array_get(reference, 3);
    size_t count;
    double sum = 0;
    ck_assert_uint_eq(tensor->shape.rank, json_array_size(shape));
    for (uint32_t i = 0; i < tensor->shape.rank; i++)
        ck_assert_uint_eq(tensor->shape.dim[i], (uint64_t)json_integer_value(json_array_get(shape, i)));
    ck_assert(sqz_shape_count(&tensor->shape, &count));
    for (size_t i = 0; i < count; i++) sum += tensor->data[i];
    ck_assert_msg(close_to(sum, number(json_array_get(reference, 2))), "%s: %s has sum %.9g", file, tensor->name, sum);
    for (size_t i = 0; i < json_array_size(first); i++)
        ck_assert_msg(close_to(tensor->data[i], number(json_array_get(first, i))), "%s: %s[%zu] is %.9g", file,
                      tensor->name, i, tensor->data[i]);
}

/* Parts of a weight that the reference lists singly and that are read as one. */
static bool is_merged(const char *name) {
    return strstr(name, ".weight_g") || strstr(name, ".weight_v") || strstr(name, ".parametrizations.");
}

static size_t compare_all(const char *file, const struct sqz_torch_weights *weights, json_t *tensors) {
    const char *name;
    json_t *reference;
    size_t n = 0;
    json_object_foreach(tensors, name, reference) {
        if (strstr(name, "num_batches_tracked") || is_merged(name)) continue;
        const struct sqz_named_tensor *tensor = find(weights, name);
        ck_assert_msg(tensor != NULL, "%s: %s is missing", file, name);
        compare(file, tensor, reference);
        n++;
    }
    return n;
}

/* Two state_dicts of equal rank: the reference is that of the first. */
static const char *choice(const char *file) {
    return strstr(file, "ema_two_dicts") ? "state_dict" : NULL;
}

/* The reference file has a NUL in another format's key, which jansson cannot hold: it becomes U+0001. */
static json_t *load_reference(const char *path) {
    struct sqz_source source;
    json_error_t error;
    ck_assert_int_eq(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, NULL), SQZ_OK);
    char *text = malloc(source.nbytes);
    memcpy(text, source.data, source.nbytes);
    for (size_t i = 0; i + 6 <= source.nbytes; i++)
        if (memcmp(text + i, "\\u0000", 6) == 0) text[i + 5] = '1';
    json_t *root = json_loadb(text, source.nbytes, 0, &error);
    ck_assert_msg(root != NULL, "%s", error.text);
    free(text);
    sqz_source_close(&source);
    return root;
}

/* Files marked `refuse` end in one clear sentence; all others give the tensors that PyTorch 2.15 saw in them. */
START_TEST(fixtures_give_the_reference_tensors) {
    char index[512], path[1024];
    const char *file;
    json_t *entry;
    size_t refused = 0, read = 0, compared = 0;
    if (!shared("fixtures/REFERENCE.json", index, sizeof index)) return;
    json_t *root = load_reference(index);
    json_object_foreach(root, file, entry) {
        struct sqz_torch_weights weights;
        struct sqz_error err = {0};
        char name[512];
        if (strncmp(file, "pytorch/", 8) != 0) continue;
        snprintf(name, sizeof name, "fixtures/%s", file);
        if (!shared(name, path, sizeof path)) continue;
        enum sqz_status status = read_weights(path, choice(file), &weights, &err);
        if (json_object_get(entry, "refuse")) {
            ck_assert_msg(status != SQZ_OK && err.text[0], "%s was not refused", file);
            refused++;
            continue;
        }
        ck_assert_msg(status == SQZ_OK, "%s: %s", file, err.text);
        compared += compare_all(file, &weights, json_object_get(entry, "tensors"));
        read++;
        sqz_torch_weights_free(&weights);
    }
    json_decref(root);
    ck_assert_uint_ge(refused, 20);
    ck_assert_uint_ge(read, 30);
    ck_assert_uint_ge(compared, 200);
}
END_TEST

/* torch's own result of g * v / |v| was the plain weight of the file beside it. */
START_TEST(weight_norm_gives_the_plain_weight) {
    static const char *const files[] = {"fixtures/pytorch/torch215/slim_weightnorm_old.pth",
                                        "fixtures/pytorch/torch215/slim_weightnorm_param.pth"};
    char path[512];
    struct sqz_torch_weights plain, normed;
    struct sqz_error err = {0};
    if (!shared("fixtures/pytorch/torch215/slim_f32.pth", path, sizeof path)) return;
    ck_assert_int_eq(read_weights(path, NULL, &plain, &err), SQZ_OK);
    for (size_t f = 0; f < 2; f++) {
        if (!shared(files[f], path, sizeof path)) continue;
        ck_assert_msg(read_weights(path, NULL, &normed, &err) == SQZ_OK, "%s", err.text);
        const struct sqz_named_tensor *a = find(&plain, "conv2.weight"), *b = find(&normed, "conv2.weight");
        size_t count;
        ck_assert(b && sqz_shape_equal(&a->shape, &b->shape) && sqz_shape_count(&a->shape, &count));
        for (size_t i = 0; i < count; i++) ck_assert_float_eq_tol(a->data[i], b->data[i], 1e-6);
        sqz_torch_weights_free(&normed);
    }
    sqz_torch_weights_free(&plain);
}
END_TEST

/* Real files cut at each sixteenth of their length. */
START_TEST(truncated_files_are_refused) {
    static const char *const files[] = {"data/models/fashion_squeezenet.pth", "data/models/squeezenet1_1_legacy.pth"};
    char path[512];
    if (!shared(files[_i], path, sizeof path)) return;
    struct sqz_source whole;
    ck_assert_int_eq(sqz_source_open(path, SQZ_SOURCE_LIMIT, &whole, NULL), SQZ_OK);
    for (size_t i = 1; i < 16; i++) {
        struct sqz_source cut = {.path = path, .nbytes = whole.nbytes * i / 16};
        struct sqz_read_options options = {.max_nbytes = MAX_WEIGHT_NBYTES};
        struct sqz_error err = {0};
        struct sqz_model *model;
        uint8_t *copy = malloc(cut.nbytes);
        memcpy(copy, whole.data, cut.nbytes);
        cut.data = copy;
        ck_assert_int_eq(sqz_pytorch_read(&cut, &options, &model, &err), SQZ_TRUNCATED);
        free(copy);
    }
    sqz_source_close(&whole);
}
END_TEST

Suite *test_pytorch_shared(void) {
    Suite *suite = suite_create("pytorch_shared");
    TCase *tcase = tcase_create("files");
    tcase_add_test(tcase, both_layouts_of_squeezenet_are_bit_identical);
    tcase_add_loop_test(tcase, trained_nets_are_recognised, 0, sizeof nets / sizeof *nets);
    tcase_add_test(tcase, another_net_is_refused_by_its_shapes);
    tcase_add_test(tcase, fixtures_give_the_reference_tensors);
    tcase_add_test(tcase, weight_norm_gives_the_plain_weight);
    tcase_add_loop_test(tcase, truncated_files_are_refused, 0, 2);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return suite;
}
