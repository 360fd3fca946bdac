/* lanes.h - how a tensor is cut into runs of rows that are coded on their own. */
#ifndef SQZ_LIB_LANES_H
#define SQZ_LIB_LANES_H

#include <stddef.h>

#include "lib/shape.h"

enum sqz_stream_coder { SQZ_STREAM_HUFFMAN, SQZ_STREAM_RANGE };

/*
 * A tensor is cut into lanes: runs of whole rows (a row is all weights of one
 * output channel), each coded as a stream of its own, so that they can be
 * decoded at the same time. The cut follows from the shape alone.
 */
struct sqz_lanes {
    size_t n_rows, row; /* rows, weights of a row */
    size_t n_lanes;
};

/* Weights from which Huffman lanes come in fours: below, their sizes would cost more than the speed is worth. */
#define SQZ_LANES_MIN_COUNT 16384
/* Work of a thread: four Huffman lanes, or one range-coded one (which learns anew), for each so many weights. */
#define SQZ_LANES_GROUP_COUNT 262144
#define SQZ_LANES_GROUP 4

struct sqz_lanes sqz_lanes_of(const struct sqz_shape *shape, size_t count, enum sqz_stream_coder coder);

/* The same for n_rows rows of count / n_rows weights. */
struct sqz_lanes sqz_lanes_of_rows(size_t n_rows, size_t count, enum sqz_stream_coder coder);

/* First row of a lane; that of lane n_lanes is the number of rows. */
static inline size_t sqz_lane_first_row(const struct sqz_lanes *lanes, size_t lane) {
    size_t rows = lanes->n_rows / lanes->n_lanes, more = lanes->n_rows % lanes->n_lanes;
    return rows * lane + (lane < more ? lane : more);
}

/* Index of the first weight of a lane; that of lane n_lanes is the number of weights. */
static inline size_t sqz_lane_start(const struct sqz_lanes *lanes, size_t lane) {
    return sqz_lane_first_row(lanes, lane) * lanes->row;
}

static inline size_t sqz_lane_count(const struct sqz_lanes *lanes, size_t lane) {
    return sqz_lane_start(lanes, lane + 1) - sqz_lane_start(lanes, lane);
}

/* The longest lane. */
static inline size_t sqz_lane_capacity(const struct sqz_lanes *lanes) {
    return sqz_lane_count(lanes, 0);
}

#endif
