/* test_base.c - status, memory, bytes, half, files. */
#include <check.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/bytes.h"
#include "lib/files.h"
#include "lib/half.h"
#include "lib/memory.h"
#include "lib/parallel.h"
#include "lib/shape.h"

static char folder[] = "/tmp/sqz-test-XXXXXX";
static char path_buffer[256];

static void make_folder(void) {
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void) {
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static const char *in_folder(const char *name) {
    snprintf(path_buffer, sizeof path_buffer, "%s/%s", folder, name);
    return path_buffer;
}

static int files_in_folder(void) {
    char command[256];
    snprintf(command, sizeof command, "ls -A %s | wc -l", folder);
    FILE *pipe = popen(command, "r");
    int n = -1;
    ck_assert_int_eq(fscanf(pipe, "%d", &n), 1);
    pclose(pipe);
    return n;
}

START_TEST(error_text_is_printable) {
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_fail(&err, SQZ_MALFORMED, "bad name %s", "a\nb\x1b[2J"), SQZ_MALFORMED);
    ck_assert_str_eq(err.text, "bad name a?b?[2J");
    sqz_error_set_file(&err, "first");
    sqz_error_set_file(&err, "second");
    ck_assert_str_eq(err.file, "first");
    ck_assert_int_eq(sqz_fail(NULL, SQZ_IO, "nobody listens"), SQZ_IO);
}
END_TEST

START_TEST(allocation_products_are_checked) {
    ck_assert_ptr_null(sqz_alloc(SIZE_MAX / 2, 3));
    ck_assert_ptr_null(sqz_alloc_aligned(SIZE_MAX - 10, 1));
    ck_assert_ptr_null(sqz_alloc0(SIZE_MAX / 2, 3));
    sqz_alloc_fail_after(1);
    void *first = sqz_alloc(1, 1), *second = sqz_alloc(1, 1);
    sqz_alloc_fail_after(-1);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(second);
    sqz_free(first);
}
END_TEST

START_TEST(arena_keeps_what_it_gave) {
    struct sqz_arena arena = {0};
    char *strings[2000];
    for (int i = 0; i < 2000; i++) {
        char text[64];
        snprintf(text, sizeof text, "string %d of the arena test", i);
        strings[i] = sqz_arena_strdup(&arena, text);
        ck_assert_ptr_nonnull(strings[i]);
    }
    ck_assert_str_eq(strings[0], "string 0 of the arena test");
    ck_assert_str_eq(strings[1999], "string 1999 of the arena test");
    ck_assert_ptr_null(sqz_arena_alloc(&arena, SIZE_MAX / 4, 8));
    sqz_arena_free(&arena);
}
END_TEST

START_TEST(bytes_round_trip) {
    struct sqz_buffer b = {0};
    static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < 8; i++) sqz_put_varint(&b, values[i]);
    sqz_put_u16(&b, 0xbeef);
    sqz_put_f32(&b, -1.5f);
    sqz_put_u64(&b, 0x0123456789abcdefu);
    struct sqz_reader r = sqz_reader_make(b.data, b.nbytes);
    for (size_t i = 0; i < 8; i++) ck_assert_uint_eq(sqz_read_varint(&r), values[i]);
    ck_assert_uint_eq(sqz_read_u16(&r), 0xbeef);
    ck_assert(sqz_read_f32(&r) == -1.5f);
    ck_assert_uint_eq(sqz_read_u64(&r), 0x0123456789abcdefu);
    ck_assert(!r.failed && sqz_reader_left(&r) == 0);
    sqz_read_u8(&r);
    ck_assert(r.failed);
    sqz_buffer_free(&b);
}
END_TEST

START_TEST(varint_rejects_overflow) {
    static const uint8_t longest[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02};
    struct sqz_reader r = sqz_reader_make(longest, sizeof longest);
    sqz_read_varint(&r);
    ck_assert(r.failed);
}
END_TEST

/* Every half is exact in float; and case I4 of the field's failures: ties and the edges of the range. */
START_TEST(half_is_exact) {
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = sqz_half_to_float((uint16_t)h);
        if (isnan(f))
            ck_assert(isnan(sqz_half_to_float(sqz_float_to_half(f))));
        else
            ck_assert_uint_eq(sqz_float_to_half(f), h);
    }
    ck_assert_uint_eq(sqz_float_to_half(65519.0f), 0x7bff);
    ck_assert_uint_eq(sqz_float_to_half(65520.0f), 0x7c00);
    ck_assert_uint_eq(sqz_float_to_half(6e-8f), 1);
    ck_assert_uint_eq(sqz_float_to_half(2e-8f), 0);
    ck_assert_uint_eq(sqz_float_to_half(1.0f + 0x1p-11f), 0x3c00);
    ck_assert_uint_eq(sqz_float_to_half(1.0f + 3 * 0x1p-11f), 0x3c02);
    ck_assert(sqz_bfloat16_to_float(0x3fc0) == 1.5f);
}
END_TEST

START_TEST(output_appears_only_when_committed) {
    make_folder();
    const char *path = in_folder("out");
    ck_assert_int_eq(sqz_write_file(path, "old", 3, NULL), SQZ_OK);
    struct sqz_output out;
    ck_assert_int_eq(sqz_output_begin(path, &out, NULL), SQZ_OK);
    fputs("half of the new conte", out.stream);
    fflush(out.stream);
    ck_assert_int_eq(files_in_folder(), 2);
    sqz_output_abandon(&out);
    ck_assert_int_eq(files_in_folder(), 1);
    struct sqz_source source;
    ck_assert_int_eq(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, NULL), SQZ_OK);
    ck_assert_mem_eq(source.data, "old", 3);
    sqz_source_close(&source);
    remove_folder();
}
END_TEST

/* A process that ends in the middle, by exit or by a signal, leaves the old file whole and nothing beside it. */
START_TEST(output_survives_a_signal) {
    signal(SIGTERM, SIG_DFL); /* Check has handlers of its own, which ours would respect */
    signal(SIGINT, SIG_DFL);
    make_folder();
    const char *path = in_folder("out");
    ck_assert_int_eq(sqz_write_file(path, "old", 3, NULL), SQZ_OK);
    pid_t pid = fork();
    if (pid == 0) {
        struct sqz_output out;
        if (sqz_output_begin(path, &out, NULL) != SQZ_OK) _exit(9);
        fputs("new", out.stream);
        fflush(out.stream);
        if (_i == 0) raise(SIGTERM);
        if (_i == 1) raise(SIGINT);
        exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    if (_i < 2) ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(files_in_folder(), 1);
    remove_folder();
}
END_TEST

START_TEST(output_errors_are_named) {
    struct sqz_error err = {0};
    struct sqz_output out;
    ck_assert_int_eq(sqz_output_begin("/nonexistent/folder/x", &out, &err), SQZ_IO);
    ck_assert_str_eq(err.file, "/nonexistent/folder/x");
    struct sqz_error full = {0};
    ck_assert_int_eq(sqz_write_file("/dev/full", "data", 4, &full), SQZ_IO);
    ck_assert_str_eq(full.file, "/dev/full");
}
END_TEST

START_TEST(source_errors) {
    struct sqz_source source;
    ck_assert_int_eq(sqz_source_open("/nonexistent", SQZ_SOURCE_LIMIT, &source, NULL), SQZ_NOT_FOUND);
    ck_assert_int_eq(sqz_source_open("/", SQZ_SOURCE_LIMIT, &source, NULL), SQZ_IO);
    ck_assert_int_eq(sqz_source_open("/dev/zero", 3 << 20, &source, NULL), SQZ_LIMIT);
    ck_assert_int_eq(sqz_source_open("/dev/null", 10, &source, NULL), SQZ_OK);
    ck_assert_uint_eq(source.nbytes, 0);
    sqz_source_close(&source);
}
END_TEST

START_TEST(paths_beside_a_file) {
    char buffer[32];
    ck_assert_int_eq(sqz_path_beside("a/b/c.onnx", "w.bin", buffer, sizeof buffer, NULL), SQZ_OK);
    ck_assert_str_eq(buffer, "a/b/w.bin");
    ck_assert_int_eq(sqz_path_beside("c.onnx", "w.bin", buffer, sizeof buffer, NULL), SQZ_OK);
    ck_assert_str_eq(buffer, "w.bin");
    ck_assert_int_eq(sqz_path_beside("a/b/c", "a name that is far too long to fit", buffer, sizeof buffer, NULL),
                     SQZ_LIMIT);
}
END_TEST

START_TEST(shape_products_are_checked) {
    struct sqz_shape shape = sqz_shape4(UINT32_MAX, UINT32_MAX, UINT32_MAX, 2);
    size_t count;
    char text[SQZ_SHAPE_TEXT];
    ck_assert(!sqz_shape_count(&shape, &count));
    shape = sqz_shape4(64, 3, 11, 11);
    ck_assert(sqz_shape_count(&shape, &count) && count == 64 * 3 * 121);
    ck_assert_str_eq(sqz_shape_format(&shape, text), "64x3x11x11");
}
END_TEST

static void count_call(void *context, size_t i, int thread) {
    int *calls = context;
    ck_assert_int_lt(thread, sqz_threads());
    __atomic_fetch_add(&calls[i], 1, __ATOMIC_RELAXED);
}

START_TEST(parallel_for_calls_each_index_once) {
    int calls[1000] = {0};
    for (int threads = 1; threads <= 5; threads++) {
        sqz_set_threads(threads);
        sqz_parallel_for(1000, count_call, calls);
        for (int i = 0; i < 1000; i++) ck_assert_int_eq(calls[i], threads);
    }
    sqz_set_threads(0);
}
END_TEST

Suite *test_base(void) {
    Suite *suite = suite_create("base");
    TCase *tc = tcase_create("base");
    tcase_add_test(tc, error_text_is_printable);
    tcase_add_test(tc, allocation_products_are_checked);
    tcase_add_test(tc, arena_keeps_what_it_gave);
    tcase_add_test(tc, bytes_round_trip);
    tcase_add_test(tc, varint_rejects_overflow);
    tcase_add_test(tc, half_is_exact);
    tcase_add_test(tc, output_appears_only_when_committed);
    tcase_add_loop_test(tc, output_survives_a_signal, 0, 3);
    tcase_add_test(tc, output_errors_are_named);
    tcase_add_test(tc, source_errors);
    tcase_add_test(tc, paths_beside_a_file);
    tcase_add_test(tc, shape_products_are_checked);
    tcase_add_test(tc, parallel_for_calls_each_index_once);
    suite_add_tcase(suite, tc);
    return suite;
}
