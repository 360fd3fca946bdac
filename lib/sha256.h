/* sha256.h - SHA-256 (FIPS 180-4), to name data by its content. */
#ifndef SQZ_LIB_SHA256_H
#define SQZ_LIB_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SQZ_SHA256_NBYTES 32
#define SQZ_SHA256_TEXT 65 /* 64 hexadecimal digits and the terminating NUL */

/* A digest in the making: bytes may arrive in pieces of any length. */
struct sqz_sha256 {
    uint32_t state[8];
    uint64_t nbytes;   /* taken so far */
    uint8_t block[64]; /* the last, incomplete block: nbytes % 64 bytes of it are filled */
};

void sqz_sha256_begin(struct sqz_sha256 *hash);
void sqz_sha256_add(struct sqz_sha256 *hash, const void *data, size_t nbytes);

/* Finish; `hash` must be begun again before further use. */
void sqz_sha256_end(struct sqz_sha256 *hash, uint8_t out[SQZ_SHA256_NBYTES]);

/* begin + add + end in one. */
void sqz_sha256(const void *data, size_t nbytes, uint8_t out[SQZ_SHA256_NBYTES]);

/* Lower-case hexadecimal; returns buffer. */
char *sqz_sha256_format(const uint8_t digest[SQZ_SHA256_NBYTES], char buffer[SQZ_SHA256_TEXT]);

#endif
