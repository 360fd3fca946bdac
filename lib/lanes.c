/* lanes.c - how a tensor is cut into runs of rows that are coded on their own. */
#include "lib/lanes.h"

struct sqz_lanes sqz_lanes_of_rows(size_t n_rows, size_t count, enum sqz_stream_coder coder) {
    struct sqz_lanes lanes = {.n_rows = 1, .row = count, .n_lanes = 1};
    if (count == 0) return lanes;
    lanes.n_rows = n_rows;
    lanes.row = count / lanes.n_rows;
    size_t n_groups = (count - 1) / SQZ_LANES_GROUP_COUNT + 1;
    if (coder == SQZ_STREAM_RANGE)
        lanes.n_lanes = n_groups;
    else if (count >= SQZ_LANES_MIN_COUNT)
        lanes.n_lanes = SQZ_LANES_GROUP * n_groups;
    if (lanes.n_lanes > lanes.n_rows) lanes.n_lanes = lanes.n_rows;
    return lanes;
}

struct sqz_lanes sqz_lanes_of(const struct sqz_shape *shape, size_t count, enum sqz_stream_coder coder) {
    return sqz_lanes_of_rows(shape->rank ? (size_t)shape->dim[0] : 1, count, coder);
}
