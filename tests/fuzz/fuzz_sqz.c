/* fuzz_sqz.c - libFuzzer target: a .sqz that decodes must encode to a file that decodes to the same bytes. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <zlib.h>

#include "lib/bytes.h"
#include "lib/container.h"
#include "lib/memory.h"

#define FUZZ_MAX_NBYTES ((size_t)16 << 20)

/* Bytes before the first varint of a file: magic and version. */
#define START_NBYTES 5

/* More tensors than this are not worth a fuzzer's time. */
#define MAX_TENSORS 4096

static void put_checksum(uint8_t *at, const uint8_t *data, size_t nbytes) {
    uint32_t crc = (uint32_t)crc32(0, data, (uInt)nbytes);
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(crc >> 8 * i);
}

/* Make every checksum of the frame right, as far as its lengths make sense: no mutation would get past them else. */
static void repair_checksums(uint8_t *data, size_t nbytes) {
    struct sqz_reader r = sqz_reader_make(data, nbytes);
    sqz_read_bytes(&r, START_NBYTES);
    sqz_read_varint(&r);
    uint64_t deflated_nbytes = sqz_read_varint(&r), n_tensors = sqz_read_varint(&r);
    size_t index = r.offset;
    if (r.failed || n_tensors > MAX_TENSORS) return;
    for (uint64_t i = 0; i < n_tensors; i++) {
        sqz_read_varint(&r);
        sqz_read_u32(&r);
    }
    if (r.failed || nbytes - r.offset < 4 || deflated_nbytes > nbytes - r.offset - 4) return;
    size_t head = r.offset + (size_t)deflated_nbytes, section = head + 4;
    r.offset = index;
    for (uint64_t i = 0; i < n_tensors; i++) {
        uint64_t section_nbytes = sqz_read_varint(&r);
        if (section_nbytes > nbytes - section) return;
        put_checksum(data + r.offset, data + section, (size_t)section_nbytes);
        sqz_read_u32(&r);
        section += (size_t)section_nbytes;
    }
    put_checksum(data + head, data, head);
}

static void round_trip(const struct sqz_model *model) {
    struct sqz_encode_options options = {.coder = SQZ_CODER_AUTO, .bias = SQZ_BIAS_FP32};
    struct sqz_buffer first = {0}, second = {0};
    if (sqz_container_encode(model, &options, &first, NULL) == SQZ_OK) {
        struct sqz_model *again;
        enum sqz_status status = sqz_container_decode(first.data, first.nbytes, 0, &again, NULL);
        assert(status == SQZ_OK);
        status = sqz_container_encode(again, &options, &second, NULL);
        assert(status == SQZ_OK && first.nbytes == second.nbytes && !memcmp(first.data, second.data, first.nbytes));
        sqz_model_free(again);
    }
    sqz_buffer_free(&first);
    sqz_buffer_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
    uint8_t *file = sqz_alloc(nbytes, 1);
    struct sqz_model *model;
    if (nbytes > 0) memcpy(file, data, nbytes);
    /* Now and then the checksums stay as they are. */
    if (nbytes % 8 != 7) repair_checksums(file, nbytes);
    if (sqz_container_decode(file, nbytes, FUZZ_MAX_NBYTES, &model, NULL) == SQZ_OK) {
        round_trip(model);
        sqz_model_free(model);
    }
    sqz_free(file);
    return 0;
}
