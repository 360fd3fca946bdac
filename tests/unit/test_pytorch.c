/* test_pytorch.c - PyTorch files made here: storages, views and element types, byte order, and hostile archives. */
#include "tests/unit/torch_sample.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The pickle of {"w": tensor}. */
static struct sqz_buffer pickle_of(const struct sample_tensor *tensor) {
    struct sqz_buffer b = {0};
    sqz_put_bytes(&b, "\x80\x02}", 3);
    sample_text(&b, "w");
    sample_tensor(&b, tensor);
    sqz_put_bytes(&b, "s.", 2);
    return b;
}

static const struct sample_tensor plain = {"FloatStorage", "0", 6, 0, 2, {2, 3}, NULL};

/* Read a source and free it; the one weight must have these values. */
static void check_values(struct sqz_source source, size_t n, const float *expected) {
    struct sqz_torch_weights weights;
    struct sqz_error err = {0};
    size_t count;
    ck_assert(sqz_pytorch_probe(&source));
    ck_assert_msg(sample_read(&source, &weights, &err) == SQZ_OK, "%s", err.text);
    ck_assert_uint_eq(weights.n, 1);
    ck_assert_str_eq(weights.tensors[0].name, "w");
    ck_assert(sqz_shape_count(&weights.tensors[0].shape, &count));
    ck_assert_uint_eq(count, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(memcmp(&weights.tensors[0].data[i], &expected[i], sizeof(float)) == 0, "%zu: %g instead of %g", i,
                      weights.tensors[0].data[i], expected[i]);
    sqz_torch_weights_free(&weights);
    sample_free(&source);
}

/* Read a source and free it; it must be refused with this status and a text that contains `part`. */
static void check_refused(struct sqz_source source, enum sqz_status expected, const char *part) {
    struct sqz_torch_weights weights;
    struct sqz_error err = {0};
    enum sqz_status status = sample_read(&source, &weights, &err);
    ck_assert_msg(status == expected, "%s instead of %s: %s", sqz_status_name(status), sqz_status_name(expected),
                  err.text);
    ck_assert_msg(strstr(err.text, part) != NULL, "\"%s\" does not say \"%s\"", err.text, part);
    sample_free(&source);
}

static void check_tensor(const struct sample_tensor *tensor, size_t n, const float *expected) {
    struct sqz_buffer pickle = pickle_of(tensor);
    check_values(sample_file(&pickle, NULL, false), n, expected);
    check_values(sample_file(&pickle, "little", true), n, expected);
    check_values(sample_file(&pickle, "big", false), n, expected);
    check_values(sample_legacy(&pickle, false), n, expected);
    check_values(sample_legacy(&pickle, true), n, expected);
    sqz_buffer_free(&pickle);
}

static void check_tensor_refused(const struct sample_tensor *tensor, enum sqz_status expected, const char *part) {
    struct sqz_buffer pickle = pickle_of(tensor);
    check_refused(sample_file(&pickle, NULL, false), expected, part);
    check_refused(sample_legacy(&pickle, false), expected, part);
    sqz_buffer_free(&pickle);
}

/* Every layout and byte order gives the same values; the files differ in nothing but their packing. */
START_TEST(views_on_a_storage) {
    static const float all[] = {1, 2, 3, 4, 5, 6}, transposed[] = {1, 4, 2, 5, 3, 6}, last[] = {5, 6};
    static const float odd[] = {2, 4, 6}, repeated[] = {3, 3, 3, 3}, scalar[] = {4}, rows[] = {2, 5};
    static const int64_t swapped[] = {1, 3}, every_second[] = {2}, zero[] = {0, 0}, column[] = {3, 1};
    check_tensor(&plain, 6, all);
    check_tensor(&(struct sample_tensor){"FloatStorage", "0", 6, 0, 2, {3, 2}, swapped}, 6, transposed);
    check_tensor(&(struct sample_tensor){"FloatStorage", "0", 6, 4, 1, {2}, NULL}, 2, last);
    check_tensor(&(struct sample_tensor){"FloatStorage", "0", 6, 1, 1, {3}, every_second}, 3, odd);
    check_tensor(&(struct sample_tensor){"FloatStorage", "0", 6, 2, 2, {2, 2}, zero}, 4, repeated);
    check_tensor(&(struct sample_tensor){"FloatStorage", "0", 6, 3, 0, {0}, NULL}, 1, scalar);
    check_tensor(&(struct sample_tensor){"FloatStorage", "0", 6, 1, 2, {2, 1}, column}, 2, rows);
    check_tensor(&(struct sample_tensor){"FloatStorage", "0", 6, 0, 2, {0, 3}, NULL}, 0, all);
}
END_TEST

/* The 24 bytes of six floats, seen as other element types (little-endian files). */
START_TEST(element_types) {
    struct {
        const char *storage;
        int64_t n;
        float first, second;
    } cases[] = {
        {"HalfStorage", 12, 0.0f, 1.875f},    /* 0x0000 0x3f80 */
        {"BFloat16Storage", 12, 0.0f, 1.0f},  /* the upper half of 1.0f */
        {"ShortStorage", 12, 0.0f, 16256.0f}, /* 0x3f80 */
        {"IntStorage", 6, 1065353216.0f, 1073741824.0f},
        {"LongStorage", 3, 4611686019492741120.0f, 4647714816524288000.0f},
        {"DoubleStorage", 3, 2.00000047f, 512.00012f},
        {"CharStorage", 24, 0.0f, 0.0f},
        {"ByteStorage", 24, 0.0f, 0.0f},
        {"BoolStorage", 24, 0.0f, 0.0f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float expected[2] = {cases[i].first, cases[i].second};
        struct sample_tensor tensor = {cases[i].storage, "0", cases[i].n, 0, 1, {2}, NULL};
        struct sqz_buffer pickle = pickle_of(&tensor);
        check_values(sample_file(&pickle, NULL, false), 2, expected);
        sqz_buffer_free(&pickle);
    }
    /* Bytes 2 and 3 of 1.0f are 0x80 0x3f: the signs of the one-byte types. */
    static const float signs[] = {-128, 63}, no_signs[] = {128, 63}, truths[] = {1, 1};
    check_tensor(&(struct sample_tensor){"FloatStorage", "0", 6, 0, 2, {2, 3}, NULL}, 6,
                 (const float[]){1, 2, 3, 4, 5, 6});
    static const struct {
        const char *storage;
        const float *expected;
    } bytes[] = {{"CharStorage", signs}, {"ByteStorage", no_signs}, {"BoolStorage", truths}};
    for (size_t i = 0; i < 3; i++) {
        struct sample_tensor tensor = {bytes[i].storage, "0", 24, 2, 1, {2}, NULL};
        struct sqz_buffer pickle = pickle_of(&tensor);
        check_values(sample_file(&pickle, "little", false), 2, bytes[i].expected);
        sqz_buffer_free(&pickle);
    }
}
END_TEST

START_TEST(float8_types) {
    static const struct {
        const char *name;
        unsigned code;
        float expected;
    } cases[] = {
        {"float8_e4m3fn", 0x38, 1.0f},
        {"float8_e4m3fn", 0x7e, 448.0f},
        {"float8_e4m3fn", 0x81, -0.001953125f},
        {"float8_e4m3fn", 0x80, -0.0f},
        {"float8_e5m2", 0x3c, 1.0f},
        {"float8_e5m2", 0x7b, 57344.0f},
        {"float8_e5m2", 0xfc, -INFINITY},
        {"float8_e4m3fnuz", 0x40, 1.0f},
        {"float8_e4m3fnuz", 0x7f, 240.0f},
        {"float8_e5m2fnuz", 0x40, 1.0f},
        {"float8_e5m2fnuz", 0x01, 7.62939453e-06f},
        {"float8_e8m0fnu", 0x7f, 1.0f},
        {"float8_e8m0fnu", 0x80, 2.0f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct sqz_torch_dtype *dtype = sqz_torch_dtype_by_name(cases[i].name);
        ck_assert_ptr_nonnull(dtype);
        float got = dtype->widen(cases[i].code);
        ck_assert_msg(memcmp(&got, &cases[i].expected, sizeof got) == 0, "%s 0x%02x: %g", cases[i].name, cases[i].code,
                      got);
    }
    ck_assert(isnan(sqz_torch_dtype_by_name("float8_e4m3fn")->widen(0xff)));
    ck_assert(isnan(sqz_torch_dtype_by_name("float8_e4m3fnuz")->widen(0x80)));
    ck_assert(isnan(sqz_torch_dtype_by_name("float8_e8m0fnu")->widen(0xff)));
}
END_TEST

START_TEST(tensors_must_lie_in_their_storage) {
    static const int64_t wide[] = {3, 2}, huge[] = {INT64_MAX, 1}, negative[] = {-3, 1};
    check_tensor_refused(&(struct sample_tensor){"FloatStorage", "0", 6, 0, 2, {3, 3}, NULL}, SQZ_MALFORMED, "past");
    check_tensor_refused(&(struct sample_tensor){"FloatStorage", "0", 6, 1, 2, {2, 3}, NULL}, SQZ_MALFORMED, "past");
    check_tensor_refused(&(struct sample_tensor){"FloatStorage", "0", 6, 0, 2, {2, 3}, wide}, SQZ_MALFORMED, "past");
    check_tensor_refused(&(struct sample_tensor){"FloatStorage", "0", 6, 0, 2, {3, 1}, huge}, SQZ_MALFORMED, "past");
    check_tensor_refused(&(struct sample_tensor){"FloatStorage", "0", 6, INT64_MAX, 1, {1}, NULL}, SQZ_MALFORMED,
                         "past");
    check_tensor_refused(&(struct sample_tensor){"FloatStorage", "0", 6, 0, 2, {2, 3}, negative}, SQZ_MALFORMED,
                         "negative");
    check_tensor_refused(&(struct sample_tensor){"FloatStorage", "0", 6, -1, 1, {1}, NULL}, SQZ_MALFORMED, "offset");
    check_tensor_refused(&(struct sample_tensor){"FloatStorage", "0", 6, 0, 1, {-1}, NULL}, SQZ_MALFORMED, "negative");
    check_tensor_refused(&(struct sample_tensor){"FloatStorage", "0", 6, 0, 2, {INT64_MAX, 4}, NULL}, SQZ_LIMIT,
                         "large");
    check_tensor_refused(&(struct sample_tensor){"FloatStorage", "0", 6, 0, 7, {1, 1, 1, 1, 1, 1, 1}, NULL},
                         SQZ_UNSUPPORTED, "dimensions");
    static const struct sample_tensor complex = {"ComplexFloatStorage", "0", 3, 0, 1, {3}, NULL};
    struct sqz_buffer pickle = pickle_of(&complex);
    check_refused(sample_file(&pickle, NULL, false), SQZ_UNSUPPORTED, "w is complex64");
    sqz_buffer_free(&pickle);
}
END_TEST

START_TEST(storages_must_have_the_promised_length) {
    static const struct sample_tensor longer = {"FloatStorage", "0", 7, 0, 1, {7}, NULL};
    static const struct sample_tensor absent = {"FloatStorage", "1", 6, 0, 1, {6}, NULL};
    static const struct sample_tensor outside = {"FloatStorage", "../version", 1, 0, 1, {1}, NULL};
    check_tensor_refused(&longer, SQZ_MALFORMED, "");
    check_tensor_refused(&absent, SQZ_MALFORMED, "");
    struct sqz_buffer pickle = pickle_of(&outside);
    check_refused(sample_file(&pickle, NULL, false), SQZ_MALFORMED, "missing");
    sqz_buffer_free(&pickle);
}
END_TEST

/* Repeating one element lets 100 bytes name any number of weights; the limit holds before memory is taken. */
START_TEST(the_limit_on_weights_holds) {
    static const int64_t zero[] = {0, 0};
    check_tensor_refused(&(struct sample_tensor){"FloatStorage", "0", 6, 0, 2, {1 << 20, 1 << 20}, zero}, SQZ_LIMIT,
                         "limit");
}
END_TEST

START_TEST(unknown_byte_order_is_refused) {
    struct sqz_buffer pickle = pickle_of(&plain);
    check_refused(sample_file(&pickle, "middle", false), SQZ_MALFORMED, "middle");
    check_refused(sample_file(&pickle, "", false), SQZ_MALFORMED, "byteorder");
    sqz_buffer_free(&pickle);
}
END_TEST

/* Anywhere in the object tree, by either opcode, in either layout. */
START_TEST(os_system_is_refused_by_name) {
    for (int i = 0; i < 2; i++) {
        struct sqz_buffer b = {0};
        sqz_put_bytes(&b, "\x80\x04}(", 4);
        sample_text(&b, "w");
        sample_tensor(&b, &plain);
        sample_text(&b, "optimizer");
        if (i == 0) {
            sample_global(&b, "os", "system");
        } else {
            sample_text(&b, "os");
            sample_text(&b, "system");
            sqz_put_u8(&b, 0x93);
        }
        sample_text(&b, "touch owned");
        sqz_put_bytes(&b, "\x85Ru.", 4);
        check_refused(sample_file(&b, NULL, false), SQZ_UNSAFE, "os.system");
        check_refused(sample_file(&b, NULL, true), SQZ_UNSAFE, "os.system");
        check_refused(sample_legacy(&b, false), SQZ_UNSAFE, "os.system");
        sqz_buffer_free(&b);
    }
    static const char *const others[][2] = {
        {"posix", "system"},   {"builtins", "eval"},  {"__builtin__", "getattr"},           {"subprocess", "Popen"},
        {"numpy.f2py", "run"}, {"torch.hub", "load"}, {"numpy.core.multiarray", "fromfile"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        enum sqz_pickle_class class;
        ck_assert_int_eq(sqz_torch_admit(others[i][0], others[i][1], &class, NULL), SQZ_UNSAFE);
    }
}
END_TEST

START_TEST(modules_and_scripts_are_called_what_they_are) {
    struct sqz_buffer b = {0};
    sample_global(&b, "torch.nn.modules.container", "Sequential");
    sqz_put_bytes(&b, ")\x81}b.", 5);
    check_refused(sample_file(&b, NULL, false), SQZ_UNSUPPORTED, "whole pickled module (torch.nn.modules.container");
    check_refused(sample_legacy(&b, false), SQZ_UNSUPPORTED, "whole pickled module");
    struct sample_entry script[] = {
        {"net/data.pkl", "N.", 2}, {"net/code/__torch__.py", "", 0}, {"net/constants.pkl", ").", 2}};
    check_refused(sample_zip(script, 3, false), SQZ_UNSUPPORTED, "TorchScript");
    struct sample_entry exported[] = {{"net/archive_format", "pt2", 3}, {"net/models/model.json", "{}", 2}};
    check_refused(sample_zip(exported, 2, false), SQZ_UNSUPPORTED, "torch.export");
    struct sample_entry other[] = {{"arr_0.npy", "x", 1}};
    check_refused(sample_zip(other, 1, false), SQZ_UNSUPPORTED, "data.pkl");
    struct sample_entry twice[] = {{"a/data.pkl", "N.", 2}, {"b/data.pkl", "N.", 2}};
    check_refused(sample_zip(twice, 2, false), SQZ_MALFORMED, "two entries");
    sqz_buffer_free(&b);
}
END_TEST

START_TEST(path_escapes_are_refused) {
    static const char *const names[] = {"../../etc/passwd", "/etc/passwd", "archive/../x", "a\\b", ".."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct sample_entry entries[] = {{"archive/data.pkl", "}.", 2}, {names[i], "x", 1}};
        check_refused(sample_zip(entries, 2, false), SQZ_UNSAFE, "outside");
    }
    struct sample_entry harmless[] = {{"a..b/data.pkl", "}.", 2}, {"a..b/..c", "x", 1}};
    check_refused(sample_zip(harmless, 2, false), SQZ_UNSUPPORTED, "no state_dict");
}
END_TEST

START_TEST(truncations_are_refused) {
    struct sqz_buffer pickle = pickle_of(&plain);
    struct sqz_source files[] = {sample_file(&pickle, "little", false), sample_file(&pickle, "little", true),
                                 sample_legacy(&pickle, false)};
    for (size_t f = 0; f < 3; f++) {
        for (size_t i = 0; i < 16; i++) {
            struct sqz_source cut = sample_cut(&files[f], files[f].nbytes * i / 16);
            struct sqz_torch_weights weights;
            struct sqz_error err = {0};
            if (sqz_pytorch_probe(&cut)) {
                ck_assert_int_ne(sample_read(&cut, &weights, &err), SQZ_OK);
                ck_assert_int_gt((int)strlen(err.text), 0);
            } else {
                ck_assert_uint_le(i, 2);
            }
            sample_free(&cut);
        }
        sample_free(&files[f]);
    }
    sqz_buffer_free(&pickle);
}
END_TEST

/* Every byte flipped in two ways: never a crash, and never other values from data that a checksum covers. */
START_TEST(flipped_bytes_never_crash) {
    static const float expected[] = {1, 2, 3, 4, 5, 6};
    struct sqz_buffer pickle = pickle_of(&plain);
    struct sqz_source files[] = {sample_file(&pickle, "little", false), sample_file(&pickle, "little", true),
                                 sample_legacy(&pickle, false)};
    size_t refused = 0, total = 0;
    for (size_t f = 0; f < 3; f++) {
        for (size_t i = 0; i < 2 * files[f].nbytes; i++) {
            struct sqz_source copy = sample_cut(&files[f], files[f].nbytes);
            struct sqz_torch_weights weights;
            ((uint8_t *)copy.data)[i / 2] ^= i % 2 ? 0xff : 0x01;
            total++;
            if (!sqz_pytorch_probe(&copy) || sample_read(&copy, &weights, NULL) != SQZ_OK) {
                refused++;
            } else {
                size_t count;
                ck_assert(sqz_shape_count(&weights.tensors[0].shape, &count));
                if (f < 2) ck_assert(count == 6 && memcmp(weights.tensors[0].data, expected, sizeof expected) == 0);
                sqz_torch_weights_free(&weights);
            }
            sample_free(&copy);
        }
        sample_free(&files[f]);
    }
    ck_assert_uint_gt(refused, total / 3);
    sqz_buffer_free(&pickle);
}
END_TEST

START_TEST(memory_shortage_is_reported) {
    struct sqz_buffer pickle = pickle_of(&plain);
    struct sqz_source files[] = {sample_file(&pickle, "little", false), sample_file(&pickle, "little", true),
                                 sample_legacy(&pickle, false)};
    for (size_t f = 0; f < 3; f++) {
        enum sqz_status status = SQZ_OUT_OF_MEMORY;
        size_t failures = 0;
        for (long n = 0; status != SQZ_OK; n++, failures++) {
            struct sqz_torch_weights weights;
            struct sqz_error err = {0};
            sqz_alloc_fail_after(n);
            status = sample_read(&files[f], &weights, &err);
            sqz_alloc_fail_after(-1);
            ck_assert_msg(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY, "%ld: %s", n, err.text);
            if (status == SQZ_OK) sqz_torch_weights_free(&weights);
        }
        ck_assert_uint_gt(failures, 6);
        sample_free(&files[f]);
    }
    sqz_buffer_free(&pickle);
}
END_TEST

Suite *test_pytorch(void) {
    Suite *suite = suite_create("pytorch");
    TCase *tensors = tcase_create("tensors"), *hostile = tcase_create("hostile");
    tcase_add_test(tensors, views_on_a_storage);
    tcase_add_test(tensors, element_types);
    tcase_add_test(tensors, float8_types);
    tcase_add_test(tensors, tensors_must_lie_in_their_storage);
    tcase_add_test(tensors, storages_must_have_the_promised_length);
    tcase_add_test(tensors, the_limit_on_weights_holds);
    tcase_add_test(tensors, unknown_byte_order_is_refused);
    tcase_add_test(hostile, os_system_is_refused_by_name);
    tcase_add_test(hostile, modules_and_scripts_are_called_what_they_are);
    tcase_add_test(hostile, path_escapes_are_refused);
    tcase_add_test(hostile, truncations_are_refused);
    tcase_add_test(hostile, flipped_bytes_never_crash);
    tcase_add_test(hostile, memory_shortage_is_reported);
    tcase_set_timeout(hostile, 60);
    suite_add_tcase(suite, tensors);
    suite_add_tcase(suite, hostile);
    return suite;
}
