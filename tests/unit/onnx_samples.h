/* onnx_samples.h - small ONNX files that tests build with the generated message structs. */
#ifndef SQZ_TESTS_UNIT_ONNX_SAMPLES_H
#define SQZ_TESTS_UNIT_ONNX_SAMPLES_H

#include "formats/formats.h"
#include "formats/onnx.pb-c.h"
#include "lib/bytes.h"

/* A message under construction; everything it holds lives in its arena. */
struct onnx_sample {
    struct sqz_arena arena;
    Onnx__Model model;
    Onnx__Graph graph;
    Onnx__OperatorSet opset;
};

#define ONNX_SAMPLE_MOST 64 /* nodes, initialisers, inputs and outputs of one sample */

/* An empty graph of that operator set, IR version 8. */
struct onnx_sample *onnx_sample_new(int64_t opset);
void onnx_sample_free(struct onnx_sample *sample);

/* A float input or output [n][c][h][w]; n 0 is symbolic. */
Onnx__ValueInfo *onnx_sample_input(struct onnx_sample *sample, const char *name, int64_t n, int64_t c, int64_t h,
                                   int64_t w);
void onnx_sample_output(struct onnx_sample *sample, const char *name);

/* A node; inputs and outputs are names with spaces between ("-" stands for the empty name). */
Onnx__Node *onnx_sample_node(struct onnx_sample *sample, const char *op_type, const char *inputs, const char *outputs);

/* Attributes of the node added last. */
Onnx__Attribute *onnx_sample_attribute(struct onnx_sample *sample, const char *name);
void onnx_sample_int(struct onnx_sample *sample, const char *name, int64_t value);
void onnx_sample_float(struct onnx_sample *sample, const char *name, float value);
void onnx_sample_string(struct onnx_sample *sample, const char *name, const char *value);
void onnx_sample_ints(struct onnx_sample *sample, const char *name, size_t n, const int64_t *values);

/* A tensor with raw data; dims has rank entries. Initialisers are added to the graph, constants to the last node. */
Onnx__Tensor *onnx_sample_floats(struct onnx_sample *sample, const char *name, size_t rank, const int64_t *dims,
                                 const float *values);
Onnx__Tensor *onnx_sample_integers(struct onnx_sample *sample, const char *name, size_t rank, const int64_t *dims,
                                   const int64_t *values);
Onnx__Tensor *onnx_sample_make_floats(struct onnx_sample *sample, const char *name, size_t rank, const int64_t *dims,
                                      const float *values);
void onnx_sample_value(struct onnx_sample *sample, Onnx__Tensor *tensor);

/* External data: the raw bytes leave the message. offset or length NULL: no such key. */
void onnx_sample_external(struct onnx_sample *sample, Onnx__Tensor *tensor, const char *location, const char *offset,
                          const char *length);

/* The message as bytes. */
void onnx_sample_pack(const struct onnx_sample *sample, struct sqz_buffer *out);

/* Read bytes that pretend to be the file `path`; warnings are appended to `warnings` (may be NULL, else 1024 bytes). */
enum sqz_status onnx_read_bytes(const void *data, size_t nbytes, const char *path, char *warnings,
                                struct sqz_model **out, struct sqz_error *err);

/* Pack and read a sample, which is freed. The first must succeed, the second fail with that status and text. */
struct sqz_model *onnx_sample_read(struct onnx_sample *sample);
void onnx_sample_refuse(struct onnx_sample *sample, enum sqz_status status, const char *text);

/*
 * input [1][3][4][4] -> Conv 2x3x1x1 "conv.weight" + "conv.bias" -> Relu -> "out", the net of CASES E1 with the
 * weights left to the caller.
 */
struct onnx_sample *onnx_sample_conv(const char *kernel, const char *bias);

/* The same with both weights as initialisers. */
struct onnx_sample *onnx_sample_whole(void);
extern const float onnx_sample_kernel[6], onnx_sample_bias[2];
extern const int64_t onnx_sample_kernel_dims[4], onnx_sample_bias_dims[1];

#endif
