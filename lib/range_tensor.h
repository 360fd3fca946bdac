/* range_tensor.h - a lane of levels as adaptive binary decisions: zero flag, sign, magnitude, by context. */
#ifndef SQZ_LIB_RANGE_TENSOR_H
#define SQZ_LIB_RANGE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/bytes.h"
#include "lib/shape.h"
#include "lib/status.h"

/* In which order the weights of a lane are coded. */
enum sqz_range_scan {
    SQZ_SCAN_BY_OUTPUT, /* output channel by output channel: for each kernel position, all input channels */
    SQZ_SCAN_BY_INPUT,  /* input channel by input channel: for each kernel position, all output channels of the lane */
};

/* How finely contexts are told apart: a small tensor cannot fill many. */
enum sqz_range_detail {
    SQZ_DETAIL_FULL,
    SQZ_DETAIL_HALF, /* half as many magnitude classes */
    SQZ_DETAIL_NONE, /* no neighbours at all */
    SQZ_DETAIL_COUNT,
};

/* A lane as its scan sees it: n_rows rows of n_positions kernel positions, width of them side by side, of n_channels.
 */
struct sqz_range_geometry {
    size_t n_rows, n_channels, n_positions, width;
    size_t row_stride, channel_stride; /* in the tensor; that of positions is 1 */
};

/* Kernels of more positions are taken as a single row of channels: each position costs memory, and none is known. */
#define SQZ_RANGE_MAX_POSITIONS 1024

/* For a lane of n_rows output channels, each of `row` weights, of a tensor of the given shape. */
struct sqz_range_geometry sqz_range_geometry_of(const struct sqz_shape *shape, size_t n_rows, size_t row,
                                                enum sqz_range_scan scan);

struct sqz_range_params {
    enum sqz_range_scan scan;
    enum sqz_range_detail detail;
    bool has_zero;         /* some level is 0 */
    uint32_t max_negative; /* magnitude of the lowest level, or index with a trellis; 0 when none is negative */
    uint32_t max_positive;
    unsigned shift;          /* of magnitudes, when they are compared with their neighbours' */
    uint32_t trellis_states; /* as in struct sqz_packed; needs the scan by output */
    unsigned activity;       /* mean magnitude of the tensor in 1/128 after the shift */
};

/* Bits of detail, shift and activity in a file. */
#define SQZ_RANGE_DETAIL_NBITS 2
#define SQZ_RANGE_SHIFT_NBITS 4
#define SQZ_RANGE_ACTIVITY_NBITS 8

/* Everything but scan, detail and trellis_states (set), from levels[count] (signed, 0 for zero weights). */
void sqz_range_params_of(struct sqz_range_params *params, const int16_t *levels, size_t count);

/*
 * Append the levels of a lane. The bits that zero flags take are added to *flag_nbits unless it
 * is NULL. SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_range_encode_rows(const struct sqz_range_params *params, const struct sqz_range_geometry *geometry,
                                      const int16_t *levels, struct sqz_buffer *out, double *flag_nbits,
                                      struct sqz_error *err);

/* The inverse. SQZ_MALFORMED when a level lies outside the params' bounds; `name` is used in the message. */
enum sqz_status sqz_range_decode_rows(const struct sqz_range_params *params, const struct sqz_range_geometry *geometry,
                                      const uint8_t *data, size_t nbytes, int16_t *levels, const char *name,
                                      struct sqz_error *err);

#endif
