/* image_record.c - which images a model was calibrated on: a sample of their digests. */
#include "lib/image_record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bits of a prefix beyond those that tell the kept images apart: a false answer once in 2^10. */
#define CHANCE_NBITS 10

/* A set of unused images is suspected once in 500. */
#define CONVICTION 0.002

/* ---- digests as numbers --------------------------------------------------- */

/* The first 64 bits. */
static uint64_t digest_head(const uint8_t digest[SQZ_SHA256_NBYTES]) {
    uint64_t head = 0;
    for (int i = 0; i < 8; i++) head = head << 8 | digest[i];
    return head;
}

static bool sampled(uint64_t head, unsigned sample_nbits) {
    return sample_nbits == 0 || head >> (64 - sample_nbits) == 0;
}

/* The bits behind the sampled ones; SQZ_RECORD_MAX_SAMPLE + SQZ_RECORD_MAX_PREFIX is below 64. */
static uint32_t prefix_of(uint64_t head, unsigned sample_nbits, unsigned prefix_nbits) {
    if (prefix_nbits == 0) return 0;
    return (uint32_t)(head << sample_nbits >> (64 - prefix_nbits));
}

/* Bits that number n things. */
static unsigned index_nbits(uint32_t n) {
    unsigned nbits = 0;
    while (((uint64_t)1 << nbits) < n) nbits++;
    return nbits;
}

/* ---- adding ------------------------------------------------------------- */

static int compare_heads(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/*
 * Heads of all images known of, ascending: those of an earlier record are
 * known up to its prefix only, the bits behind it are taken as zeros.
 */
static uint64_t *gather(const struct sqz_image_record *record, const uint8_t (*digests)[SQZ_SHA256_NBYTES], size_t n,
                        size_t *n_heads) {
    uint64_t *heads = sqz_alloc(record->n_prefixes + n + 1, sizeof *heads);
    if (!heads) return NULL;
    size_t k = 0;
    unsigned shift = 64 - record->sample_nbits - record->prefix_nbits;
    for (uint32_t i = 0; i < record->n_prefixes; i++) heads[k++] = shift < 64 ? (uint64_t)record->prefixes[i] << shift : 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t head = digest_head(digests[i]);
        if (sampled(head, record->sample_nbits)) heads[k++] = head;
    }
    qsort(heads, k, sizeof *heads, compare_heads);
    *n_heads = k;
    return heads;
}

/* Ascending heads that begin with so many zeros come first. */
static size_t count_sampled(const uint64_t *heads, size_t n, unsigned sample_nbits) {
    size_t k = 0;
    while (k < n && sampled(heads[k], sample_nbits)) k++;
    return k;
}

enum sqz_status sqz_image_record_add(struct sqz_image_record *record, const uint8_t (*digests)[SQZ_SHA256_NBYTES],
                                     size_t n, struct sqz_arena *arena, struct sqz_error *err) {
    if (n == 0) return SQZ_OK;
    struct sqz_image_record merged = {.n_images = record->n_images + n, .sample_nbits = record->sample_nbits};
    size_t n_heads;
    uint64_t *heads = gather(record, digests, n, &n_heads);
    merged.prefixes = sqz_arena_alloc(arena, SQZ_RECORD_MAX_PREFIXES, sizeof *merged.prefixes);
    if (!heads || !merged.prefixes) {
        sqz_free(heads);
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory to record %zu images", n);
    }
    while (merged.sample_nbits < SQZ_RECORD_MAX_SAMPLE &&
           count_sampled(heads, n_heads, merged.sample_nbits) > SQZ_RECORD_MAX_PREFIXES)
        merged.sample_nbits++;
    size_t kept = count_sampled(heads, n_heads, merged.sample_nbits);
    merged.n_prefixes = (uint32_t)(kept < SQZ_RECORD_MAX_PREFIXES ? kept : SQZ_RECORD_MAX_PREFIXES);
    merged.prefix_nbits = CHANCE_NBITS + index_nbits(merged.n_prefixes);
    unsigned known = record->sample_nbits + record->prefix_nbits;
    if (record->n_images > 0 && merged.sample_nbits + merged.prefix_nbits > known)
        merged.prefix_nbits = known > merged.sample_nbits ? known - merged.sample_nbits : 0;
    for (uint32_t i = 0; i < merged.n_prefixes; i++)
        merged.prefixes[i] = prefix_of(heads[i], merged.sample_nbits, merged.prefix_nbits);
    sqz_free(heads);
    *record = merged;
    return SQZ_OK;
}

/* ---- asking ------------------------------------------------------------- */

enum sqz_record_answer sqz_image_record_find(const struct sqz_image_record *record,
                                             const uint8_t digest[SQZ_SHA256_NBYTES]) {
    uint64_t head = digest_head(digest);
    if (record->n_images == 0 || !sampled(head, record->sample_nbits)) return SQZ_RECORD_NOT_SAMPLED;
    uint32_t prefix = prefix_of(head, record->sample_nbits, record->prefix_nbits);
    for (uint32_t i = 0; i < record->n_prefixes; i++)
        if (record->prefixes[i] == prefix) return SQZ_RECORD_PRESENT;
    return SQZ_RECORD_ABSENT;
}

bool sqz_image_record_convicts(const struct sqz_image_record *record, size_t n_present, size_t n_sampled) {
    if (n_present == 0) return false;
    double p = (double)record->n_prefixes / ldexp(1, (int)record->prefix_nbits);
    if (p >= 1) return false;
    /* Far above one expected false answer the tail is that of a normal distribution, whose 0.2% begins at 2.9 sigma. */
    double mean = p * (double)n_sampled;
    if (mean > 100) return (double)n_present > mean + 2.9 * sqrt(mean);
    /* Upper tail of the binomial distribution, as one minus the terms below n_present. */
    double term = exp((double)n_sampled * log1p(-p)), below = 0;
    for (size_t k = 0; k < n_present; k++) {
        below += term;
        term *= (double)(n_sampled - k) / (double)(k + 1) * p / (1 - p);
    }
    return 1 - below < CONVICTION;
}

/* ---- bytes -------------------------------------------------------------- */

/*
 * Differences of ascending prefixes spread evenly over 2^prefix_nbits are
 * geometric with a mean of 2^prefix_nbits / n_prefixes, for which Rice's code
 * with this parameter is within 4% of the entropy.
 */
static unsigned rice_nbits(const struct sqz_image_record *record) {
    unsigned index = index_nbits(record->n_prefixes);
    return record->prefix_nbits > index ? record->prefix_nbits - index : 0;
}

struct bit_sink {
    struct sqz_buffer *out;
    unsigned byte, n;
};

static void put_bit(struct bit_sink *sink, unsigned bit) {
    sink->byte |= bit << sink->n;
    if (++sink->n < 8) return;
    sqz_put_u8(sink->out, (uint8_t)sink->byte);
    sink->byte = sink->n = 0;
}

void sqz_image_record_put(const struct sqz_image_record *record, struct sqz_buffer *out) {
    if (record->n_images == 0) return;
    sqz_put_varint(out, record->n_images);
    sqz_put_u8(out, (uint8_t)record->sample_nbits);
    sqz_put_u8(out, (uint8_t)record->prefix_nbits);
    sqz_put_varint(out, record->n_prefixes);
    struct bit_sink sink = {.out = out};
    unsigned low = rice_nbits(record);
    uint32_t previous = 0;
    for (uint32_t i = 0; i < record->n_prefixes; i++) {
        uint32_t d = record->prefixes[i] - previous;
        previous = record->prefixes[i];
        for (uint32_t k = d >> low; k > 0; k--) put_bit(&sink, 1);
        put_bit(&sink, 0);
        for (unsigned b = 0; b < low; b++) put_bit(&sink, d >> b & 1);
    }
    while (sink.n > 0) put_bit(&sink, 0);
}

struct bit_source {
    struct sqz_reader *r;
    unsigned byte, n;
};

static unsigned read_bit(struct bit_source *source) {
    if (source->n == 0) {
        source->byte = sqz_read_u8(source->r);
        source->n = 8;
    }
    unsigned bit = source->byte & 1;
    source->byte >>= 1;
    source->n--;
    return bit;
}

static void read_prefixes(struct sqz_reader *r, struct sqz_image_record *record) {
    struct bit_source source = {.r = r};
    unsigned low = rice_nbits(record);
    uint64_t limit = (uint64_t)1 << record->prefix_nbits, at = 0;
    for (uint32_t i = 0; i < record->n_prefixes && !r->failed; i++) {
        uint64_t high = 0, d = 0;
        while (!r->failed && read_bit(&source)) high++;
        for (unsigned b = 0; b < low; b++) d |= (uint64_t)read_bit(&source) << b;
        at += high << low | d;
        if (high >= limit || at >= limit) {
            r->failed = true;
            return;
        }
        record->prefixes[i] = (uint32_t)at;
    }
    if (source.byte) r->failed = true;
}

enum sqz_status sqz_image_record_read(struct sqz_reader *r, struct sqz_arena *arena, struct sqz_image_record *out,
                                      struct sqz_error *err) {
    struct sqz_image_record record = {.n_images = sqz_read_varint(r)};
    record.sample_nbits = sqz_read_u8(r);
    record.prefix_nbits = sqz_read_u8(r);
    uint64_t n = sqz_read_varint(r);
    if (r->failed || record.n_images == 0 || record.sample_nbits > SQZ_RECORD_MAX_SAMPLE ||
        record.prefix_nbits > SQZ_RECORD_MAX_PREFIX || n > SQZ_RECORD_MAX_PREFIXES || n > record.n_images)
        return sqz_fail(err, SQZ_MALFORMED, "the record of calibration images is malformed");
    record.n_prefixes = (uint32_t)n;
    record.prefixes = sqz_arena_alloc(arena, SQZ_RECORD_MAX_PREFIXES, sizeof *record.prefixes);
    if (!record.prefixes) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    read_prefixes(r, &record);
    if (r->failed) return sqz_fail(err, SQZ_MALFORMED, "the record of calibration images is malformed");
    *out = record;
    return SQZ_OK;
}
