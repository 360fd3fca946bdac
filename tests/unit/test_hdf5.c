/* test_hdf5.c - the HDF5 working file: round trips, foreign and damaged files, short memory, full disks. */
#include <check.h>
#include <hdf5.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/formats.h"
#include "lib/trellis.h"

static char folder[64], path[96];

static void make_folder(void) {
    strcpy(folder, "/tmp/sqz-hdf5-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.h5", folder);
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* ---- a model with every kind of weight ----------------------------------- */

/* Names that HDF5 would take for paths, or for the group itself. */
static const char *const layer_names[] = {"fire2/squeeze", "a%2Fb", ".", "plain", "empty"};
enum { N_LAYERS = 5, CHANNELS = 8, TRAILER_NBYTES = 16 };

static struct sqz_packed *make_packed(size_t n, enum sqz_level_kind kind, uint32_t entries) {
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    packed->kind = kind;
    packed->n_levels = n;
    packed->levels = sqz_alloc0(n, sizeof *packed->levels);
    if (kind == SQZ_LEVELS_CODEBOOK) {
        packed->n_codebook = entries;
        packed->codebook = sqz_alloc(entries, sizeof *packed->codebook);
        for (uint32_t i = 0; i < entries; i++) packed->codebook[i] = (float)i + 0.25f;
        for (size_t i = 0; i < n && entries; i++) packed->levels[i] = (int16_t)(i % (entries + 1));
    } else {
        packed->n_steps = entries;
        packed->steps = sqz_alloc(entries, sizeof *packed->steps);
        for (uint32_t i = 0; i < entries; i++) packed->steps[i] = 0.01f * (float)(i + 1);
        for (size_t i = 0; i < n; i++) packed->levels[i] = (int16_t)((int)(i % 2001) - 1000);
    }
    return packed;
}

static void add_layer(struct sqz_model *model, int number, uint32_t *node) {
    const struct sqz_shape shape = sqz_shape4(CHANNELS, CHANNELS, 3, 3), vector = sqz_shape1(CHANNELS);
    size_t count = CHANNELS * CHANNELS * 9;
    char name[64];
    uint32_t weight;
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_CONV, layer_names[number], node, 1, node, NULL), SQZ_OK);
    struct sqz_node *conv = &model->nodes[*node];
    conv->params.conv.window = (struct sqz_window){3, 3, 1, 1, 1, 1, 1, 1, 1, 1};
    conv->params.conv.groups = 1;
    snprintf(name, sizeof name, number == 2 ? "." : "%s.weight", layer_names[number]);
    if (number == 0) {
        ck_assert_int_eq(sqz_model_add_weight(model, name, SQZ_ROLE_KERNEL, &shape, NULL, &weight, NULL), SQZ_OK);
        for (size_t i = 0; i < count; i++) model->weights[weight].data[i] = sinf((float)i) * 1e-3f;
    } else {
        /* 256 codebook entries need level 256, which no byte holds; 4 fit; uniform levels are negative, too. */
        static const uint32_t entries[] = {0, 256, CHANNELS, 4, 0};
        enum sqz_level_kind kind = number == 2 ? SQZ_LEVELS_UNIFORM : SQZ_LEVELS_CODEBOOK;
        struct sqz_packed *packed = make_packed(count, kind, entries[number]);
        ck_assert_int_eq(sqz_model_add_packed(model, name, SQZ_ROLE_KERNEL, &shape, packed, &weight, NULL), SQZ_OK);
    }
    model->nodes[*node].kernel = weight;
    snprintf(name, sizeof name, "%s/bias", layer_names[number]);
    ck_assert_int_eq(sqz_model_add_weight(model, name, SQZ_ROLE_BIAS, &vector, NULL, &weight, NULL), SQZ_OK);
    for (size_t i = 0; i < CHANNELS; i++) model->weights[weight].data[i] = (float)i / 3;
    model->nodes[*node].bias = weight;
}

static struct sqz_model *make_model(void) {
    const struct sqz_input input = {
        .channels = CHANNELS, .height = 9, .width = 7, .scale = 0.5f, .std = {1, 1, 1, 1}, .order = SQZ_CHANNELS_BGR};
    static const char *const classes[] = {"first", "second, with a comma"};
    struct sqz_model *model = sqz_model_new(&input);
    ck_assert_ptr_nonnull(model);
    uint32_t node = 0;
    for (int i = 0; i < N_LAYERS; i++) add_layer(model, i, &node);
    model->output = node;
    ck_assert_int_eq(sqz_model_set_classes(model, classes, 2, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_model_note(model, NULL, "prune by density %g", 0.5), SQZ_OK);
    ck_assert_int_eq(sqz_model_check(model, NULL), SQZ_OK);
    return model;
}

static enum sqz_status read_file(const char *file, struct sqz_model **out, struct sqz_error *err) {
    const struct sqz_read_options options = {.max_nbytes = 1 << 20};
    struct sqz_source source;
    SQZ_TRY(sqz_source_open(file, SQZ_SOURCE_LIMIT, &source, err));
    enum sqz_status status = sqz_hdf5_probe(&source) ? sqz_hdf5_read(&source, &options, out, err) : SQZ_UNKNOWN_FORMAT;
    sqz_source_close(&source);
    return status;
}

/* From memory, as through a pipe. */
static enum sqz_status read_bytes(const void *data, size_t nbytes, struct sqz_model **out, struct sqz_error *err) {
    const struct sqz_read_options options = {.max_nbytes = 1 << 20};
    const struct sqz_source source = {.path = "-", .data = data, .nbytes = nbytes};
    if (!sqz_hdf5_probe(&source)) return SQZ_UNKNOWN_FORMAT;
    return sqz_hdf5_read(&source, &options, out, err);
}

static uint8_t *load(const char *file, size_t *nbytes) {
    struct sqz_source source;
    ck_assert_int_eq(sqz_source_open(file, SQZ_SOURCE_LIMIT, &source, NULL), SQZ_OK);
    uint8_t *copy = malloc(source.nbytes);
    memcpy(copy, source.data, source.nbytes);
    *nbytes = source.nbytes;
    sqz_source_close(&source);
    return copy;
}

static void assert_same_model(const struct sqz_model *a, const struct sqz_model *b) {
    ck_assert_uint_eq(a->n_nodes, b->n_nodes);
    ck_assert_uint_eq(a->n_weights, b->n_weights);
    for (size_t i = 0; i < a->n_weights; i++) {
        const struct sqz_weight *x = &a->weights[i], *y = &b->weights[i];
        ck_assert_str_eq(x->name, y->name);
        ck_assert(sqz_shape_equal(&x->shape, &y->shape));
        ck_assert_int_eq(x->packed != NULL, y->packed != NULL);
        if (!x->packed) {
            ck_assert_mem_eq(x->data, y->data, x->count * sizeof(float));
            continue;
        }
        ck_assert_int_eq(x->packed->kind, y->packed->kind);
        ck_assert_mem_eq(x->packed->levels, y->packed->levels, x->count * sizeof(int16_t));
        ck_assert_uint_eq(x->packed->n_codebook, y->packed->n_codebook);
        ck_assert_uint_eq(x->packed->n_steps, y->packed->n_steps);
        ck_assert_uint_eq(x->packed->trellis_states, y->packed->trellis_states);
        if (x->packed->n_codebook)
            ck_assert_mem_eq(x->packed->codebook, y->packed->codebook, x->packed->n_codebook * sizeof(float));
        if (x->packed->n_steps)
            ck_assert_mem_eq(x->packed->steps, y->packed->steps, x->packed->n_steps * sizeof(float));
    }
    ck_assert_uint_eq(b->n_history, 1);
    ck_assert_str_eq(b->history[0], "prune by density 0.5");
    ck_assert_str_eq(b->class_names[1], "second, with a comma");
    ck_assert_int_eq(b->input.order, SQZ_CHANNELS_BGR);
}

static void write_model(void) {
    struct sqz_model *model = make_model();
    struct sqz_error err = {0};
    size_t nbytes = 0;
    struct stat st;
    ck_assert_msg(sqz_hdf5_write(model, path, &nbytes, &err) == SQZ_OK, "%s", err.text);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(nbytes, (size_t)st.st_size);
    sqz_model_free(model);
}

START_TEST(trellis_is_kept_and_checked) {
    make_folder();
    struct sqz_model *model = make_model(), *copy = NULL;
    struct sqz_error err = {0};
    struct sqz_packed *packed = NULL;
    size_t nbytes;
    for (size_t i = 0; i < model->n_weights; i++)
        if (model->weights[i].packed && model->weights[i].packed->kind == SQZ_LEVELS_UNIFORM)
            packed = model->weights[i].packed;
    const struct sqz_lanes lanes = sqz_lanes_of_rows(CHANNELS, packed->n_levels, SQZ_STREAM_RANGE);
    sqz_trellis_restore(64, &lanes, packed->levels);
    packed->trellis_states = 64;
    ck_assert_msg(sqz_hdf5_write(model, path, &nbytes, &err) == SQZ_OK, "%s", err.text);
    ck_assert_msg(read_file(path, &copy, &err) == SQZ_OK, "%s", err.text);
    assert_same_model(model, copy);
    sqz_model_free(copy);
    packed->trellis_states = 63;
    ck_assert_msg(sqz_hdf5_write(model, path, &nbytes, &err) == SQZ_OK, "%s", err.text);
    ck_assert_int_eq(read_file(path, &copy, &err), SQZ_MALFORMED);
    ck_assert_ptr_nonnull(strstr(err.text, "a trellis of 63 states"));
    sqz_model_free(model);
}
END_TEST

START_TEST(round_trip_by_name_and_by_bytes) {
    make_folder();
    write_model();
    struct sqz_model *model = make_model(), *copy = NULL;
    struct sqz_error err = {0};
    ck_assert_msg(read_file(path, &copy, &err) == SQZ_OK, "%s", err.text);
    assert_same_model(model, copy);
    sqz_model_free(copy);
    size_t nbytes;
    uint8_t *bytes = load(path, &nbytes);
    ck_assert_msg(read_bytes(bytes, nbytes, &copy, &err) == SQZ_OK, "%s", err.text);
    assert_same_model(model, copy);
    free(bytes);
    sqz_model_free(copy);
    sqz_model_free(model);
    remove_folder();
}
END_TEST

START_TEST(same_model_same_bytes) {
    make_folder();
    write_model();
    size_t nbytes, again;
    uint8_t *first = load(path, &nbytes);
    /* Object headers can hold seconds. */
    sleep(1);
    write_model();
    uint8_t *second = load(path, &again);
    ck_assert_uint_eq(nbytes, again);
    ck_assert_mem_eq(first, second, nbytes);
    free(first);
    free(second);
    remove_folder();
}
END_TEST

START_TEST(truncation_is_an_error) {
    make_folder();
    write_model();
    size_t nbytes;
    uint8_t *bytes = load(path, &nbytes);
    struct sqz_model *model;
    for (size_t i = 0; i < 64; i++) {
        size_t cut = i < 48 ? i : nbytes * (i - 48) / 16;
        struct sqz_error err = {0};
        ck_assert_int_ne(read_bytes(bytes, cut, &model, &err), SQZ_OK);
    }
    struct sqz_error err = {0};
    ck_assert_int_eq(read_bytes(bytes, nbytes - 1, &model, &err), SQZ_MALFORMED);
    ck_assert_int_eq(read_bytes(bytes, nbytes - TRAILER_NBYTES - 1, &model, &err), SQZ_TRUNCATED);
    free(bytes);
    remove_folder();
}
END_TEST

START_TEST(flipped_bits_are_found) {
    make_folder();
    write_model();
    size_t nbytes;
    uint8_t *bytes = load(path, &nbytes);
    for (size_t i = 8; i < nbytes; i += i < 512 || i + TRAILER_NBYTES >= nbytes ? 1 : 37) {
        struct sqz_model *model = NULL;
        bytes[i] ^= (uint8_t)(1u << (i % 8));
        ck_assert_int_ne(read_bytes(bytes, nbytes, &model, NULL), SQZ_OK);
        bytes[i] ^= (uint8_t)(1u << (i % 8));
    }
    free(bytes);
    remove_folder();
}
END_TEST

/* Other programs drop the checksum; what is left is still a working file. */
START_TEST(checksum_is_optional) {
    make_folder();
    write_model();
    size_t nbytes;
    uint8_t *bytes = load(path, &nbytes);
    struct sqz_model *model = NULL;
    ck_assert_int_eq(read_bytes(bytes, nbytes - TRAILER_NBYTES, &model, NULL), SQZ_OK);
    sqz_model_free(model);
    free(bytes);
    remove_folder();
}
END_TEST

/* ---- other people's files ------------------------------------------------- */

START_TEST(foreign_files_are_told_apart) {
    make_folder();
    for (int modern = 0; modern < 2; modern++) {
        hid_t access = H5Pcreate(H5P_FILE_ACCESS);
        if (modern) H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
        hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
        H5Gclose(H5Gcreate2(file, "model_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        H5Fclose(file);
        H5Pclose(access);
        struct sqz_error err = {0};
        struct sqz_model *model;
        ck_assert_int_eq(read_file(path, &model, &err), SQZ_UNKNOWN_FORMAT);
        ck_assert_str_eq(err.text, "is an HDF5 file, but not a working file of sqz");
    }
    remove_folder();
}
END_TEST

/* Change one thing in a good file through the library, and expect one status. */
static void expect_after(void (*change)(hid_t file), enum sqz_status want, const char *text) {
    make_folder();
    write_model();
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    change(file);
    H5Fclose(file);
    struct sqz_error err = {0};
    struct sqz_model *model = NULL;
    enum sqz_status got = read_file(path, &model, &err);
    ck_assert_msg(got == want && strstr(err.text, text), "%s: %s", sqz_status_name(got), err.text);
    remove_folder();
}

static void replace_weight(hid_t file, hid_t type, int rank, const hsize_t *dims, hid_t properties) {
    H5Ldelete(file, "weights/plain%2Fbias", H5P_DEFAULT);
    hid_t space = H5Screate_simple(rank, dims, NULL);
    hid_t dataset = H5Dcreate2(file, "weights/plain%2Fbias", type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    ck_assert_int_ge(dataset, 0);
    float values[64] = {0};
    H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(dataset);
    H5Sclose(space);
}

static void drop_weight(hid_t file) {
    H5Ldelete(file, "weights/plain%2Fbias", H5P_DEFAULT);
}

static void soft_link(hid_t file) {
    drop_weight(file);
    H5Lcreate_soft("/weights/empty%2Fbias", file, "weights/plain%2Fbias", H5P_DEFAULT, H5P_DEFAULT);
}

static void external_link(hid_t file) {
    drop_weight(file);
    H5Lcreate_external("/etc/passwd", "/x", file, "weights/plain%2Fbias", H5P_DEFAULT, H5P_DEFAULT);
}

static void wrong_shape(hid_t file) {
    const hsize_t dims[] = {CHANNELS + 1};
    replace_weight(file, H5T_IEEE_F32LE, 1, dims, H5P_DEFAULT);
}

static void wrong_type(hid_t file) {
    const hsize_t dims[] = {CHANNELS};
    replace_weight(file, H5T_IEEE_F64LE, 1, dims, H5P_DEFAULT);
}

static void external_storage(hid_t file) {
    const hsize_t dims[] = {CHANNELS};
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(properties, "/etc/passwd", 0, CHANNELS * 4);
    H5Ldelete(file, "weights/plain%2Fbias", H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, dims, NULL);
    H5Dclose(H5Dcreate2(file, "weights/plain%2Fbias", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(properties);
}

/* A chunked dataset may claim any size while it stores nothing. */
static void chunked(hid_t file) {
    const hsize_t dims[] = {CHANNELS}, chunk[] = {4};
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 1, chunk);
    H5Pset_deflate(properties, 6);
    replace_weight(file, H5T_IEEE_F32LE, 1, dims, properties);
    H5Pclose(properties);
}

static void group_for_dataset(hid_t file) {
    drop_weight(file);
    H5Gclose(H5Gcreate2(file, "weights/plain%2Fbias", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void new_version(hid_t file) {
    int version = 2;
    hid_t attribute = H5Aopen(file, "version", H5P_DEFAULT);
    H5Awrite(attribute, H5T_NATIVE_INT, &version);
    H5Aclose(attribute);
}

static void text_version(hid_t file) {
    H5Adelete(file, "version");
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, H5T_VARIABLE);
    hid_t attribute = H5Acreate2(file, "version", type, space, H5P_DEFAULT, H5P_DEFAULT);
    const char *text = "1";
    H5Awrite(attribute, type, &text);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

static void nan_weight(hid_t file) {
    const float values[CHANNELS] = {0, 0, 0, NAN};
    hid_t dataset = H5Dopen2(file, "weights/plain%2Fbias", H5P_DEFAULT);
    H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(dataset);
}

static void level_beyond_codebook(hid_t file) {
    int16_t levels[CHANNELS * CHANNELS * 9] = {[17] = 5};
    hid_t dataset = H5Dopen2(file, "packed/plain.weight/levels", H5P_DEFAULT);
    H5Dwrite(dataset, H5T_NATIVE_INT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, levels);
    H5Dclose(dataset);
}

static void no_codebook(hid_t file) {
    H5Ldelete(file, "packed/plain.weight/codebook", H5P_DEFAULT);
}

static void no_graph(hid_t file) {
    H5Ldelete(file, "graph", H5P_DEFAULT);
}

static void no_groups(hid_t file) {
    H5Ldelete(file, "packed", H5P_DEFAULT);
}

static const struct {
    void (*change)(hid_t file);
    enum sqz_status status;
    const char *text;
} changes[] = {
    {drop_weight, SQZ_MALFORMED, "no dataset plain/bias"},
    {soft_link, SQZ_MALFORMED, "no dataset plain/bias"},
    {external_link, SQZ_MALFORMED, "no dataset plain/bias"},
    {wrong_shape, SQZ_SHAPE, "has shape 9 where the graph says 8"},
    {wrong_type, SQZ_MALFORMED, "plain/bias is not float32"},
    {external_storage, SQZ_UNSUPPORTED, "stored outside of the file"},
    {chunked, SQZ_UNSUPPORTED, "chunked"},
    {group_for_dataset, SQZ_MALFORMED, "not a readable dataset"},
    {new_version, SQZ_VERSION, "version 2"},
    {text_version, SQZ_MALFORMED, "version cannot be read"},
    {nan_weight, SQZ_NONFINITE, "NaN at index 3"},
    {level_beyond_codebook, SQZ_MALFORMED, "plain.weight"},
    {no_codebook, SQZ_MALFORMED, "no dataset codebook"},
    {no_graph, SQZ_MALFORMED, "no dataset graph"},
    {no_groups, SQZ_MALFORMED, "no group"},
};

START_TEST(changed_files_are_refused) {
    expect_after(changes[_i].change, changes[_i].status, changes[_i].text);
}
END_TEST

START_TEST(weights_beyond_the_limit_are_refused) {
    make_folder();
    write_model();
    const struct sqz_read_options options = {.max_nbytes = 1000};
    struct sqz_source source;
    struct sqz_model *model;
    ck_assert_int_eq(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_hdf5_read(&source, &options, &model, NULL), SQZ_LIMIT);
    sqz_source_close(&source);
    remove_folder();
}
END_TEST

/* ---- short memory, full disks ---------------------------------------------- */

START_TEST(short_memory_is_an_error) {
    make_folder();
    write_model();
    struct sqz_model *model = make_model(), *copy = NULL;
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    int n = 0;
    for (; n < 10000 && status != SQZ_OK; n++) {
        sqz_alloc_fail_after(n);
        status = read_file(path, &copy, NULL);
        sqz_alloc_fail_after(-1);
    }
    ck_assert_int_eq(status, SQZ_OK);
    ck_assert_int_gt(n, 10);
    sqz_model_free(copy);
    status = SQZ_OUT_OF_MEMORY;
    for (n = 0; n < 10000 && status != SQZ_OK; n++) {
        sqz_alloc_fail_after(n);
        status = sqz_hdf5_write(model, path, NULL, NULL);
        sqz_alloc_fail_after(-1);
    }
    ck_assert_int_eq(status, SQZ_OK);
    ck_assert_int_gt(n, 5);
    sqz_model_free(model);
    remove_folder();
}
END_TEST

/* Once the HDF5 library crashed in its exit handler when the disk had been full, hence the exit code of this test. */
START_TEST(full_disk_leaves_the_old_file) {
    make_folder();
    write_model();
    size_t nbytes, again;
    uint8_t *before = load(path, &nbytes);
    struct sqz_model *model = make_model();
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t limit = 0; limit < nbytes; limit += nbytes / 7) {
        const struct rlimit small = {limit, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
        setrlimit(RLIMIT_FSIZE, &small);
        struct sqz_error err = {0};
        enum sqz_status status = sqz_hdf5_write(model, path, NULL, &err);
        setrlimit(RLIMIT_FSIZE, &none);
        ck_assert_int_eq(status, SQZ_IO);
        uint8_t *after = load(path, &again);
        ck_assert_uint_eq(nbytes, again);
        ck_assert_mem_eq(before, after, nbytes);
        free(after);
    }
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_hdf5_write(model, "/dev/full", NULL, &err), SQZ_IO);
    ck_assert_int_eq(sqz_hdf5_write(model, "/nonexistent/x.h5", NULL, &err), SQZ_IO);
    free(before);
    sqz_model_free(model);
    remove_folder();
}
END_TEST

Suite *test_hdf5(void) {
    Suite *suite = suite_create("hdf5");
    TCase *tc = tcase_create("hdf5");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, trellis_is_kept_and_checked);
    tcase_add_test(tc, round_trip_by_name_and_by_bytes);
    tcase_add_test(tc, same_model_same_bytes);
    tcase_add_test(tc, truncation_is_an_error);
    tcase_add_test(tc, flipped_bits_are_found);
    tcase_add_test(tc, checksum_is_optional);
    tcase_add_test(tc, foreign_files_are_told_apart);
    tcase_add_loop_test(tc, changed_files_are_refused, 0, (int)(sizeof changes / sizeof *changes));
    tcase_add_test(tc, weights_beyond_the_limit_are_refused);
    tcase_add_test(tc, short_memory_is_an_error);
    tcase_add_test(tc, full_disk_leaves_the_old_file);
    suite_add_tcase(suite, tc);
    return suite;
}
