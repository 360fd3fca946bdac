/* parallel.h - the only door to OpenMP. */
#ifndef SQZ_LIB_PARALLEL_H
#define SQZ_LIB_PARALLEL_H

#include <stddef.h>

/* Threads that later calls may use; 0 means every processor this process may run on. */
void sqz_set_threads(int n);

/* How many threads sqz_parallel_for() will use at the most (at least 1). */
int sqz_threads(void);

/*
 * Call body(context, i, thread) for each i in [0, n), in any order, on up to
 * sqz_threads() threads; thread is in [0, sqz_threads()). Indices are handed
 * out one at a time, so the work of each should be worth a microsecond.
 * Results must not depend on the assignment. Calls from within a body run on
 * the calling thread alone (with thread 0). Returns when all calls are done.
 */
void sqz_parallel_for(size_t n, void (*body)(void *context, size_t i, int thread), void *context);

#endif
