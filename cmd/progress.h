/* progress.h - a progress bar with the remaining time on standard error. */
#ifndef SQZ_CMD_PROGRESS_H
#define SQZ_CMD_PROGRESS_H

#include <stdint.h>

#include "cmd/options.h"

struct cmd_progress {
    const char *title;  /* what is being done: "quantize" */
    bool shown;         /* a bar is wanted */
    bool drawn;         /* and there is one on the screen */
    double start, last; /* seconds */
};

/* Decide by --progress, --quiet and whether standard error is a terminal. */
void cmd_progress_begin(struct cmd_progress *progress, const struct cmd_common *common, const char *title);

/* Redraw at most ten times a second; the type fits the callbacks of lib and eval. */
void cmd_progress_update(void *progress, size_t done, size_t total);

/* Wipe the bar, so that the next line of output starts clean. */
void cmd_progress_end(struct cmd_progress *progress);

/* Monotonic time in seconds. */
double cmd_now(void);

#endif
