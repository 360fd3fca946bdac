/* calibration_samples.c - random calibration images and a small branched net. */
#include "tests/unit/calibration_samples.h"

#include <check.h>
#include <stdlib.h>

struct sqz_calibration random_images(const struct sqz_model *model, size_t n, uint64_t seed) {
    struct sqz_calibration calibration = {.input = model->input, .n_images = n};
    calibration.image_count = (size_t)model->input.channels * model->input.height * model->input.width;
    calibration.images = malloc(n * calibration.image_count * sizeof(float));
    for (size_t i = 0; i < n * calibration.image_count; i++) calibration.images[i] = random_unit(&seed);
    return calibration;
}

struct net branched_net(uint64_t seed) {
    struct net net = net_new(3, 12, 12, seed);
    uint32_t at = net_conv(&net, 0, 3, 8, square_window(3, 1, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    uint32_t left = net_conv(&net, at, 8, 6, square_window(1, 1, 0), 1);
    left = net_node(&net, SQZ_OP_RELU, &left, 1);
    uint32_t right = net_conv(&net, at, 8, 8, square_window(3, 1, 1), 8);
    right = net_node(&net, SQZ_OP_RELU, &right, 1);
    right = net_conv(&net, right, 8, 10, square_window(3, 1, 1), 2);
    uint32_t both[2] = {left, right};
    uint32_t joined = net_node(&net, SQZ_OP_CONCAT, both, 2);
    net.model->nodes[joined].params.concat.axis = 1;
    at = net_node(&net, SQZ_OP_RELU, &joined, 1);
    at = net_conv(&net, at, 16, 12, square_window(3, 2, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, &at, 1);
    at = net_dense(&net, at, 12, 10);
    net.model->output = at;
    struct sqz_error err;
    ck_assert_msg(sqz_model_check(net.model, &err) == SQZ_OK, "%s", err.text);
    return net;
}
