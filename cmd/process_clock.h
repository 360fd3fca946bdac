/* process_clock.h - time since the process started, and the memory it holds. */
#ifndef SQZ_CMD_PROCESS_CLOCK_H
#define SQZ_CMD_PROCESS_CLOCK_H

#include <stddef.h>

/* Called first thing in main(). */
void cmd_process_clock_start(void);

/*
 * Seconds since the process started. What went by before main(), loading
 * shared libraries above all, counts with the processor time it took, since
 * the system tells the time of a start only to a hundredth of a second.
 */
double cmd_process_seconds(void);

/* Bytes of this process in memory now, and the most there have been since the program was loaded; 0 when unknown. */
size_t cmd_resident_nbytes(void);
size_t cmd_peak_nbytes(void);

#endif
