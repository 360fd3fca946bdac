/*
 * make_golden.c - writes the golden .sqz files: small nets that between them use every part of the format.
 *
 * usage: make-golden FOLDER
 *
 * Golden files are never regenerated without a new version number of the format: they prove that files which were
 * written once stay readable. So this program refuses to touch a file that exists; it is kept to say what is in them,
 * and to add new ones. Each file gets a line in FOLDER/contents.txt: its name and the digest of what it holds.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/container.h"
#include "lib/files.h"
#include "lib/prune.h"
#include "lib/quantize.h"
#include "lib/random.h"
#include "lib/trellis.h"
#include "tests/unit/plain_compare.h"
#include "tests/unit/random_nets.h"

static const char *folder;

static void must(enum sqz_status status, const struct sqz_error *err) {
    if (status == SQZ_OK) return;
    fprintf(stderr, "make-golden: %s\n", err->text);
    exit(1);
}

/* Write a model, hold it against the plain decoder, note its digest, and free it. */
static void golden(const char *name, struct sqz_model *model, enum sqz_coder coder, enum sqz_bias_kind bias) {
    struct sqz_error err = {0};
    struct sqz_buffer file = {0};
    struct sqz_encode_options options = {coder, bias};
    char path[512];
    snprintf(path, sizeof path, "%s/%s.sqz", folder, name);
    if (access(path, F_OK) == 0) {
        printf("%s exists and stays as it is\n", path);
        sqz_model_free(model);
        return;
    }
    must(sqz_model_check(model, &err), &err);
    must(sqz_container_encode(model, &options, &file, &err), &err);
    sqz_model_free(model);

    struct plain_model *plain;
    const char *reason = sqz_plain_decode(file.data, file.nbytes, UINT64_MAX, &plain), *difference = NULL;
    struct sqz_model *back = NULL;
    must(sqz_container_decode(file.data, file.nbytes, 0, &back, &err), &err);
    if (!reason) difference = plain_difference(back, plain);
    if (reason || difference) {
        fprintf(stderr, "make-golden: %s: %s\n", path, reason ? reason : difference);
        exit(1);
    }
    must(sqz_write_file(path, file.data, file.nbytes, &err), &err);
    snprintf(path, sizeof path, "%s/contents.txt", folder);
    FILE *contents = fopen(path, "a");
    if (!contents) exit(1);
    fprintf(contents, "%s %08x\n", name, (unsigned)plain_digest(plain));
    if (fclose(contents) != 0) exit(1);
    printf("%s: %zu bytes\n", name, file.nbytes);
    sqz_plain_free(plain);
    sqz_model_free(back);
    sqz_buffer_free(&file);
}

/* Kernels as trained layers have them, Laplace-distributed: most values are small. */
static void make_laplace(struct net *net) {
    struct sqz_random random = sqz_random_seeded(net->random);
    for (size_t i = 0; i < net->model->n_weights; i++) {
        struct sqz_weight *weight = &net->model->weights[i];
        if (weight->role != SQZ_ROLE_KERNEL) continue;
        for (size_t k = 0; k < weight->count; k++) {
            double u = sqz_random_unit(&random) - 0.5 + 0x1p-54;
            weight->data[k] = (float)((u < 0 ? 0.05 : -0.05) * log1p(-2 * fabs(u)));
        }
    }
}

/* A net for the coders: 3x3 kernels, 1x1 kernels, and a dense layer. */
static struct net coder_net(uint64_t seed) {
    struct net net = net_new(3, 8, 8, seed);
    uint32_t at = net_conv(&net, 0, 3, 12, square_window(3, 1, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_conv(&net, at, 12, 40, square_window(1, 1, 0), 1);
    at = net_conv(&net, at, 40, 8, square_window(3, 2, 1), 2);
    at = net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, &at, 1);
    net_dense(&net, at, 8, 10);
    make_laplace(&net);
    return net;
}

/* One dense layer behind a pixel of many channels. */
static struct net dense_net(uint32_t in, uint32_t out, uint64_t seed) {
    struct net net = net_new(in, 1, 1, seed);
    net_dense(&net, 0, in, out);
    make_laplace(&net);
    return net;
}

/* Remove weights six at a time, the pattern for which a bitmap is the smallest. */
static struct net blocks(struct net net) {
    struct sqz_random random = sqz_random_seeded(net.random);
    struct sqz_weight *weight = &net.model->weights[0];
    for (size_t i = 0; i + 6 <= weight->count; i += 6)
        if (sqz_random_next(&random) % 2) memset(weight->data + i, 0, 6 * sizeof(float));
    return net;
}

static struct sqz_model *shared(struct net net, double density, unsigned bits) {
    struct sqz_error err = {0};
    struct sqz_layer_value keep = {NULL, density}, width = {NULL, bits};
    struct sqz_prune_options prune = {.rule = SQZ_PRUNE_DENSITY, .values = &keep, .n_values = 1};
    struct sqz_quantize_options quantize = {.bits = &width, .n_bits = 1, .method = SQZ_KMEANS_OPTIMAL};
    struct sqz_prune_stats *pruned = sqz_alloc(net.model->n_weights, sizeof *pruned);
    struct sqz_quantize_stats *quantized = sqz_alloc(net.model->n_weights, sizeof *quantized);
    size_t n;
    if (!pruned || !quantized) exit(1);
    must(sqz_prune(net.model, &prune, pruned, &n, &err), &err);
    must(sqz_quantize(net.model, &quantize, quantized, &n, &err), &err);
    sqz_free(pruned);
    sqz_free(quantized);
    return net.model;
}

/* Replace the float kernel by levels on a grid: one step for the tensor, or one for each output channel. */
static void make_uniform(struct sqz_weight *weight, bool per_row) {
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    if (!packed) exit(1);
    packed->kind = SQZ_LEVELS_UNIFORM;
    packed->n_levels = weight->count;
    packed->n_steps = per_row ? (uint32_t)weight->shape.dim[0] : 1;
    packed->levels = sqz_alloc(weight->count, sizeof *packed->levels);
    packed->steps = sqz_alloc(packed->n_steps, sizeof *packed->steps);
    if (!packed->levels || !packed->steps) exit(1);
    for (uint32_t i = 0; i < packed->n_steps; i++) packed->steps[i] = 0.007f + 0.0003f * (float)i;
    size_t row = weight->count / (size_t)weight->shape.dim[0];
    for (size_t i = 0; i < weight->count; i++)
        packed->levels[i] = (int16_t)lrintf(weight->data[i] / packed->steps[per_row ? i / row : 0]);
    sqz_free(weight->data);
    weight->data = NULL;
    weight->packed = packed;
}

static struct sqz_model *uniform(struct net net, bool per_row) {
    for (size_t i = 0; i < net.model->n_weights; i++)
        if (net.model->weights[i].role == SQZ_ROLE_KERNEL) make_uniform(&net.model->weights[i], per_row);
    return net.model;
}

/*
 * Levels that obey a trellis: indices are half the levels of a grid, those below `least` zero. One step
 * for each output channel with 4, 16, 64 and 256 states.
 */
static void make_trellis(struct sqz_weight *weight, uint32_t n_states, float least) {
    make_uniform(weight, n_states % 3 == 1);
    struct sqz_packed *packed = weight->packed;
    for (size_t i = 0; i < weight->count; i++)
        packed->levels[i] = (int16_t)((float)abs(packed->levels[i]) < least ? 0 : packed->levels[i] / 2);
    struct sqz_lanes lanes = sqz_lanes_of(&weight->shape, weight->count, SQZ_STREAM_RANGE);
    sqz_trellis_restore(n_states, &lanes, packed->levels);
    packed->trellis_states = n_states;
}

/* Each kernel with twice the states of the one before. */
static struct sqz_model *trellis(struct net net, uint32_t n_states, float least) {
    for (size_t i = 0; i < net.model->n_weights; i++) {
        if (net.model->weights[i].role != SQZ_ROLE_KERNEL) continue;
        make_trellis(&net.model->weights[i], n_states, least);
        n_states *= 2;
    }
    return net.model;
}

/* Kernels without weights, with one, with one value, with one of either sign, and the largest uniform levels. */
static struct sqz_model *corners(void) {
    struct net net = net_new(1, 1, 1, 5);
    uint32_t at = net_dense(&net, 0, 1, 1);
    at = net_dense(&net, at, 1, 30);
    at = net_dense(&net, at, 30, 7);
    at = net_dense(&net, at, 7, 9);
    struct sqz_model *model = shared(net, 1, 8);
    for (size_t i = 2; i <= 6; i += 2) {
        struct sqz_weight *weight = &model->weights[i];
        must(sqz_weight_need_data(weight, NULL), NULL);
        sqz_packed_free(weight->packed);
        weight->packed = NULL;
        for (size_t k = 0; k < weight->count; k++) weight->data[k] = i == 2 ? 0 : i == 4 || k % 2 == 0 ? 0.25f : -0.25f;
        must(sqz_packed_from_values(weight->data, weight->count, &weight->packed, NULL), NULL);
    }
    net.model = model;
    at = net_dense(&net, at, 9, 4);
    struct sqz_weight *last = &model->weights[model->nodes[at].kernel];
    for (size_t k = 0; k < last->count; k++)
        last->data[k] = k == 3 ? 8191 * 0.007f : k == 5 ? -8191 * 0.007f : k % 4 == 0 ? 0.007f : 0;
    make_uniform(last, false);
    return model;
}

/* Every operator, with parameters that are not the usual ones. */
static struct sqz_model *operators(void) {
    struct net net = net_new(4, 12, 12, 6);
    struct sqz_model *m = net.model;
    uint32_t conv = net_conv(&net, 0, 4, 8, (struct sqz_window){3, 2, 1, 2, 2, 1, 1, 0, 2, 1}, 2), two[3];
    uint32_t at = net_scale(&net, conv, 8);
    at = net_node(&net, SQZ_OP_LEAKY_RELU, &at, 1);
    m->nodes[at].params.leaky_relu.slope = 0.1f;
    at = net_node(&net, SQZ_OP_CLIP, &at, 1);
    m->nodes[at].params.clip.low = -1;
    m->nodes[at].params.clip.high = 6;
    two[0] = net_node(&net, SQZ_OP_SIGMOID, &at, 1);
    two[1] = net_node(&net, SQZ_OP_TANH, &at, 1);
    two[0] = net_node(&net, SQZ_OP_ADD, two, 2);
    two[1] = net_node(&net, SQZ_OP_HARD_SWISH, &at, 1);
    at = net_node(&net, SQZ_OP_MUL, two, 2);
    two[0] = net_pool(&net, SQZ_OP_MAX_POOL, at, (struct sqz_window){3, 3, 2, 2, 1, 1, 0, 1, 0, 1}, true);
    two[1] = net_pool(&net, SQZ_OP_AVERAGE_POOL, at, (struct sqz_window){3, 3, 2, 2, 1, 1, 0, 1, 0, 1}, true);
    m->nodes[two[1]].params.pool.divisor = SQZ_DIVISOR_KERNEL;
    at = net_node(&net, SQZ_OP_CONCAT, two, 2);
    m->nodes[at].params.concat.axis = 1;
    at = net_node(&net, SQZ_OP_LRN, &at, 1);
    m->nodes[at].params.lrn.size = 5;
    m->nodes[at].params.lrn.alpha = 1e-4f;
    m->nodes[at].params.lrn.beta = 0.75f;
    m->nodes[at].params.lrn.k = 1;
    at = net_node(&net, SQZ_OP_PAD, &at, 1);
    m->nodes[at].params.pad.top = 1;
    m->nodes[at].params.pad.right = 2;
    m->nodes[at].params.pad.value = -0.5f;
    at = net_node(&net, SQZ_OP_DROPOUT, &at, 1);
    at = net_node(&net, SQZ_OP_ADAPTIVE_AVERAGE_POOL, &at, 1);
    m->nodes[at].params.adaptive_pool.out_h = 2;
    m->nodes[at].params.adaptive_pool.out_w = 1;
    at = net_conv(&net, at, 16, 6, square_window(1, 1, 0), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, &at, 1);
    at = net_node(&net, SQZ_OP_RESHAPE, &at, 1);
    m->nodes[at].params.reshape.rank = 2;
    m->nodes[at].params.reshape.dim[1] = -1;
    at = net_dense(&net, at, 6, 5);
    at = net_node(&net, SQZ_OP_FLATTEN, &at, 1);
    at = net_node(&net, SQZ_OP_SOFTMAX, &at, 1);
    m->nodes[at].params.softmax.axis = 1;
    m->output = at;
    return m;
}

/* What stands around the net: names, an input description, and a record of calibration images. */
static struct sqz_model *described(void) {
    static const char *const classes[] = {"trouser", "trousers", "ankle boot", "", "ankle b\xc3\xa4r"};
    struct sqz_error err = {0};
    struct sqz_model *model = operators();
    model->input.order = SQZ_CHANNELS_BGR;
    model->input.filter = SQZ_RESIZE_BILINEAR;
    model->input.resize_short = 14;
    model->input.scale = 1 / 255.0f;
    for (int c = 0; c < 4; c++) {
        model->input.mean[c] = 0.25f * (float)c;
        model->input.std[c] = 0.5f + (float)c;
    }
    model->arch = "made-for-the-tests";
    model->source = "onnx";
    must(sqz_model_set_classes(model, classes, 5, &err), &err);
    uint8_t digests[200][SQZ_SHA256_NBYTES];
    struct sqz_random random = sqz_random_seeded(77);
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < SQZ_SHA256_NBYTES; k++) digests[i][k] = (uint8_t)sqz_random_next(&random);
    must(sqz_image_record_add(&model->calibrated_on, (const uint8_t(*)[SQZ_SHA256_NBYTES])digests, 200, &model->arena,
                              &err),
         &err);
    return model;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: make-golden FOLDER\n");
        return 2;
    }
    folder = argv[1];
    golden("graph_operators", operators(), SQZ_CODER_AUTO, SQZ_BIAS_FP16);
    golden("graph_described", described(), SQZ_CODER_AUTO, SQZ_BIAS_FP32);
    golden("floats", coder_net(1).model, SQZ_CODER_AUTO, SQZ_BIAS_FP16);
    golden("biases_8bit", shared(coder_net(2), 0.5, 4), SQZ_CODER_AUTO, SQZ_BIAS_8BIT);
    golden("corners", corners(), SQZ_CODER_AUTO, SQZ_BIAS_FP16);
    golden("huffman_8bit", shared(coder_net(3), 1, 8), SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
    golden("huffman_1bit", shared(coder_net(4), 1, 1), SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
    golden("huffman_half", shared(coder_net(5), 0.5, 4), SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
    golden("huffman_bitmap", shared(blocks(dense_net(60, 40, 15)), 1, 6), SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
    golden("huffman_sparse", shared(dense_net(64, 40, 6), 0.02, 4), SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
    golden("huffman_lanes", shared(dense_net(250, 70, 7), 0.1, 3), SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
    golden("huffman_uniform", uniform(coder_net(8), false), SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
    golden("huffman_uniform_rows", uniform(coder_net(9), true), SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
    golden("range_8bit", shared(coder_net(10), 1, 8), SQZ_CODER_RANGE, SQZ_BIAS_FP16);
    golden("range_third", shared(coder_net(11), 0.3, 3), SQZ_CODER_RANGE, SQZ_BIAS_FP16);
    golden("range_uniform", uniform(coder_net(12), false), SQZ_CODER_RANGE, SQZ_BIAS_FP16);
    golden("range_uniform_rows", uniform(coder_net(13), true), SQZ_CODER_RANGE, SQZ_BIAS_FP16);
    golden("range_lanes", shared(dense_net(600, 450, 14), 0.002, 2), SQZ_CODER_RANGE, SQZ_BIAS_FP16);
    golden("huffman_trellis", trellis(coder_net(16), 4, 0), SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
    golden("range_trellis", trellis(coder_net(17), 8, 0), SQZ_CODER_RANGE, SQZ_BIAS_FP16);
    golden("range_trellis_few", trellis(coder_net(18), 32, 10), SQZ_CODER_RANGE, SQZ_BIAS_FP16);
    golden("huffman_trellis_lanes", trellis(dense_net(600, 450, 19), 256, 45), SQZ_CODER_HUFFMAN, SQZ_BIAS_FP16);
    golden("range_trellis_lanes", trellis(dense_net(600, 450, 20), 256, 45), SQZ_CODER_RANGE, SQZ_BIAS_FP16);
    return 0;
}
