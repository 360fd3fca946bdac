/* process_clock.c - time since the process started, and the memory it holds. */
#include "cmd/process_clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "cmd/progress.h"

static double main_start, before_main;

void cmd_process_clock_start(void) {
    struct timespec t;
    main_start = cmd_now();
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0) before_main = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double cmd_process_seconds(void) {
    return cmd_now() - main_start + before_main;
}

/* A line "FIELD: N kB" of /proc/self/status in bytes; 0 when there is none. */
static size_t status_nbytes(const char *field) {
    FILE *file = fopen("/proc/self/status", "re");
    if (!file) return 0;
    char line[256];
    unsigned long long kilobytes = 0;
    size_t n = strlen(field);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, field, n) == 0 && sscanf(line + n, ": %llu kB", &kilobytes) == 1) break;
    fclose(file);
    return (size_t)kilobytes * 1024;
}

size_t cmd_resident_nbytes(void) {
    return status_nbytes("VmRSS");
}

size_t cmd_peak_nbytes(void) {
    size_t nbytes = status_nbytes("VmHWM");
    if (nbytes) return nbytes;
    /* Not as good: it includes what the process was before it loaded this program. Units of 1024 bytes. */
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024 : 0;
}
