/* bench.h - measures how fast a model runs: sqz-eval --bench and --explain. */
#ifndef SQZ_CMD_BENCH_H
#define SQZ_CMD_BENCH_H

#include "cmd/report.h"
#include "cmd/subject.h"
#include "eval/dataset.h"

struct cmd_bench {
    const struct cmd_subject *subject;
    const struct sqz_dataset *dataset; /* images to run; NULL: random numbers */
    const char *dataset_path;          /* for messages */
    size_t runs;                       /* timed runs */
    size_t batch;                      /* images of each */
    bool timed;                        /* print the times of whole runs */
    bool explain;                      /* print the plan; the session was made with `profile` */
};

struct cmd_bench_times {
    double first_result_ms;           /* from the start of the process to the end of the first run */
    double min_ms, median_ms, p95_ms; /* for one image: time of a run / images */
    double images_per_second;         /* over all timed runs */
    size_t resident_nbytes, peak_nbytes;
};

/* Measure and print; the exit code. */
int cmd_bench_run(const struct cmd_common *common, const struct cmd_bench *bench);

void cmd_bench_print_text(const struct cmd_bench *bench, const struct cmd_bench_times *times);
int cmd_bench_print_json(const struct cmd_common *common, const struct cmd_bench *bench,
                         const struct cmd_bench_times *times);

/* The plan with the profile of `runs` runs: a table, and a list for JSON. */
void cmd_explain_print_text(const struct cmd_bench *bench);
json_t *cmd_explain_json(const struct cmd_bench *bench);

#endif
