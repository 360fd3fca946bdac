/* random_nets.c - networks with random weights, built through the model's own functions. */
#include "tests/unit/random_nets.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void must(enum sqz_status status, const struct sqz_error *err) {
    if (status == SQZ_OK) return;
    fprintf(stderr, "random net: %s\n", err->text);
    abort();
}

float random_unit(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*state >> 40) / (double)(1 << 23) - 1);
}

struct net net_new(uint32_t channels, uint32_t height, uint32_t width, uint64_t seed) {
    struct sqz_input input = {.channels = channels, .height = height, .width = width, .scale = 1, .std = {1, 1, 1, 1}};
    struct net net = {sqz_model_new(&input), seed};
    if (!net.model) abort();
    return net;
}

uint32_t net_node(struct net *net, enum sqz_op op, const uint32_t *inputs, size_t n_inputs) {
    struct sqz_error err;
    uint32_t node;
    must(sqz_model_add_node(net->model, op, "", inputs, n_inputs, &node, &err), &err);
    return node;
}

static uint32_t add_weight(struct net *net, enum sqz_role role, struct sqz_shape shape, float center, float spread) {
    struct sqz_error err;
    char name[32];
    uint32_t index;
    snprintf(name, sizeof name, "w%zu", net->model->n_weights);
    must(sqz_model_add_weight(net->model, name, role, &shape, NULL, &index, &err), &err);
    struct sqz_weight *weight = &net->model->weights[index];
    for (size_t i = 0; i < weight->count; i++) weight->data[i] = center + spread * random_unit(&net->random);
    return index;
}

uint32_t net_conv(struct net *net, uint32_t at, uint32_t in, uint32_t out, struct sqz_window window, uint32_t groups) {
    uint32_t node = net_node(net, SQZ_OP_CONV, &at, 1);
    float fan_in = (float)(in / groups * window.kernel_h * window.kernel_w);
    uint32_t kernel = add_weight(net, SQZ_ROLE_KERNEL, sqz_shape4(out, in / groups, window.kernel_h, window.kernel_w),
                                 0, sqrtf(6 / fan_in));
    uint32_t bias = add_weight(net, SQZ_ROLE_BIAS, sqz_shape1(out), 0, 0.1f);
    net->model->nodes[node].kernel = kernel;
    net->model->nodes[node].bias = bias;
    net->model->nodes[node].params.conv.window = window;
    net->model->nodes[node].params.conv.groups = groups;
    return node;
}

uint32_t net_dense(struct net *net, uint32_t at, uint32_t in, uint32_t out) {
    uint32_t node = net_node(net, SQZ_OP_DENSE, &at, 1);
    uint32_t kernel = add_weight(net, SQZ_ROLE_KERNEL, sqz_shape2(out, in), 0, sqrtf(6 / (float)in));
    uint32_t bias = add_weight(net, SQZ_ROLE_BIAS, sqz_shape1(out), 0, 0.1f);
    net->model->nodes[node].kernel = kernel;
    net->model->nodes[node].bias = bias;
    return node;
}

uint32_t net_scale(struct net *net, uint32_t at, uint32_t channels) {
    uint32_t node = net_node(net, SQZ_OP_SCALE, &at, 1);
    uint32_t scale = add_weight(net, SQZ_ROLE_SCALE, sqz_shape1(channels), 1, 0.5f);
    uint32_t shift = add_weight(net, SQZ_ROLE_SHIFT, sqz_shape1(channels), 0, 0.5f);
    net->model->nodes[node].kernel = scale;
    net->model->nodes[node].bias = shift;
    return node;
}

uint32_t net_pool(struct net *net, enum sqz_op op, uint32_t at, struct sqz_window window, bool ceil_mode) {
    uint32_t node = net_node(net, op, &at, 1);
    net->model->nodes[node].params.pool.window = window;
    net->model->nodes[node].params.pool.ceil_mode = ceil_mode;
    return node;
}

struct sqz_window square_window(uint32_t kernel, uint32_t stride, uint32_t pad) {
    return (struct sqz_window){kernel, kernel, stride, stride, 1, 1, pad, pad, pad, pad};
}

static uint32_t conv_relu(struct net *net, uint32_t at, uint32_t in, uint32_t out, uint32_t kernel, uint32_t stride,
                          uint32_t pad) {
    uint32_t node = net_conv(net, at, in, out, square_window(kernel, stride, pad), 1);
    return net_node(net, SQZ_OP_RELU, &node, 1);
}

static uint32_t fire(struct net *net, uint32_t at, uint32_t in, uint32_t squeeze, uint32_t expand) {
    uint32_t s = conv_relu(net, at, in, squeeze, 1, 1, 0);
    uint32_t branches[2];
    branches[0] = conv_relu(net, s, squeeze, expand, 1, 1, 0);
    branches[1] = conv_relu(net, s, squeeze, expand, 3, 1, 1);
    uint32_t node = net_node(net, SQZ_OP_CONCAT, branches, 2);
    net->model->nodes[node].params.concat.axis = 1;
    return node;
}

static void finish(struct net *net) {
    struct sqz_error err;
    must(sqz_model_check(net->model, &err), &err);
}

struct sqz_model *random_squeezenet_1_1(uint32_t size) {
    struct net net = net_new(3, size, size, 11);
    uint32_t at = conv_relu(&net, 0, 3, 64, 3, 2, 0);
    at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), true);
    at = fire(&net, at, 64, 16, 64);
    at = fire(&net, at, 128, 16, 64);
    at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), true);
    at = fire(&net, at, 128, 32, 128);
    at = fire(&net, at, 256, 32, 128);
    at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), true);
    at = fire(&net, at, 256, 48, 192);
    at = fire(&net, at, 384, 48, 192);
    at = fire(&net, at, 384, 64, 256);
    at = fire(&net, at, 512, 64, 256);
    at = net_node(&net, SQZ_OP_DROPOUT, &at, 1);
    at = conv_relu(&net, at, 512, 1000, 1, 1, 0);
    at = net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, &at, 1);
    net_node(&net, SQZ_OP_FLATTEN, &at, 1);
    finish(&net);
    return net.model;
}

struct sqz_model *random_alexnet(void) {
    struct net net = net_new(3, 224, 224, 12);
    uint32_t at = conv_relu(&net, 0, 3, 64, 11, 4, 2);
    at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), false);
    at = conv_relu(&net, at, 64, 192, 5, 1, 2);
    at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), false);
    at = conv_relu(&net, at, 192, 384, 3, 1, 1);
    at = conv_relu(&net, at, 384, 256, 3, 1, 1);
    at = conv_relu(&net, at, 256, 256, 3, 1, 1);
    at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), false);
    at = net_node(&net, SQZ_OP_FLATTEN, &at, 1);
    at = net_node(&net, SQZ_OP_DROPOUT, &at, 1);
    at = net_dense(&net, at, 9216, 4096);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_dense(&net, at, 4096, 4096);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    net_dense(&net, at, 4096, 1000);
    finish(&net);
    return net.model;
}
