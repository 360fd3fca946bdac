/* range_coder.c - the parts of the binary range coder that run once per word or per stream. */
#include "lib/range_coder.h"

void sqz_range_encoder_start(struct sqz_range_encoder *encoder, struct sqz_buffer *out) {
    *encoder = (struct sqz_range_encoder){.out = out, .start = out->nbytes, .range = SQZ_RANGE_START};
}

void sqz_range_encoder_carry(struct sqz_range_encoder *encoder) {
    struct sqz_buffer *out = encoder->out;
    if (out->failed) return;
    for (size_t i = out->nbytes; i > encoder->start; i--)
        if (++out->data[i - 1] != 0) break;
}

static void put_high_bytes(struct sqz_range_encoder *encoder, uint64_t value, int n) {
    for (int i = 0; i < n; i++) sqz_put_u8(encoder->out, (uint8_t)(value >> (56 - 8 * i)));
}

void sqz_range_encoder_shift(struct sqz_range_encoder *encoder) {
    put_high_bytes(encoder, encoder->low, 4);
    encoder->low <<= 32;
    encoder->range <<= 32;
}

void sqz_range_encoder_finish(struct sqz_range_encoder *encoder) {
    struct sqz_buffer *out = encoder->out;
    for (int n = 0; n <= 8; n++) {
        uint64_t rest = n == 8 ? 0 : UINT64_MAX >> (8 * n);
        uint64_t value = (encoder->low + rest) & ~rest;
        if (value - encoder->low >= encoder->range) continue;
        if (value < encoder->low) sqz_range_encoder_carry(encoder);
        put_high_bytes(encoder, value, n);
        break;
    }
    if (out->failed) return;
    while (out->nbytes > encoder->start && out->data[out->nbytes - 1] == 0) out->nbytes--;
}

uint64_t sqz_range_decoder_nbits(const struct sqz_range_decoder *decoder, const uint8_t *start) {
    uint64_t n_words = (uint64_t)(decoder->next - start + 3) / 4;
    if (n_words <= 2) n_words = 2;
    return 32 * (n_words - 2) + (uint64_t)(__builtin_clzll(decoder->range) - 1); /* range starts at 63 bits */
}
