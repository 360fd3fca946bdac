/* select.c - the k-th smallest magnitude by radix histograms over the bits of the floats. */
#include "lib/select.h"

#include "lib/chunks.h"
#include "lib/memory.h"
#include "lib/parallel.h"

#define N_BINS 65536

struct histogram {
    const struct sqz_span *pieces; /* the spans in pieces for the threads */
    bool lower;                    /* count the lower halves of the magnitudes whose upper half is `upper` */
    uint32_t upper;
    size_t *counts; /* [threads][N_BINS]; sums of integers do not depend on who counted what */
};

static void count_piece(void *context, size_t i, int thread) {
    const struct histogram *h = context;
    const struct sqz_span *piece = &h->pieces[i];
    size_t *counts = h->counts + (size_t)thread * N_BINS;
    if (!h->lower) {
        for (size_t k = 0; k < piece->n; k++) counts[sqz_magnitude(piece->data[k]) >> 16]++;
        return;
    }
    for (size_t k = 0; k < piece->n; k++) {
        uint32_t magnitude = sqz_magnitude(piece->data[k]);
        if (magnitude >> 16 == h->upper) counts[magnitude & 0xffff]++;
    }
}

/* The bin that holds the rank-th element; *below becomes the number in the bins before it, *equal in it. */
static uint32_t find_bin(const struct histogram *h, size_t threads, size_t rank, struct sqz_rank *out) {
    size_t below = 0;
    for (uint32_t bin = 0;; bin++) {
        size_t here = 0;
        for (size_t thread = 0; thread < threads; thread++) here += h->counts[thread * N_BINS + bin];
        if (below + here >= rank || bin == N_BINS - 1) {
            *out = (struct sqz_rank){below, here};
            return bin;
        }
        below += here;
    }
}

/* Cut the spans into pieces; returns their number. pieces may be NULL. */
static size_t cut_spans(const struct sqz_span *spans, size_t n_spans, struct sqz_span *pieces) {
    size_t n = 0;
    for (size_t i = 0; i < n_spans; i++) {
        for (size_t chunk = 0; chunk < sqz_chunk_count(spans[i].n); chunk++, n++) {
            size_t begin, end = sqz_chunk_range(spans[i].n, chunk, &begin);
            if (pieces) pieces[n] = (struct sqz_span){spans[i].data + begin, end - begin};
        }
    }
    return n;
}

bool sqz_select_magnitude(const struct sqz_span *spans, size_t n_spans, size_t rank, uint32_t *magnitude,
                          struct sqz_rank *out) {
    size_t n_pieces = cut_spans(spans, n_spans, NULL), threads = (size_t)sqz_threads();
    struct sqz_span *pieces = sqz_alloc(n_pieces, sizeof *pieces);
    struct histogram h = {.pieces = pieces, .counts = sqz_alloc0(threads * N_BINS, sizeof *h.counts)};
    bool ok = pieces && h.counts;
    if (ok) {
        struct sqz_rank inner;
        cut_spans(spans, n_spans, pieces);
        sqz_parallel_for(n_pieces, count_piece, &h);
        h.upper = find_bin(&h, threads, rank, out);
        h.lower = true;
        memset(h.counts, 0, threads * N_BINS * sizeof *h.counts);
        sqz_parallel_for(n_pieces, count_piece, &h);
        *magnitude = h.upper << 16 | find_bin(&h, threads, rank - out->below, &inner);
        *out = (struct sqz_rank){out->below + inner.below, inner.equal};
    }
    sqz_free(pieces);
    sqz_free(h.counts);
    return ok;
}
