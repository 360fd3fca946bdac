/* image_digest.c - SHA-256 digests of a data set's images. */
#include "eval/image_digest.h"

#include <string.h>

#include "lib/parallel.h"

struct digesting {
    const struct sqz_dataset *dataset;
    const size_t *indices;
    uint8_t (*out)[SQZ_SHA256_NBYTES];
    bool *short_of_memory; /* [n] */
};

static void digest_image(void *context, size_t i, int thread) {
    (void)thread;
    struct digesting *digesting = context;
    uint8_t *bytes = NULL;
    size_t nbytes = 0, image = digesting->indices ? digesting->indices[i] : i;
    enum sqz_status status = sqz_dataset_bytes(digesting->dataset, image, &bytes, &nbytes, NULL);
    memset(digesting->out[i], 0, SQZ_SHA256_NBYTES);
    if (status == SQZ_OK) sqz_sha256(bytes, nbytes, digesting->out[i]);
    digesting->short_of_memory[i] = status == SQZ_OUT_OF_MEMORY;
    sqz_free(bytes);
}

enum sqz_status sqz_image_digests(const struct sqz_dataset *dataset, const size_t *indices, size_t n,
                                  uint8_t (*out)[SQZ_SHA256_NBYTES], struct sqz_error *err) {
    struct digesting digesting = {dataset, indices, out, sqz_alloc0(n ? n : 1, sizeof(bool))};
    bool good = digesting.short_of_memory != NULL;
    if (good) sqz_parallel_for(n, digest_image, &digesting);
    for (size_t i = 0; good && i < n; i++) good = !digesting.short_of_memory[i];
    sqz_free(digesting.short_of_memory);
    return good ? SQZ_OK : sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the digests of %zu images", n);
}

static bool is_unread(const uint8_t digest[SQZ_SHA256_NBYTES]) {
    static const uint8_t zeros[SQZ_SHA256_NBYTES];
    return memcmp(digest, zeros, sizeof zeros) == 0;
}

enum sqz_status sqz_image_overlap(const struct sqz_image_record *record, const struct sqz_dataset *dataset, size_t n,
                                  struct sqz_overlap *out, struct sqz_error *err) {
    *out = (struct sqz_overlap){.n_images = n};
    if (record->n_images == 0) return SQZ_OK;
    uint8_t(*digests)[SQZ_SHA256_NBYTES] = sqz_alloc(n ? n : 1, sizeof *digests);
    if (!digests) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the digests of %zu images", n);
    enum sqz_status status = sqz_image_digests(dataset, NULL, n, digests, err);
    for (size_t i = 0; status == SQZ_OK && i < n; i++) {
        if (is_unread(digests[i])) continue;
        enum sqz_record_answer answer = sqz_image_record_find(record, digests[i]);
        out->n_sampled += answer != SQZ_RECORD_NOT_SAMPLED;
        out->n_present += answer == SQZ_RECORD_PRESENT;
    }
    sqz_free(digests);
    if (out->n_sampled > 0)
        out->n_likely = (size_t)((double)n * (double)out->n_present / (double)out->n_sampled + 0.5);
    out->convicted = sqz_image_record_convicts(record, out->n_present, out->n_sampled);
    return status;
}
