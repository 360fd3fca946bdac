/* chunks.h - cutting long arrays into pieces of fixed size for parallel loops. */
#ifndef SQZ_LIB_CHUNKS_H
#define SQZ_LIB_CHUNKS_H

#include <stddef.h>

/*
 * Elements of one piece: 1 MB of floats, so that a piece is some 100
 * microseconds of work and its results can be combined in the order of the
 * pieces: sums then do not depend on the number of threads.
 */
#define SQZ_CHUNK ((size_t)1 << 18)

/* Number of pieces of an array of n elements. */
static inline size_t sqz_chunk_count(size_t n) {
    return n / SQZ_CHUNK + (n % SQZ_CHUNK != 0);
}

/* Elements [begin, returned end) belong to piece `chunk`. */
static inline size_t sqz_chunk_range(size_t n, size_t chunk, size_t *begin) {
    *begin = chunk * SQZ_CHUNK;
    return n - *begin < SQZ_CHUNK ? n : *begin + SQZ_CHUNK;
}

#endif
