/* parallel.c - the only door to OpenMP. */
#include "lib/parallel.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

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

/* ---- teams ---------------------------------------------------------------- */

/* More threads than any machine of today runs; a larger team is cut to this. */
#define MAX_TEAM 256

/* One thread's part of a loop, alone on its cache line. */
struct part {
    _Alignas(64) atomic_size_t next;
};

struct sqz_team {
    int size;
    /* Two sets used in turn: one can be reset while a late thread still looks at the other. */
    struct part parts[2][MAX_TEAM];
    _Alignas(64) atomic_size_t arrived;        /* arrivals at all barriers so far */
    _Alignas(64) size_t phases[MAX_TEAM][8];   /* loops each thread has finished; a line each */
};

int sqz_team_size(const struct sqz_team *team) {
    return team->size;
}

/* Polls of a barrier before the processor is offered to others: about 50 microseconds, longer than most steps. */
#define SPINS_BEFORE_YIELD 2000

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static size_t part_begin(size_t n, int part, int parts) {
    return n * (size_t)part / (size_t)parts;
}

void sqz_team_for(struct sqz_team *team, int thread, size_t n, void (*body)(void *context, size_t i, int thread),
                  void *context) {
    if (team->size == 1) {
        for (size_t i = 0; i < n; i++) body(context, i, thread);
        return;
    }
    int size = team->size;
    size_t phase = team->phases[thread][0]++;
    struct part *parts = team->parts[phase & 1];
    for (int k = 0; k < size; k++) {
        int victim = (thread + k) % size;
        size_t begin = part_begin(n, victim, size), count = part_begin(n, victim + 1, size) - begin;
        while (atomic_load_explicit(&parts[victim].next, memory_order_relaxed) < count) {
            size_t taken = atomic_fetch_add_explicit(&parts[victim].next, 1, memory_order_relaxed);
            if (taken >= count) break;
            body(context, begin + taken, thread);
        }
    }
    size_t goal = (phase + 1) * (size_t)size;
    /* Nobody looks at the other set between here and the next barrier's release, so each thread clears its own part
     * of it before arriving: it was last used one loop ago, which all threads have left. */
    atomic_store_explicit(&team->parts[(phase + 1) & 1][thread].next, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel);
    for (unsigned spins = 0; atomic_load_explicit(&team->arrived, memory_order_acquire) < goal; spins++) {
        if (spins < SPINS_BEFORE_YIELD)
            relax();
        else
            sched_yield();
    }
}

void sqz_team_run(int threads, void (*body)(void *context, struct sqz_team *team, int thread), void *context) {
    struct sqz_team team;
    if (threads > sqz_threads()) threads = sqz_threads();
    if (threads > MAX_TEAM) threads = MAX_TEAM;
    if (threads < 1 || omp_in_parallel()) threads = 1;
    team.size = threads;
    if (threads == 1) {
        body(context, &team, 0);
        return;
    }
    atomic_init(&team.arrived, 0);
    for (int t = 0; t < threads; t++) {
        atomic_init(&team.parts[0][t].next, 0);
        atomic_init(&team.parts[1][t].next, 0);
        team.phases[t][0] = 0;
    }
#pragma omp parallel num_threads(threads)
    {
        /* A runtime that is short of threads may give fewer than were asked for. */
#pragma omp single
        team.size = omp_get_num_threads();
        body(context, &team, omp_get_thread_num());
    }
}
