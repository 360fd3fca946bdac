/* test_plain_decoder.c - the product and the plain decoder, which knows nothing but formats/SQZ.md, read the same
 * files. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "formats/formats.h"
#include "lib/container.h"
#include "lib/files.h"
#include "lib/parallel.h"
#include "lib/prune.h"
#include "lib/quantize.h"
#include "lib/trellis.h"
#include "tests/unit/effort.h"
#include "tests/unit/plain_compare.h"

/* The golden files, in the order of tests/golden/contents.txt. */
#define MAX_GOLDEN 64
static struct {
    char name[64];
    unsigned digest;
} golden[MAX_GOLDEN];
static size_t n_golden;

static void read_contents(void) {
    FILE *contents = fopen("tests/golden/contents.txt", "r");
    if (!contents) return;
    while (n_golden < MAX_GOLDEN && fscanf(contents, "%63s %x", golden[n_golden].name, &golden[n_golden].digest) == 2)
        n_golden++;
    fclose(contents);
}

static struct sqz_source open_golden(size_t i) {
    char path[128];
    struct sqz_source source;
    struct sqz_error err;
    snprintf(path, sizeof path, "tests/golden/%s.sqz", golden[i].name);
    ck_assert_msg(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, &err) == SQZ_OK, "%s: %s", path, err.text);
    return source;
}

/* Bound on the weights of a damaged file: no golden file has more than 270,000. */
#define MAX_NBYTES ((size_t)2 << 20)

/* Both decoders take the file and give the same. */
static void expect_same(const char *what, const uint8_t *data, size_t nbytes, unsigned *digest) {
    struct sqz_model *model;
    struct plain_model *plain;
    struct sqz_error err;
    ck_assert_msg(sqz_container_decode(data, nbytes, 0, &model, &err) == SQZ_OK, "%s: %s", what, err.text);
    const char *reason = sqz_plain_decode(data, nbytes, UINT64_MAX, &plain);
    ck_assert_msg(reason == NULL, "%s: the plain decoder refuses it: %s", what, reason);
    const char *difference = plain_difference(model, plain);
    ck_assert_msg(difference == NULL, "%s: %s", what, difference);
    if (digest) *digest = plain_digest(plain);
    sqz_plain_free(plain);
    sqz_model_free(model);
}

/*
 * Both decoders refuse the file, or both take it and give the same; *n_taken counts the latter. The plain decoder,
 * which runs no net, does not know whether sizes fit.
 */
static void expect_agreement(const char *what, size_t at, const uint8_t *data, size_t nbytes, size_t *n_taken) {
    struct sqz_model *model = NULL;
    struct plain_model *plain;
    struct sqz_error err = {0};
    enum sqz_status status = sqz_container_decode(data, nbytes, MAX_NBYTES, &model, &err);
    const char *reason = sqz_plain_decode(data, nbytes, MAX_NBYTES, &plain);
    ck_assert_msg((status == SQZ_OK) == (reason == NULL) || status == SQZ_SHAPE,
                  "%s, byte %zu: the product says \"%s\", the plain decoder \"%s\"", what, at,
                  status == SQZ_OK ? "good" : err.text, reason ? reason : "good");
    if (status == SQZ_OK && reason == NULL) {
        const char *difference = plain_difference(model, plain);
        ck_assert_msg(difference == NULL, "%s, byte %zu: %s", what, at, difference);
        ++*n_taken;
    }
    sqz_plain_free(plain);
    sqz_model_free(model);
}

START_TEST(golden_files_stay_readable) {
    struct sqz_source source = open_golden((size_t)_i);
    unsigned digest;
    expect_same(golden[_i].name, source.data, source.nbytes, &digest);
    ck_assert_msg(digest == golden[_i].digest, "%s holds %08x, and once held %08x", golden[_i].name, digest,
                  golden[_i].digest);
    sqz_source_close(&source);
}
END_TEST

START_TEST(golden_files_use_every_storage) {
    static const char *const wanted[] = {"dense huffman", "bitmap huffman", "gaps huffman",
                                         "dense range",   "float32 raw",    "float16 raw"};
    bool seen[6] = {0};
    ck_assert_msg(n_golden >= 18, "%zu golden files; run the tests from the root of the source tree", n_golden);
    for (size_t i = 0; i < n_golden; i++) {
        struct sqz_source source = open_golden(i);
        struct sqz_model *model;
        struct sqz_ledger ledger;
        ck_assert_int_eq(sqz_container_decode(source.data, source.nbytes, 0, &model, NULL), SQZ_OK);
        struct sqz_tensor_stats *stats = sqz_alloc(model->n_weights, sizeof *stats);
        ck_assert_int_eq(sqz_container_ledger(source.data, source.nbytes, model, &ledger, stats, NULL), SQZ_OK);
        for (size_t w = 0; w < model->n_weights; w++) {
            char form[64];
            snprintf(form, sizeof form, "%s %s", stats[w].layout, stats[w].coder);
            for (size_t k = 0; k < 6; k++) seen[k] |= strcmp(form, wanted[k]) == 0;
        }
        sqz_free(stats);
        sqz_model_free(model);
        sqz_source_close(&source);
    }
    for (size_t k = 0; k < 6; k++) ck_assert_msg(seen[k], "no golden file stores anything as %s", wanted[k]);
}
END_TEST

/* The bytes of the hexdump in section 9 of the document. */
START_TEST(worked_example) {
    struct sqz_source source;
    ck_assert_int_eq(sqz_source_open("formats/SQZ.md", SQZ_SOURCE_LIMIT, &source, NULL), SQZ_OK);
    char *text = strndup((const char *)source.data, source.nbytes), *line = strstr(text, "## 9. Worked example");
    sqz_source_close(&source);
    ck_assert_ptr_nonnull(line);
    uint8_t file[512];
    size_t nbytes = 0;
    while ((line = strchr(line, '\n')) != NULL && nbytes < sizeof file - 16) {
        unsigned offset, byte;
        int used;
        line++;
        if (strncmp(line, "    0", 5) != 0 || sscanf(line, "%3x  %n", &offset, &used) != 1) {
            if (nbytes > 0) break;
            continue;
        }
        ck_assert_uint_eq(offset, nbytes);
        /* Sixteen bytes, then three blanks and the same as text. */
        for (const char *at = line + used; at - line < 58 && sscanf(at, "%2x", &byte) == 1; at += strspn(at, " ")) {
            file[nbytes++] = (uint8_t)byte;
            at += 2;
            if (strncmp(at, "   ", 3) == 0) break;
        }
    }
    free(text);
    ck_assert_uint_eq(nbytes, 98);
    expect_same("worked example", file, nbytes, NULL);
    struct plain_model *plain;
    ck_assert_ptr_null(sqz_plain_decode(file, nbytes, 1000, &plain));
    static const float weights[] = {-0.5f, 0, 0.25f, 0, 0, -0.5f, -0.5f, 0.25f}, biases[] = {1, -1};
    ck_assert_str_eq(plain->weights[0].name, "fc.weight");
    ck_assert_mem_eq(plain->weights[0].values, weights, sizeof weights);
    ck_assert_mem_eq(plain->weights[1].values, biases, sizeof biases);
    sqz_plain_free(plain);
}
END_TEST

/* ---- freshly encoded ---- */

static struct sqz_model *read_sample(int which) {
    static const char *const paths[] = {"samples/fashion_squeezenet.pth", "samples/fashion_alexnet.pth"};
    struct sqz_read_options options = {0};
    struct sqz_model *model;
    struct sqz_error err;
    ck_assert_msg(sqz_model_read(paths[which], &options, &model, &err) == SQZ_OK, "%s", err.text);
    return model;
}

static void prune_to(struct sqz_model *model, double density) {
    struct sqz_layer_value rule = {NULL, density};
    struct sqz_prune_options options = {.rule = SQZ_PRUNE_DENSITY, .values = &rule, .n_values = 1};
    struct sqz_prune_stats *stats = sqz_alloc(model->n_weights, sizeof *stats);
    size_t n;
    ck_assert_int_eq(sqz_prune(model, &options, stats, &n, NULL), SQZ_OK);
    sqz_free(stats);
}

static void share(struct sqz_model *model, unsigned bits) {
    struct sqz_layer_value rule = {NULL, bits};
    struct sqz_quantize_options options = {.bits = &rule, .n_bits = 1, .init = SQZ_INIT_DENSITY, .max_iterations = 5};
    struct sqz_quantize_stats *stats = sqz_alloc(model->n_weights, sizeof *stats);
    size_t n;
    ck_assert_int_eq(sqz_quantize(model, &options, stats, &n, NULL), SQZ_OK);
    sqz_free(stats);
}

static void expect_same_coded(const char *what, const struct sqz_model *model, enum sqz_bias_kind bias) {
    for (int coder = SQZ_CODER_HUFFMAN; coder <= SQZ_CODER_RANGE; coder++) {
        struct sqz_encode_options options = {(enum sqz_coder)coder, bias};
        struct sqz_buffer file = {0};
        struct sqz_error err;
        ck_assert_msg(sqz_container_encode(model, &options, &file, &err) == SQZ_OK, "%s: %s", what, err.text);
        expect_same(what, file.data, file.nbytes, NULL);
        sqz_buffer_free(&file);
    }
}

START_TEST(codebooks) {
    static const double densities[] = {1, 0.5, 0.05};
    unsigned bits = (unsigned)_i;
    for (int which = 0; which < 2; which++)
        for (int d = 0; d < 3; d++) {
            if (which == 1 && (d != _i % 3 || _i % EFFORT(2, 4) != 1)) continue; /* the larger one less often */
            char what[64];
            struct sqz_model *model = read_sample(which);
            snprintf(what, sizeof what, "sample %d, density %g, %u bits", which, densities[d], bits);
            prune_to(model, densities[d]);
            share(model, bits);
            expect_same_coded(what, model, d == 0 ? SQZ_BIAS_FP32 : SQZ_BIAS_FP16);
            sqz_model_free(model);
        }
}
END_TEST

/* The kernels on a grid whose step is a part of the layer's, or the channel's, largest weight. */
static void make_uniform(struct sqz_weight *weight, bool per_channel, float n_steps) {
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    size_t rows = (size_t)weight->shape.dim[0], row = weight->count / rows;
    packed->kind = SQZ_LEVELS_UNIFORM;
    packed->n_levels = weight->count;
    packed->n_steps = per_channel ? (uint32_t)rows : 1;
    packed->levels = sqz_alloc(weight->count, sizeof *packed->levels);
    packed->steps = sqz_alloc(packed->n_steps, sizeof *packed->steps);
    size_t n = per_channel ? row : weight->count;
    for (uint32_t i = 0; i < packed->n_steps; i++) {
        float largest = 1e-6f;
        for (size_t k = 0; k < n; k++) {
            float magnitude = weight->data[i * n + k] < 0 ? -weight->data[i * n + k] : weight->data[i * n + k];
            if (magnitude > largest) largest = magnitude;
        }
        packed->steps[i] = largest / n_steps;
        for (size_t k = 0; k < n; k++)
            packed->levels[i * n + k] = (int16_t)(weight->data[i * n + k] / packed->steps[i]);
    }
    sqz_free(weight->data);
    weight->data = NULL;
    weight->packed = packed;
}

START_TEST(uniform_levels) {
    static const float n_steps[] = {1, 3, 20, 500, 8191};
    for (int which = 0; which < 2; which++)
        for (int per_channel = 0; per_channel < 2; per_channel++) {
            if (which == 1 && (per_channel != _i % 2 || _i % EFFORT(2, 4) != 1)) continue;
            char what[64];
            struct sqz_model *model = read_sample(which);
            snprintf(what, sizeof what, "sample %d, %g steps, per channel %d", which, (double)n_steps[_i], per_channel);
            for (size_t i = 0; i < model->n_weights; i++)
                if (model->weights[i].role == SQZ_ROLE_KERNEL)
                    make_uniform(&model->weights[i], per_channel, n_steps[_i]);
            expect_same_coded(what, model, per_channel ? SQZ_BIAS_8BIT : SQZ_BIAS_10BIT);
            sqz_model_free(model);
        }
}
END_TEST

/* Half of the levels of a grid as the indices of a trellis, each kernel with twice the states of the one before. */
static void make_trellis(struct sqz_model *model, bool per_channel) {
    uint32_t n_states = 4;
    for (size_t i = 0; i < model->n_weights; i++) {
        struct sqz_weight *weight = &model->weights[i];
        if (weight->role != SQZ_ROLE_KERNEL) continue;
        make_uniform(weight, per_channel, 20);
        for (size_t k = 0; k < weight->count; k++) weight->packed->levels[k] /= 2;
        struct sqz_lanes lanes = sqz_lanes_of(&weight->shape, weight->count, SQZ_STREAM_RANGE);
        sqz_trellis_restore(n_states, &lanes, weight->packed->levels);
        weight->packed->trellis_states = n_states;
        n_states = n_states == SQZ_TRELLIS_MAX_STATES ? 4 : 2 * n_states;
    }
}

START_TEST(trellis_levels) {
    struct sqz_model *model = read_sample(0);
    make_trellis(model, _i == 1);
    expect_same_coded("trellis", model, SQZ_BIAS_FP16);
    sqz_model_free(model);
}
END_TEST

START_TEST(float_kernels) {
    struct sqz_model *model = read_sample(0);
    expect_same_coded("float kernels", model, SQZ_BIAS_FP32);
    sqz_model_free(model);
}
END_TEST

/* ---- damage ---- */

/* Where the parts of a file are. */
struct parts {
    size_t graph_nbytes, deflated, deflated_nbytes, n_tensors;
    size_t index; /* offset of the first entry */
    size_t sections;
    size_t section_nbytes[64];
};

static struct parts find_parts(const uint8_t *data, size_t nbytes) {
    struct sqz_reader r = sqz_reader_make(data, nbytes);
    struct parts parts;
    sqz_read_bytes(&r, 5);
    parts.graph_nbytes = (size_t)sqz_read_varint(&r);
    parts.deflated_nbytes = (size_t)sqz_read_varint(&r);
    parts.n_tensors = (size_t)sqz_read_varint(&r);
    parts.index = r.offset;
    ck_assert_uint_le(parts.n_tensors, 64);
    for (size_t i = 0; i < parts.n_tensors; i++) {
        parts.section_nbytes[i] = (size_t)sqz_read_varint(&r);
        sqz_read_u32(&r);
    }
    parts.deflated = r.offset;
    parts.sections = r.offset + parts.deflated_nbytes + 4;
    ck_assert(!r.failed);
    return parts;
}

/* A file of these parts, with its checksums right; the sections' sizes may be others than those in the parts. */
static void put_file(struct sqz_buffer *out, const struct parts *parts, const uint8_t *deflated, size_t deflated_nbytes,
                     size_t graph_nbytes, const uint8_t *sections) {
    out->nbytes = 0;
    sqz_put_bytes(out, "SQZ\x1a\x01", 5);
    sqz_put_varint(out, graph_nbytes);
    sqz_put_varint(out, deflated_nbytes);
    sqz_put_varint(out, parts->n_tensors);
    size_t total = 0;
    for (size_t i = 0; i < parts->n_tensors; i++) {
        sqz_put_varint(out, parts->section_nbytes[i]);
        sqz_put_u32(out, (uint32_t)crc32(0, sections + total, (uInt)parts->section_nbytes[i]));
        total += parts->section_nbytes[i];
    }
    sqz_put_bytes(out, deflated, deflated_nbytes);
    sqz_put_u32(out, (uint32_t)crc32(0, out->data, (uInt)out->nbytes));
    sqz_put_bytes(out, sections, total);
    ck_assert_int_eq(sqz_buffer_status(out, NULL), SQZ_OK);
}

/* Any byte changed as it stands: the checksums catch it, or it is one of them. */
START_TEST(flipped_bytes_are_refused) {
    struct sqz_source source = open_golden((size_t)_i);
    uint8_t *copy = sqz_alloc(source.nbytes, 1);
    size_t n_taken = 0;
    memcpy(copy, source.data, source.nbytes);
    for (size_t at = 0; at < source.nbytes; at += EFFORT(1, 3)) {
        copy[at] ^= (uint8_t)(at % 9 == 8 ? 0xFF : 1u << at % 9);
        expect_agreement(golden[_i].name, at, copy, source.nbytes, &n_taken);
        copy[at] = source.data[at];
    }
    ck_assert_uint_eq(n_taken, 0);
    for (size_t nbytes = 0; nbytes < source.nbytes; nbytes += 1 + nbytes / 64)
        expect_agreement("cut", nbytes, source.data, nbytes, &n_taken);
    ck_assert_uint_eq(n_taken, 0);
    sqz_free(copy);
    sqz_source_close(&source);
}
END_TEST

/*
 * Every how manieth byte is changed where checksums are made right, so that each file is decoded through some hundred
 * times: a file of 270,000 weights takes long, and floats are all alike. All strides were 1 once, with no other result.
 */
static size_t stride_of(const char *name) {
    return (strstr(name, "lanes") ? 101 : strstr(name, "floats") ? 97 : 7) * EFFORT(1, 4);
}

/* A byte of a section changed, and its checksum made right: what only the rules of sections 4 to 8 can tell. */
START_TEST(damaged_sections) {
    struct sqz_source source = open_golden((size_t)_i);
    struct parts parts = find_parts(source.data, source.nbytes);
    size_t total = source.nbytes - parts.sections, stride = stride_of(golden[_i].name), n_taken = 0;
    uint8_t *sections = sqz_alloc(total, 1);
    struct sqz_buffer file = {0};
    memcpy(sections, source.data + parts.sections, total);
    for (size_t at = (size_t)_i % stride; at < total; at += stride) {
        sections[at] ^= (uint8_t)(at % 9 == 8 ? 0xFF : 1u << at % 9);
        put_file(&file, &parts, source.data + parts.deflated, parts.deflated_nbytes, parts.graph_nbytes, sections);
        expect_agreement(golden[_i].name, parts.sections + at, file.data, file.nbytes, &n_taken);
        sections[at] = source.data[parts.sections + at];
    }
    sqz_buffer_free(&file);
    sqz_free(sections);
    sqz_source_close(&source);
}
END_TEST

/* Every section cut short, and with bytes behind it: zeros, which a range decoder may take for those it reads ahead. */
START_TEST(sections_of_another_length) {
    struct sqz_source source = open_golden((size_t)_i);
    struct parts parts = find_parts(source.data, source.nbytes);
    size_t total = source.nbytes - parts.sections, offset = 0, n_taken = 0;
    uint8_t *sections = sqz_alloc0(total + 16, 1);
    struct sqz_buffer file = {0};
    for (size_t i = 0; i < parts.n_tensors; i++) {
        size_t nbytes = parts.section_nbytes[i], end = offset + nbytes;
        for (size_t change = 1; change <= 9; change += 4) {
            if (change <= nbytes) {
                memcpy(sections, source.data + parts.sections, end - change);
                memcpy(sections + end - change, source.data + parts.sections + end, total - end);
                parts.section_nbytes[i] = nbytes - change;
                put_file(&file, &parts, source.data + parts.deflated, parts.deflated_nbytes, parts.graph_nbytes,
                         sections);
                expect_agreement(golden[_i].name, i, file.data, file.nbytes, &n_taken);
            }
            memcpy(sections, source.data + parts.sections, end);
            memset(sections + end, 0, change);
            memcpy(sections + end + change, source.data + parts.sections + end, total - end);
            parts.section_nbytes[i] = nbytes + change;
            put_file(&file, &parts, source.data + parts.deflated, parts.deflated_nbytes, parts.graph_nbytes, sections);
            expect_agreement(golden[_i].name, i, file.data, file.nbytes, &n_taken);
        }
        parts.section_nbytes[i] = nbytes;
        offset = end;
    }
    sqz_buffer_free(&file);
    sqz_free(sections);
    sqz_source_close(&source);
}
END_TEST

static size_t deflate_graph(const uint8_t *graph, size_t nbytes, uint8_t *out, size_t capacity) {
    z_stream stream = {
        .next_in = (Bytef *)graph, .avail_in = (uInt)nbytes, .next_out = out, .avail_out = (uInt)capacity};
    ck_assert_int_eq(deflateInit2(&stream, 1, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    size_t deflated_nbytes = stream.total_out;
    deflateEnd(&stream);
    return deflated_nbytes;
}

/* A byte of the inflated graph changed: what only the rules of section 3 can tell. */
START_TEST(damaged_graph) {
    struct sqz_source source = open_golden((size_t)_i);
    struct parts parts = find_parts(source.data, source.nbytes);
    size_t capacity = parts.graph_nbytes + 64, n_taken = 0;
    uint8_t *graph = sqz_alloc(parts.graph_nbytes, 1), *deflated = sqz_alloc(capacity, 1);
    z_stream stream = {.next_in = (Bytef *)source.data + parts.deflated,
                       .avail_in = (uInt)parts.deflated_nbytes,
                       .next_out = graph,
                       .avail_out = (uInt)parts.graph_nbytes};
    ck_assert_int_eq(inflateInit2(&stream, -15), Z_OK);
    ck_assert_int_eq(inflate(&stream, Z_FINISH), Z_STREAM_END);
    inflateEnd(&stream);
    struct sqz_buffer file = {0};
    bool whole = strncmp(golden[_i].name, "graph", 5) == 0; /* small files with every operator */
    for (size_t at = 0; at < parts.graph_nbytes; at += whole ? 1 : stride_of(golden[_i].name)) {
        uint8_t old = graph[at];
        const uint8_t changed[] = {(uint8_t)(old ^ 1), (uint8_t)(old + 1), (uint8_t)(old - 1), (uint8_t)(old ^ 128), 0,
                                   (uint8_t)~old};
        for (size_t how = 0; how < sizeof changed; how++) {
            graph[at] = changed[how];
            size_t deflated_nbytes = deflate_graph(graph, parts.graph_nbytes, deflated, capacity);
            put_file(&file, &parts, deflated, deflated_nbytes, parts.graph_nbytes, source.data + parts.sections);
            expect_agreement(golden[_i].name, at, file.data, file.nbytes, &n_taken);
        }
        graph[at] = old;
    }
    ck_assert_uint_gt(n_taken, 0); /* a letter of a name */
    sqz_buffer_free(&file);
    sqz_free(graph);
    sqz_free(deflated);
    sqz_source_close(&source);
}
END_TEST

/* Thousands of decodings of a few hundred weights: threads would only wait for each other. */
static void one_thread(void) {
    sqz_set_threads(1);
}

Suite *test_plain_decoder(void) {
    Suite *suite = suite_create("plain_decoder");
    TCase *tc = tcase_create("golden");
    read_contents();
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, golden_files_use_every_storage);
    tcase_add_loop_test(tc, golden_files_stay_readable, 0, (int)n_golden);
    tcase_add_test(tc, worked_example);
    suite_add_tcase(suite, tc);
    tc = tcase_create("fresh");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, codebooks, 1, 9);
    tcase_add_loop_test(tc, uniform_levels, 0, 5);
    tcase_add_loop_test(tc, trellis_levels, 0, 2);
    tcase_add_test(tc, float_kernels);
    suite_add_tcase(suite, tc);
    tc = tcase_create("damage");
    tcase_add_checked_fixture(tc, one_thread, NULL);
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, flipped_bytes_are_refused, 0, (int)n_golden);
    tcase_add_loop_test(tc, damaged_sections, 0, (int)n_golden);
    tcase_add_loop_test(tc, sections_of_another_length, 0, (int)n_golden);
    tcase_add_loop_test(tc, damaged_graph, 0, (int)n_golden);
    suite_add_tcase(suite, tc);
    return suite;
}
