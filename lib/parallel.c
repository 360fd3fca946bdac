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

/*
 * What is left of one thread's part of a loop, alone on its cache line: the
 * loop's number in the upper half, the number of indices taken in the lower.
 * With the number inside, a thread that was away for a while cannot take an
 * index of a later loop for one of its own.
 */
struct part {
    _Alignas(64) _Atomic uint64_t next;
};

struct sqz_team {
    atomic_int size; /* every thread writes the same number before it reads it */
    struct part parts[MAX_TEAM];
    _Alignas(64) atomic_size_t done;         /* indices of the current loop that are finished */
    _Alignas(64) atomic_uint loop;           /* number of the current loop */
    _Alignas(64) unsigned own[MAX_TEAM][16]; /* number of each thread's next loop; a line each */
};

int sqz_team_size(const struct sqz_team *team) {
    return atomic_load_explicit(&team->size, memory_order_relaxed);
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

/* Take one index of a part of `count`; false when none is left, or the loop is over. */
static bool take(struct part *part, unsigned loop, size_t count, size_t *taken) {
    uint64_t next = atomic_load_explicit(&part->next, memory_order_relaxed);
    while ((unsigned)(next >> 32) == loop && (uint32_t)next < count) {
        if (!atomic_compare_exchange_weak_explicit(&part->next, &next, next + 1, memory_order_relaxed,
                                                   memory_order_relaxed))
            continue;
        *taken = (uint32_t)next;
        return true;
    }
    return false;
}

/* Called by whoever finished the last index of a loop. */
static void open_next_loop(struct sqz_team *team, unsigned loop) {
    atomic_store_explicit(&team->done, 0, memory_order_relaxed);
    for (int t = 0; t < sqz_team_size(team); t++)
        atomic_store_explicit(&team->parts[t].next, (uint64_t)(loop + 1) << 32, memory_order_relaxed);
    atomic_store_explicit(&team->loop, loop + 1, memory_order_release);
}

void sqz_team_for(struct sqz_team *team, int thread, size_t n, void (*body)(void *context, size_t i, int thread),
                  void *context) {
    int size = sqz_team_size(team);
    if (size == 1 || n == 0) {
        for (size_t i = 0; i < n; i++) body(context, i, thread);
        return;
    }
    unsigned loop = team->own[thread][0]++;
    size_t finished = 0, taken;
    for (int k = 0; k < size; k++) {
        int victim = (thread + k) % size;
        size_t begin = part_begin(n, victim, size), count = part_begin(n, victim + 1, size) - begin;
        for (; take(&team->parts[victim], loop, count, &taken); finished++) body(context, begin + taken, thread);
    }
    if (finished && atomic_fetch_add_explicit(&team->done, finished, memory_order_acq_rel) + finished == n) {
        open_next_loop(team, loop);
        return;
    }
    /* Only unfinished work is waited for: a thread that the system keeps away holds up nobody unless it has some. */
    for (unsigned spins = 0; atomic_load_explicit(&team->loop, memory_order_acquire) == loop; spins++) {
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
    atomic_init(&team.size, threads);
    if (threads == 1) {
        body(context, &team, 0);
        return;
    }
    atomic_init(&team.done, 0);
    atomic_init(&team.loop, 0);
    for (int t = 0; t < threads; t++) {
        atomic_init(&team.parts[t].next, 0);
        team.own[t][0] = 0;
    }
#pragma omp parallel num_threads(threads)
    {
        /* A runtime that is short of threads may give fewer than were asked for. Each thread finds that out for itself:
         * a barrier here would have everybody wait for a thread that is not running yet. */
        atomic_store_explicit(&team.size, omp_get_num_threads(), memory_order_relaxed);
        body(context, &team, omp_get_thread_num());
    }
}
