/* sha256.c - SHA-256 (FIPS 180-4). */
#include "lib/sha256.h"

#include <stdio.h>
#include <string.h>

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate_right(uint32_t x, unsigned n) {
    return x >> n | x << (32 - n);
}

static uint32_t load_big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void expand_schedule(const uint8_t block[64], uint32_t w[64]) {
    for (size_t t = 0; t < 16; t++) w[t] = load_big_endian(block + 4 * t);
    for (size_t t = 16; t < 64; t++) {
        uint32_t s0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
}

static void compress(uint32_t state[8], const uint8_t block[64]) {
    uint32_t w[64], v[8];
    expand_schedule(block, w);
    memcpy(v, state, sizeof v);
    for (size_t t = 0; t < 64; t++) {
        uint32_t a = v[0], e = v[4];
        uint32_t choice = (e & v[5]) ^ (~e & v[6]);
        uint32_t majority = (a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]);
        uint32_t sum0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        uint32_t sum1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        uint32_t t1 = v[7] + sum1 + choice + round_constants[t] + w[t];
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + sum0 + majority;
    }
    for (size_t i = 0; i < 8; i++) state[i] += v[i];
}

void sqz_sha256_begin(struct sqz_sha256 *hash) {
    /* First 32 bits of the fractional parts of the square roots of the first 8 primes (FIPS 180-4, 5.3.3). */
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, initial, sizeof initial);
    hash->nbytes = 0;
}

void sqz_sha256_add(struct sqz_sha256 *hash, const void *data, size_t nbytes) {
    const uint8_t *p = data;
    size_t held = hash->nbytes % sizeof hash->block;
    hash->nbytes += nbytes;
    while (nbytes > 0) {
        size_t take = sizeof hash->block - held < nbytes ? sizeof hash->block - held : nbytes;
        if (take == sizeof hash->block) {
            compress(hash->state, p);
        } else {
            memcpy(hash->block + held, p, take);
            if (held + take == sizeof hash->block) compress(hash->state, hash->block);
        }
        held = (held + take) % sizeof hash->block;
        p += take;
        nbytes -= take;
    }
}

void sqz_sha256_end(struct sqz_sha256 *hash, uint8_t out[SQZ_SHA256_NBYTES]) {
    static const uint8_t padding[64] = {0x80};
    uint64_t nbits = hash->nbytes * 8;
    size_t held = hash->nbytes % 64;
    sqz_sha256_add(hash, padding, held < 56 ? 56 - held : 120 - held);
    uint8_t length[8];
    for (size_t i = 0; i < 8; i++) length[i] = (uint8_t)(nbits >> (56 - 8 * i));
    sqz_sha256_add(hash, length, sizeof length);
    for (size_t i = 0; i < SQZ_SHA256_NBYTES; i++) out[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

void sqz_sha256(const void *data, size_t nbytes, uint8_t out[SQZ_SHA256_NBYTES]) {
    struct sqz_sha256 hash;
    sqz_sha256_begin(&hash);
    sqz_sha256_add(&hash, data, nbytes);
    sqz_sha256_end(&hash, out);
}

char *sqz_sha256_format(const uint8_t digest[SQZ_SHA256_NBYTES], char buffer[SQZ_SHA256_TEXT]) {
    for (size_t i = 0; i < SQZ_SHA256_NBYTES; i++) snprintf(buffer + 2 * i, 3, "%02x", digest[i]);
    return buffer;
}
