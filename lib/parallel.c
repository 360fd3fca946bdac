/* parallel.c - the only door to OpenMP. */
#include "lib/parallel.h"

#include <omp.h>

static int thread_limit;

void sqz_set_threads(int n) {
    thread_limit = n > 0 ? n : 0;
}

int sqz_threads(void) {
    return thread_limit > 0 ? thread_limit : omp_get_num_procs();
}

void sqz_parallel_for(size_t n, void (*body)(void *context, size_t i, int thread), void *context) {
    int threads = sqz_threads();
    if (n < (size_t)threads) threads = (int)n;
    if (threads <= 1 || omp_in_parallel()) {
        for (size_t i = 0; i < n; i++) body(context, i, 0);
        return;
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (size_t i = 0; i < n; i++) body(context, i, omp_get_thread_num());
}
