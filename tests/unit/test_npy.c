/* test_npy.c - NumPy arrays: byte orders, element types, Fortran order, header versions, damage. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eval/npy.h"
#include "lib/bytes.h"
#include "lib/files.h"
#include "lib/half.h"

static void put_header(struct sqz_buffer *b, int major, const char *dictionary) {
    sqz_put_bytes(b, "\x93NUMPY", 6);
    sqz_put_u8(b, (uint8_t)major);
    sqz_put_u8(b, 0);
    if (major == 1)
        sqz_put_u16(b, (uint16_t)strlen(dictionary));
    else
        sqz_put_u32(b, (uint32_t)strlen(dictionary));
    sqz_put_bytes(b, dictionary, strlen(dictionary));
}

static void put_element(struct sqz_buffer *b, const char *type, float value) {
    uint8_t bytes[8];
    double wide = value;
    uint16_t half = sqz_float_to_half(value);
    size_t n = (size_t)(type[2] - '0');
    memcpy(bytes, n == 8 ? (void *)&wide : n == 4 ? (void *)&value : (void *)&half, n);
    for (size_t i = 0; i < n; i++) sqz_put_u8(b, bytes[type[0] == '>' ? n - 1 - i : i]);
}

/* [[1,2,3],[4,5,6]] in every form that NumPy gives it; the reader must find the same matrix. */
static const struct {
    const char *type;
    int major;
    bool fortran;
    const char *format; /* of the header, with the type filled in */
} forms[] = {
    {"<f4", 1, false, "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }      \n"},
    {"<f4", 1, true, "{'descr': '%s', 'fortran_order': True, 'shape': (2, 3), }      \n"},
    {"<f8", 1, false, "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }\n"},
    {"<f8", 1, true, "{'descr': '%s', 'fortran_order': True, 'shape': (2, 3), }\n"},
    {"<f2", 1, false, "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }\n"},
    {">f4", 1, false, "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }\n"},
    {">f8", 1, true, "{'descr': '%s', 'fortran_order': True, 'shape': (2, 3), }\n"},
    {">f2", 1, true, "{'descr': '%s', 'fortran_order': True, 'shape': (2, 3), }\n"},
    {"=f4", 1, false, "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }\n"},
    {"<f4", 2, false, "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }\n"},
    {"<f4", 3, true, "{'descr': '%s', 'fortran_order': True, 'shape': (2, 3), }\n"},
    /* Keys in another order, double quotes, Python 2's long integers, no spaces. */
    {"<f4", 1, true, "{\"shape\":(2L,3L),\"fortran_order\":True,\"descr\":\"%s\"}"},
};

START_TEST(every_form_gives_the_same_matrix) {
    char dictionary[128];
    struct sqz_buffer b = {0};
    struct sqz_npy npy = {0};
    struct sqz_error err = {0};
    snprintf(dictionary, sizeof dictionary, forms[_i].format, forms[_i].type);
    put_header(&b, forms[_i].major, dictionary);
    for (int i = 0; i < 6; i++) {
        int index = forms[_i].fortran ? i % 2 * 3 + i / 2 : i;
        put_element(&b, forms[_i].type, (float)index + 1);
    }
    ck_assert(sqz_npy_probe(b.data, b.nbytes));
    ck_assert_msg(sqz_npy_read(b.data, b.nbytes, &npy, &err) == SQZ_OK, "%s", err.text);
    ck_assert_uint_eq(npy.shape.rank, 2);
    ck_assert_uint_eq(npy.shape.dim[0], 2);
    ck_assert_uint_eq(npy.shape.dim[1], 3);
    for (int i = 0; i < 6; i++) ck_assert_float_eq(npy.data[i], (float)i + 1);
    sqz_npy_free(&npy);
    sqz_buffer_free(&b);
}
END_TEST

START_TEST(fortran_order_of_three_dimensions) {
    const uint64_t dims[] = {3, 4, 5};
    struct sqz_buffer b = {0};
    struct sqz_npy npy = {0};
    put_header(&b, 1, "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4, 5), }\n");
    for (uint64_t k = 0; k < dims[2]; k++)
        for (uint64_t j = 0; j < dims[1]; j++)
            for (uint64_t i = 0; i < dims[0]; i++) sqz_put_f32(&b, (float)(100 * i + 10 * j + k));
    ck_assert_int_eq(sqz_npy_read(b.data, b.nbytes, &npy, NULL), SQZ_OK);
    for (size_t at = 0; at < npy.count; at++)
        ck_assert_float_eq(npy.data[at], (float)(100 * (at / 20) + 10 * (at / 5 % 4) + at % 5));
    sqz_npy_free(&npy);
    sqz_buffer_free(&b);
}
END_TEST

static const struct {
    const char *dictionary;
    size_t data_nbytes;
    enum sqz_status status;
    const char *text;
} refusals[] = {
    {"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8, SQZ_UNSUPPORTED, "pickle"},
    {"{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }", 8, SQZ_UNSUPPORTED, "<i8"},
    {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", 8, SQZ_UNSUPPORTED, "<c8"},
    {"{'descr': '', 'fortran_order': False, 'shape': (1,), }", 8, SQZ_UNSUPPORTED, "element type"},
    {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4, SQZ_UNSUPPORTED, "structured"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 11, SQZ_TRUNCATED, "11 bytes"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 13, SQZ_MALFORMED, "13 bytes"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 0, SQZ_LIMIT, "overflows"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 0, SQZ_MALFORMED, "header"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 0, SQZ_MALFORMED, "header"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1), }", 4, SQZ_MALFORMED, "header"},
    {"{'descr': '<f4', 'fortran_order': False, }", 4, SQZ_MALFORMED, "header"},
    {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", 4, SQZ_MALFORMED, "header"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", 4, SQZ_MALFORMED, "header"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } x", 4, SQZ_MALFORMED, "header"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", 4, SQZ_MALFORMED, "header"},
    {"", 4, SQZ_MALFORMED, "header"},
};

START_TEST(other_arrays_are_refused) {
    static const uint8_t zeros[64];
    struct sqz_buffer b = {0};
    struct sqz_npy npy = {0};
    struct sqz_error err = {0};
    put_header(&b, 1, refusals[_i].dictionary);
    sqz_put_bytes(&b, zeros, refusals[_i].data_nbytes);
    ck_assert_int_eq(sqz_npy_read(b.data, b.nbytes, &npy, &err), refusals[_i].status);
    ck_assert_msg(strstr(err.text, refusals[_i].text) != NULL, "%s", err.text);
    ck_assert_ptr_null(npy.data);
    sqz_buffer_free(&b);
}
END_TEST

static char *write_sample(size_t *nbytes, uint8_t **bytes) {
    static char name[] = "/tmp/sqz-npy-XXXXXX";
    const struct sqz_shape shape = {3, {2, 1, 3}};
    const float data[] = {1, -2, 3.5f, 0, 1e-30f, 7};
    strcpy(name, "/tmp/sqz-npy-XXXXXX");
    int fd = mkstemp(name);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_int_eq(sqz_npy_write(name, &shape, data, NULL), SQZ_OK);
    struct sqz_source source;
    ck_assert_int_eq(sqz_source_open(name, SQZ_SOURCE_LIMIT, &source, NULL), SQZ_OK);
    *bytes = malloc(source.nbytes);
    memcpy(*bytes, source.data, source.nbytes);
    *nbytes = source.nbytes;
    sqz_source_close(&source);
    return name;
}

START_TEST(what_is_written_is_read) {
    size_t nbytes;
    uint8_t *bytes;
    char *name = write_sample(&nbytes, &bytes);
    struct sqz_npy npy;
    ck_assert_int_eq(sqz_npy_read(bytes, nbytes, &npy, NULL), SQZ_OK);
    ck_assert_uint_eq(npy.shape.rank, 3);
    ck_assert_float_eq(npy.data[2], 3.5f);
    ck_assert_float_eq(npy.data[4], 1e-30f);
    /* numpy aligns the data, and ends the header with a newline. */
    ck_assert_uint_eq((nbytes - 6 * sizeof(float)) % 64, 0);
    ck_assert_int_eq(bytes[nbytes - 6 * sizeof(float) - 1], '\n');
    sqz_npy_free(&npy);
    free(bytes);
    unlink(name);
}
END_TEST

START_TEST(damage_does_no_harm) {
    size_t nbytes;
    uint8_t *bytes;
    char *name = write_sample(&nbytes, &bytes);
    struct sqz_npy npy;
    for (size_t n = 0; n < nbytes; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, bytes, n);
        ck_assert_int_ne(sqz_npy_read(cut, n, &npy, NULL), SQZ_OK);
        free(cut);
    }
    for (size_t i = 0; i < nbytes; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1 << bit);
            if (sqz_npy_read(bytes, nbytes, &npy, NULL) == SQZ_OK) sqz_npy_free(&npy);
            bytes[i] ^= (uint8_t)(1 << bit);
        }
    }
    sqz_alloc_fail_after(0);
    ck_assert_int_eq(sqz_npy_read(bytes, nbytes, &npy, NULL), SQZ_OUT_OF_MEMORY);
    sqz_alloc_fail_after(-1);
    free(bytes);
    unlink(name);
}
END_TEST

Suite *test_npy(void) {
    Suite *suite = suite_create("npy");
    TCase *tc = tcase_create("npy");
    tcase_add_loop_test(tc, every_form_gives_the_same_matrix, 0, (int)(sizeof forms / sizeof *forms));
    tcase_add_test(tc, fortran_order_of_three_dimensions);
    tcase_add_loop_test(tc, other_arrays_are_refused, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(tc, what_is_written_is_read);
    tcase_add_test(tc, damage_does_no_harm);
    suite_add_tcase(suite, tc);
    return suite;
}
