/* graph_code.h - the graph of a model (everything but tensor data) as bytes; used by .sqz and the HDF5 working file. */
#ifndef SQZ_LIB_GRAPH_CODE_H
#define SQZ_LIB_GRAPH_CODE_H

#include "lib/bytes.h"
#include "lib/model.h"

/*
 * Append arch, source, input, nodes, weight names/roles/shapes, class names, history when asked, and the record of
 * calibration images. Not deflated.
 */
enum sqz_status sqz_graph_encode(const struct sqz_model *model, bool with_history, struct sqz_buffer *out,
                                 struct sqz_error *err);

/*
 * Rebuild the model; its weights have shapes but neither data nor packed, and
 * the caller must fill them before sqz_model_check(). Every count is held
 * against the bytes left and against max_nbytes of float32 weights.
 */
enum sqz_status sqz_graph_decode(const void *data, size_t nbytes, size_t max_nbytes, struct sqz_model **out,
                                 struct sqz_error *err);

#endif
