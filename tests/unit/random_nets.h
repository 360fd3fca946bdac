/* random_nets.h - networks with random weights, built through the model's own functions. */
#ifndef SQZ_TESTS_RANDOM_NETS_H
#define SQZ_TESTS_RANDOM_NETS_H

#include "lib/model.h"

/* A reproducible number in [-1, 1). */
float random_unit(uint64_t *state);

/* Builds a chain: each call appends a node behind `at` and returns its index. A failure ends the program. */
struct net {
    struct sqz_model *model;
    uint64_t random;
};

struct net net_new(uint32_t channels, uint32_t height, uint32_t width, uint64_t seed);
uint32_t net_node(struct net *net, enum sqz_op op, const uint32_t *inputs, size_t n_inputs);

/* Random He-scaled kernel and small random bias; in is the number of input channels (features). */
uint32_t net_conv(struct net *net, uint32_t at, uint32_t in, uint32_t out, struct sqz_window window, uint32_t groups);
uint32_t net_dense(struct net *net, uint32_t at, uint32_t in, uint32_t out);
uint32_t net_scale(struct net *net, uint32_t at, uint32_t channels);
uint32_t net_pool(struct net *net, enum sqz_op op, uint32_t at, struct sqz_window window, bool ceil_mode);

/* kernel, stride, padding the same in both directions */
struct sqz_window square_window(uint32_t kernel, uint32_t stride, uint32_t pad);

struct sqz_model *random_squeezenet_1_1(uint32_t size);
struct sqz_model *random_alexnet(void); /* torchvision's, 61 million weights */

#endif
