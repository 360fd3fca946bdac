/* ncnn_samples.h - small ncnn models that the tests write themselves. */
#ifndef SQZ_TESTS_UNIT_NCNN_SAMPLES_H
#define SQZ_TESTS_UNIT_NCNN_SAMPLES_H

#include "lib/bytes.h"
#include "lib/model.h"

/* How a kernel is stored; any other number than the first four is a table. */
#define FP32 0u
#define FP16 0x01306B47u
#define INT8 0x000D4B38u
#define RAW 0x0002C056u
#define TABLE 0x00000001u

/* A head for `layers` layers whose input does not say its size, and one that does. */
#define NET(layers) "7767517\n" layers " 99\nInput in 0 1 x\n"
#define SIZED(layers, w, h, c) "7767517\n" layers " 99\nInput in 0 1 x 0=" w " 1=" h " 2=" c "\n"

/* The i-th weight of every sample; exact in fp16. */
float ncnn_value(size_t i);

/* n of them plainly, and behind a flag word stored as it says. */
void ncnn_put_plain(struct sqz_buffer *b, size_t n);
void ncnn_put_kernel(struct sqz_buffer *b, uint32_t flag, size_t n);

/* Probe and read one file; SQZ_UNKNOWN_FORMAT when it is not recognised. */
enum sqz_status ncnn_read_path(const char *path, const char *companion, struct sqz_model **out, struct sqz_error *err);

/* Write the pair into the scratch folder and read it. */
enum sqz_status ncnn_read_pair(const char *param, const struct sqz_buffer *bin, struct sqz_model **out,
                               struct sqz_error *err);

/* The same where it must work; the second one also empties the buffer. */
struct sqz_model *ncnn_read_good(const char *param, const struct sqz_buffer *bin);
struct sqz_model *ncnn_read_once(const char *param, struct sqz_buffer *bin);

/* Where it must fail, with `part` in the message; `bin` may be NULL for an empty file. */
void ncnn_refuse(const char *param, const struct sqz_buffer *bin, enum sqz_status expected, const char *part);

/* Index of the node with that name, its shape for one image as text, and the operators of all nodes. */
size_t ncnn_find_node(const struct sqz_model *model, const char *name);
void ncnn_check_shape(const struct sqz_model *model, const char *name, const char *expected);
void ncnn_check_ops(const struct sqz_model *model, const enum sqz_op *expected, size_t n);

#endif
