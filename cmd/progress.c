/* progress.c - a progress bar with the remaining time on standard error. */
#include "cmd/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH 30
#define REDRAW_SECONDS 0.1

double cmd_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void cmd_progress_begin(struct cmd_progress *progress, const struct cmd_common *common, const char *title) {
    bool automatic = isatty(STDERR_FILENO) && !common->quiet;
    bool shown = common->progress == CMD_PROGRESS_ALWAYS || (common->progress == CMD_PROGRESS_AUTO && automatic);
    *progress = (struct cmd_progress){.title = title, .shown = shown, .start = cmd_now()};
}

void cmd_progress_update(void *context, size_t done, size_t total) {
    struct cmd_progress *progress = context;
    if (!progress->shown || total == 0) return;
    double now = cmd_now();
    if (progress->drawn && done < total && now - progress->last < REDRAW_SECONDS) return;
    progress->last = now;
    progress->drawn = true;
    double part = done < total ? (double)done / (double)total : 1;
    char bar[BAR_WIDTH + 1];
    for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < (int)(part * BAR_WIDTH) ? '#' : '-';
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r%s [%s] %3.0f%%", progress->title, bar, 100 * part);
    if (done > 0) fprintf(stderr, "  %.0f s left   ", (now - progress->start) * (1 - part) / part);
    fflush(stderr);
}

void cmd_progress_end(struct cmd_progress *progress) {
    if (progress->drawn) fprintf(stderr, "\r\033[K");
    progress->drawn = false;
}
