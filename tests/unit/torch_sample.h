/* torch_sample.h - small PyTorch files for the tests, written opcode by opcode and zipped in memory. */
#ifndef SQZ_TESTS_TORCH_SAMPLE_H
#define SQZ_TESTS_TORCH_SAMPLE_H

#include "formats/pytorch.h"
#include "lib/bytes.h"

/* A pickled text, integer and global. */
void sample_text(struct sqz_buffer *b, const char *text);
void sample_integer(struct sqz_buffer *b, int64_t value);
void sample_global(struct sqz_buffer *b, const char *module, const char *name);

/* One tensor on a storage; stride NULL: contiguous. */
struct sample_tensor {
    const char *storage; /* "FloatStorage" */
    const char *key;
    int64_t n_elements, offset;
    int rank;
    int64_t shape[7];
    const int64_t *stride;
};
void sample_tensor(struct sqz_buffer *b, const struct sample_tensor *tensor);

/* A float32 tensor that fills its storage. */
void sample_float(struct sqz_buffer *b, const char *key, int rank, int64_t d0, int64_t d1, int64_t d2, int64_t d3);

/* Raw little-endian floats for a storage record. */
struct sqz_buffer sample_floats(size_t n, const float *values);

struct sample_entry {
    const char *name;
    const void *data;
    size_t nbytes;
};

/* A zip archive of the entries in exactly sized memory; free() it. */
struct sqz_source sample_zip(const struct sample_entry *entries, size_t n, bool deflate);

/* A state_dict {"w": float32 [2][3]} around any pickle for "w": ROOT/data.pkl and ROOT/data/0 of six floats 1..6. */
struct sqz_source sample_file(const struct sqz_buffer *pickle, const char *byteorder, bool deflate);

/* The same in the old layout: storage 0 with six floats 1..6, and what the list of keys says. */
struct sqz_source sample_legacy(const struct sqz_buffer *pickle, bool big_endian);

/* A copy of the first nbytes in exactly sized memory, so that a read beyond it is seen. */
struct sqz_source sample_cut(const struct sqz_source *source, size_t nbytes);
void sample_free(struct sqz_source *source);

/* Read with default options; the weights must be freed when SQZ_OK. */
enum sqz_status sample_read(const struct sqz_source *source, struct sqz_torch_weights *out, struct sqz_error *err);

#endif
