/*
 * han_net.c - reads the .net file of the authors of Deep Compression (arXiv 1510.00149).
 *
 * The file has neither magic nor names; its prototxt says what the layers
 * are. Little-endian, for the layers with weights in the prototxt's order:
 *
 *   uint32 count[layers]       stored entries of each layer
 *   then for each layer:
 *   float32 codebook[2^bits]   bits is 8 for convolutions, 4 for dense layers
 *   float32 bias[outputs]
 *   codes                      count fields of `bits` bits, low nibble first
 *   gaps                       count fields of 4 bits, low nibble first
 *
 * Entry i lies gap[i] + 1 weights behind entry i - 1 (the first one behind
 * weight -1) and has the value codebook[code[i]]; the others are zero. A
 * run of more than 15 zeros is bridged by entries of code 0, whose value is 0.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/archs.h"
#include "formats/caffe_graph.h"
#include "formats/formats.h"
#include "lib/bytes.h"

/* Bound on a prototxt: a thousand times the published one. */
#define MAX_PROTOTXT_NBYTES ((size_t)16 << 20)

/* Bound on the weights as float32 when the caller sets none. */
#define DEFAULT_MAX_NBYTES ((size_t)8 << 30)

/* Everything a read holds; freed in one place. */
struct han {
    struct sqz_source prototxt;
    bool prototxt_open;
    char prototxt_path[4096];
    struct sqz_arena arena; /* text tree and layer list */
    struct sqz_caffe_graph graph;
    struct sqz_reader reader;
    struct sqz_error *err;
};

/* What one layer stores. */
struct section {
    const struct sqz_caffe_layer *layer;
    uint32_t n_entries;
    uint32_t n_outputs;
    unsigned bits;
    float codebook[256];
    const uint8_t *codes, *gaps;
    size_t offset; /* of its codebook in the file */
};

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* ---- the prototxt -------------------------------------------------------- */

/* X.prototxt for X.net: the last extension of the file name replaced. */
static enum sqz_status prototxt_path(const char *path, char *buffer, size_t capacity, struct sqz_error *err) {
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    int stem = dot && (!slash || dot > slash) ? (int)(dot - path) : (int)strlen(path);
    int n = snprintf(buffer, capacity, "%.*s.prototxt", stem, path);
    if (n < 0 || (size_t)n >= capacity) return sqz_fail(err, SQZ_LIMIT, "a path is longer than %zu bytes", capacity);
    return SQZ_OK;
}

static enum sqz_status load_prototxt(struct han *han, const char *net_path, const char *companion) {
    struct sqz_caffe_field *root;
    if (companion)
        snprintf(han->prototxt_path, sizeof han->prototxt_path, "%s", companion);
    else
        SQZ_TRY(prototxt_path(net_path, han->prototxt_path, sizeof han->prototxt_path, han->err));
    enum sqz_status status = sqz_source_open(han->prototxt_path, MAX_PROTOTXT_NBYTES, &han->prototxt, han->err);
    if (status == SQZ_NOT_FOUND && !companion)
        return sqz_fail(
            han->err, status,
            "a Deep Compression .net file needs its prototxt, and there is no %.400s; name it as the companion",
            han->prototxt_path);
    if (status == SQZ_OK) {
        han->prototxt_open = true;
        if (han->prototxt.nbytes > MAX_PROTOTXT_NBYTES)
            status = sqz_fail(han->err, SQZ_LIMIT, "a prototxt of %zu bytes is too large", han->prototxt.nbytes);
    }
    if (status == SQZ_OK)
        status = sqz_caffe_text_parse(han->prototxt.data, han->prototxt.nbytes, &han->arena, &root, han->err);
    if (status == SQZ_OK) status = sqz_caffe_graph_build(root, &han->arena, &han->graph, han->err);
    if (status == SQZ_OK && han->graph.n_layers == 0)
        status = sqz_fail(han->err, SQZ_MALFORMED, "the prototxt has no layer with weights");
    if (status != SQZ_OK) sqz_error_set_file(han->err, han->prototxt_path);
    return status;
}

static void close_han(struct han *han) {
    sqz_model_free(han->graph.model);
    if (han->prototxt_open) sqz_source_close(&han->prototxt);
    sqz_arena_free(&han->arena);
}

/* The name of layer i in the published SqueezeNet v1.0. */
static void published_name(size_t i, char *buffer, size_t capacity) {
    static const char *const parts[3] = {"conv1x1_1", "conv1x1_2", "conv3x3_2"};
    if (i == 0)
        snprintf(buffer, capacity, "conv1");
    else if (i == 25)
        snprintf(buffer, capacity, "conv_final");
    else
        snprintf(buffer, capacity, "fire%zu/%s", 2 + (i - 1) / 3, parts[(i - 1) % 3]);
}

/* The file itself cannot tell whether the prototxt is the right one, so say when its names are not the published ones.
 */
static void warn_about_names(const struct han *han, const struct sqz_read_options *options) {
    const struct sqz_caffe_graph *graph = &han->graph;
    for (size_t i = 0; i < graph->n_layers && options->warn; i++) {
        char expected[64], text[512];
        published_name(i, expected, sizeof expected);
        if (strcmp(graph->layers[i].name, expected) == 0) continue;
        snprintf(text, sizeof text,
                 "the prototxt calls layer %zu %.100s where the published one says %s; "
                 "weights are assigned by order and shape, since a .net file holds no names",
                 i + 1, graph->layers[i].name, expected);
        options->warn(options->warn_context, text);
        return;
    }
}

/* ---- one layer ---------------------------------------------------------- */

/* The next n bytes of a layer's part, or an error that says which part is cut off. */
static enum sqz_status take(struct han *han, const struct sqz_caffe_layer *layer, const char *what, size_t n,
                            const uint8_t **out) {
    *out = sqz_read_bytes(&han->reader, n);
    if (*out) return SQZ_OK;
    return sqz_fail(han->err, SQZ_TRUNCATED, "layer %s: %s of %zu bytes at byte %zu, but only %zu bytes are left",
                    layer->name, what, n, han->reader.offset, sqz_reader_left(&han->reader));
}

static void copy_floats(const uint8_t *bytes, size_t n, float *out) {
    struct sqz_reader reader = sqz_reader_make(bytes, n * sizeof(float));
    for (size_t i = 0; i < n; i++) out[i] = sqz_read_f32(&reader);
}

static unsigned layer_bits(const struct han *han, const struct sqz_caffe_layer *layer) {
    return han->graph.model->nodes[layer->node].op == SQZ_OP_CONV ? 8 : 4;
}

/* The field of `bits` bits (4 or 8) at index i. */
static unsigned field_at(const uint8_t *bytes, unsigned bits, size_t i) {
    if (bits == 8) return bytes[i];
    return i % 2 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15;
}

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The ascending, distinct, non-zero values among the used codes; level[code] is where each went, 0 for zero. */
static uint32_t sort_codebook(const float *codebook, const bool used[256], float sorted[256], int16_t level[256]) {
    uint32_t n = 0, distinct = 0;
    for (unsigned code = 0; code < 256; code++)
        if (used[code] && codebook[code] != 0) sorted[n++] = codebook[code];
    qsort(sorted, n, sizeof *sorted, compare_floats);
    for (uint32_t i = 0; i < n; i++)
        if (distinct == 0 || sorted[distinct - 1] != sorted[i]) sorted[distinct++] = sorted[i];
    for (unsigned code = 0; code < 256; code++) {
        const float *found = NULL;
        if (used[code] && codebook[code] != 0)
            found = bsearch(&codebook[code], sorted, distinct, sizeof *sorted, compare_floats);
        level[code] = found ? (int16_t)(found - sorted + 1) : 0;
    }
    return distinct;
}

static enum sqz_status find_used_codes(struct han *han, const struct section *section, bool used[256]) {
    memset(used, 0, 256 * sizeof *used);
    for (size_t i = 0; i < section->n_entries; i++) used[field_at(section->codes, section->bits, i)] = true;
    for (unsigned code = 0; code < 256; code++)
        if (used[code] && !isfinite(section->codebook[code]))
            return sqz_fail(han->err, SQZ_NONFINITE, "layer %s: codebook entry %u at byte %zu is not finite",
                            section->layer->name, code, section->offset + code * sizeof(float));
    return SQZ_OK;
}

/* Walk the gaps and put each entry's level where it belongs. */
static enum sqz_status place_entries(struct han *han, const struct section *section, const int16_t level[256],
                                     int16_t *levels) {
    size_t next = 0; /* the first position behind the entries so far */
    for (size_t i = 0; i < section->n_entries; i++) {
        size_t position = next + field_at(section->gaps, 4, i);
        if (position >= section->layer->count)
            return sqz_fail(han->err, SQZ_MALFORMED,
                            "layer %s: the gap of entry %zu at byte %zu leads to weight %zu of a tensor of %zu",
                            section->layer->name, i, (size_t)(section->gaps - han->reader.data) + i / 2, position,
                            section->layer->count);
        levels[position] = level[field_at(section->codes, section->bits, i)];
        next = position + 1;
    }
    return SQZ_OK;
}

static enum sqz_status unpack_section(struct han *han, const struct section *section, struct sqz_packed **out) {
    bool used[256];
    float sorted[256];
    int16_t level[256];
    SQZ_TRY(find_used_codes(han, section, used));
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    if (!packed) return no_memory(han->err);
    packed->kind = SQZ_LEVELS_CODEBOOK;
    packed->n_levels = section->layer->count;
    packed->n_codebook = sort_codebook(section->codebook, used, sorted, level);
    packed->levels = sqz_alloc0(packed->n_levels, sizeof *packed->levels);
    packed->codebook = sqz_alloc(packed->n_codebook ? packed->n_codebook : 1, sizeof *packed->codebook);
    enum sqz_status status = SQZ_OK;
    if (!packed->levels || !packed->codebook) status = no_memory(han->err);
    if (status == SQZ_OK) {
        memcpy(packed->codebook, sorted, packed->n_codebook * sizeof *sorted);
        status = place_entries(han, section, level, packed->levels);
    }
    if (status == SQZ_OK)
        *out = packed;
    else
        sqz_packed_free(packed);
    return status;
}

/* Weight name: the layer's, with a suffix. */
static enum sqz_status weight_name(struct han *han, const char *layer, const char *suffix, const char **out) {
    size_t nbytes = strlen(layer) + strlen(suffix) + 1;
    char *name = sqz_arena_alloc(&han->arena, nbytes, 1);
    if (!name) return no_memory(han->err);
    snprintf(name, nbytes, "%s%s", layer, suffix);
    *out = name;
    return SQZ_OK;
}

/* Every layer has a bias in the file; one that the prototxt switches off is accepted when it is all zero. */
static enum sqz_status add_bias(struct han *han, const struct section *section, const uint8_t *bytes) {
    struct sqz_model *model = han->graph.model;
    const struct sqz_caffe_layer *layer = section->layer;
    struct sqz_shape shape = sqz_shape1(section->n_outputs);
    const char *name;
    SQZ_TRY(weight_name(han, model->nodes[layer->node].name, ".bias", &name));
    float *bias = sqz_alloc(section->n_outputs, sizeof *bias);
    if (!bias) return no_memory(han->err);
    copy_floats(bytes, section->n_outputs, bias);
    if (layer->has_bias)
        return sqz_model_add_weight(model, name, SQZ_ROLE_BIAS, &shape, bias, &model->nodes[layer->node].bias,
                                    han->err);
    bool zero = true;
    for (uint32_t i = 0; i < section->n_outputs; i++) zero &= bias[i] == 0;
    sqz_free(bias);
    if (zero) return SQZ_OK;
    return sqz_fail(han->err, SQZ_MALFORMED, "layer %s has no bias in the prototxt but one in the file", layer->name);
}

static enum sqz_status read_layer(struct han *han, size_t index, uint32_t n_entries) {
    struct sqz_model *model = han->graph.model;
    struct section section = {.layer = &han->graph.layers[index], .n_entries = n_entries};
    const struct sqz_caffe_layer *layer = section.layer;
    const uint8_t *codebook, *bias;
    section.bits = layer_bits(han, layer);
    section.n_outputs = (uint32_t)layer->shape.dim[0];
    section.offset = han->reader.offset;
    size_t n_codes = (size_t)1 << section.bits;
    SQZ_TRY(take(han, layer, "a codebook", n_codes * sizeof(float), &codebook));
    copy_floats(codebook, n_codes, section.codebook);
    SQZ_TRY(take(han, layer, "biases", section.n_outputs * sizeof(float), &bias));
    SQZ_TRY(take(han, layer, "codes", ((size_t)n_entries * section.bits + 7) / 8, &section.codes));
    SQZ_TRY(take(han, layer, "gaps", ((size_t)n_entries + 1) / 2, &section.gaps));
    struct sqz_packed *packed = NULL;
    const char *name;
    SQZ_TRY(weight_name(han, model->nodes[layer->node].name, ".weight", &name));
    SQZ_TRY(unpack_section(han, &section, &packed));
    SQZ_TRY(sqz_model_add_packed(model, name, SQZ_ROLE_KERNEL, &layer->shape, packed, &model->nodes[layer->node].kernel,
                                 han->err));
    return add_bias(han, &section, bias);
}

/* ---- the whole file ------------------------------------------------------ */

/* Hold the counts against the shapes before anything is allocated for weights. */
static enum sqz_status check_counts(struct han *han, const uint32_t *counts, size_t max_nbytes) {
    size_t nbytes = 0;
    for (size_t i = 0; i < han->graph.n_layers; i++) {
        const struct sqz_caffe_layer *layer = &han->graph.layers[i];
        if (counts[i] > layer->count)
            return sqz_fail(han->err, SQZ_MALFORMED,
                            "layer %s: the %" PRIu32
                            " stored entries (count at byte %zu) do not fit into its %zu weights; "
                            "is this the file's own prototxt?",
                            layer->name, counts[i], i * sizeof(uint32_t), layer->count);
        size_t layer_nbytes;
        if (!sqz_mul_size(layer->count, sizeof(float), &layer_nbytes) || !sqz_add_size(nbytes, layer_nbytes, &nbytes) ||
            nbytes > max_nbytes)
            return sqz_fail(han->err, SQZ_LIMIT, "the weights up to layer %s exceed the limit of %zu bytes",
                            layer->name, max_nbytes);
    }
    return SQZ_OK;
}

static enum sqz_status read_counts(struct han *han, uint32_t **out) {
    size_t n = han->graph.n_layers;
    if (sqz_reader_left(&han->reader) / sizeof(uint32_t) < n)
        return sqz_fail(han->err, SQZ_TRUNCATED, "layer %s: its count at byte %zu lies behind the end of the file",
                        han->graph.layers[han->reader.nbytes / sizeof(uint32_t)].name,
                        han->reader.nbytes / sizeof(uint32_t) * sizeof(uint32_t));
    uint32_t *counts = sqz_arena_alloc(&han->arena, n, sizeof *counts);
    if (!counts) return no_memory(han->err);
    for (size_t i = 0; i < n; i++) counts[i] = sqz_read_u32(&han->reader);
    *out = counts;
    return SQZ_OK;
}

static enum sqz_status read_weights(struct han *han, const struct sqz_read_options *options) {
    uint32_t *counts = NULL;
    SQZ_TRY(read_counts(han, &counts));
    SQZ_TRY(check_counts(han, counts, options->max_nbytes ? options->max_nbytes : DEFAULT_MAX_NBYTES));
    for (size_t i = 0; i < han->graph.n_layers; i++) SQZ_TRY(read_layer(han, i, counts[i]));
    size_t left = sqz_reader_left(&han->reader);
    if (left)
        return sqz_fail(han->err, SQZ_MALFORMED,
                        "%zu bytes follow the last layer, %s, which ends at byte %zu; is this the file's own prototxt?",
                        left, han->graph.layers[han->graph.n_layers - 1].name, han->reader.offset);
    return SQZ_OK;
}

static enum sqz_status read_net(struct han *han, const struct sqz_source *source,
                                const struct sqz_read_options *options) {
    struct sqz_model **model = &han->graph.model;
    SQZ_TRY(load_prototxt(han, source->path, options->companion));
    enum sqz_status status = read_weights(han, options);
    if (status == SQZ_OK) status = sqz_model_check(*model, han->err);
    if (status == SQZ_OK) {
        (*model)->source = "deep-compression";
        (*model)->arch = sqz_arch_name(*model);
        status = sqz_model_note(*model, han->err, "read from a Deep Compression .net file");
    }
    if (status == SQZ_OK) warn_about_names(han, options);
    if (status != SQZ_OK) sqz_error_set_file(han->err, source->path);
    return status;
}

enum sqz_status sqz_han_read(const struct sqz_source *source, const struct sqz_read_options *options,
                             struct sqz_model **out, struct sqz_error *err) {
    struct han han = {.err = err, .reader = sqz_reader_make(source->data, source->nbytes)};
    enum sqz_status status = read_net(&han, source, options);
    if (status == SQZ_OK) {
        *out = han.graph.model;
        han.graph.model = NULL;
    }
    close_han(&han);
    return status;
}

/* ---- probing ------------------------------------------------------------- */

/* Output channels of layer i of SqueezeNet v1.0. */
static size_t published_outputs(size_t i) {
    static const size_t squeeze[8] = {16, 16, 32, 32, 48, 48, 64, 64};
    if (i == 0) return 96;
    if (i == 25) return 1000;
    return squeeze[(i - 1) / 3] * ((i - 1) % 3 ? 4 : 1);
}

/* Whether the counts in front add up to exactly the size of a SqueezeNet v1.0 in this format. */
static bool fits_published_net(const struct sqz_source *source) {
    struct sqz_reader reader = sqz_reader_make(source->data, source->nbytes);
    uint64_t nbytes = 26 * sizeof(uint32_t);
    for (size_t i = 0; i < 26; i++) {
        uint64_t count = sqz_read_u32(&reader);
        nbytes += (256 + published_outputs(i)) * sizeof(float) + count + (count + 1) / 2;
    }
    return !reader.failed && nbytes == source->nbytes;
}

bool sqz_han_probe(const struct sqz_source *source) {
    size_t length = strlen(source->path);
    bool named = length > 4 && strcmp(source->path + length - 4, ".net") == 0;
    if (named && memchr(source->data, 0, source->nbytes < 4096 ? source->nbytes : 4096)) return true;
    return fits_published_net(source);
}
