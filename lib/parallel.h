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

/*
 * Threads that work through many short loops together, at the price of one
 * parallel region for all of them and a spinning barrier after each.
 */
struct sqz_team;

/*
 * Call body(context, team, thread) once on each of min(threads, sqz_threads())
 * threads (at least one). All threads must make the same sequence of
 * sqz_team_for() calls. From within another parallel body the team is the
 * calling thread alone.
 */
void sqz_team_run(int threads, void (*body)(void *context, struct sqz_team *team, int thread), void *context);

/*
 * Share out the indices [0, n) among the team, and wait until all are done (n = 0 does nothing, not even wait).
 * Each thread begins with its own contiguous part, the same for equal n, so
 * that it finds in its cache what it wrote in the loop before; then it takes
 * over indices from parts that are behind. A thread that comes late finds the
 * loop done and goes on. n is below 2^31.
 */
void sqz_team_for(struct sqz_team *team, int thread, size_t n, void (*body)(void *context, size_t i, int thread),
                  void *context);

/* Number of threads in the team. */
int sqz_team_size(const struct sqz_team *team);

#endif
