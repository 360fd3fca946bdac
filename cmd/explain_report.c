/* explain_report.c - what sqz-eval --explain prints: the plan, layer by layer, with what a profile of it measured. */
#include "cmd/bench.h"
#include "lib/parallel.h"

/* One step with what follows from its profile. */
struct step_figures {
    struct sqz_step_report report;
    double ms;      /* for one image, of the wall clock: what the step adds to the time of a run */
    double share;   /* of all steps' times */
    double of_peak; /* part of the measured speed of the threads that worked on it; 0 when that is unknown */
};

/* Threads that share one call of the step: whole images go to one thread each while there are enough of them. */
static double step_threads(const struct cmd_bench *bench, const struct sqz_step_report *report) {
    size_t threads = (size_t)sqz_threads();
    return report->batch || bench->batch < threads ? (double)threads : 1;
}

static double thread_seconds(const struct cmd_bench *bench, size_t index) {
    struct sqz_step_report report;
    sqz_session_step(bench->subject->session, index, &report);
    return report.seconds * step_threads(bench, &report);
}

static double total_thread_seconds(const struct cmd_bench *bench) {
    double total = 0;
    for (size_t i = 0; i < sqz_session_step_count(bench->subject->session); i++) total += thread_seconds(bench, i);
    return total;
}

static struct step_figures figures_of(const struct cmd_bench *bench, size_t index, double total, double peak) {
    struct step_figures figures;
    double images = (double)(bench->runs * bench->batch), seconds = thread_seconds(bench, index);
    sqz_session_step(bench->subject->session, index, &figures.report);
    figures.ms = 1e3 * seconds / sqz_threads() / images;
    figures.share = total > 0 ? seconds / total : 0;
    figures.of_peak = seconds > 0 && peak > 0 ? figures.report.operations * images / seconds / peak : 0;
    return figures;
}

/* Bytes that one image moves: a batch step reads its weights once for all images. */
static double moved_nbytes(const struct cmd_bench *bench, const struct sqz_step_report *report) {
    double weights = (double)report->weight_nbytes / (report->batch ? (double)bench->batch : 1);
    return weights + (double)report->activation_nbytes;
}

static void add_row(struct cmd_table *table, const struct cmd_bench *bench, const struct step_figures *figures) {
    const struct sqz_step_report *report = &figures->report;
    cmd_table_cell(table, "%s", report->layer);
    cmd_table_cell(table, "%s", report->kernel);
    cmd_table_cell(table, "%.2f", report->operations / 1e6);
    cmd_table_cell(table, "%.1f", (double)report->weight_nbytes / 1e3);
    cmd_table_cell(table, "%.1f", moved_nbytes(bench, report) / 1e3);
    cmd_table_cell(table, "%.4f", figures->ms);
    cmd_table_cell(table, "%.1f%%", 100 * figures->share);
    if (figures->of_peak > 0)
        cmd_table_cell(table, "%.1f%%", 100 * figures->of_peak);
    else
        cmd_table_cell(table, "-");
    cmd_table_cell(table, "%s", report->reason);
}

void cmd_explain_print_text(const struct cmd_bench *bench) {
    static const char *const titles[] = {"<layer", "<kernel", "Mop",     "weights KB", "moved KB",
                                         "ms",     "share",   "of peak", "<why"};
    const struct sqz_session *session = bench->subject->session;
    double total = total_thread_seconds(bench), peak = sqz_isa_peak(sqz_isa_detect());
    struct cmd_table table;
    cmd_table_begin(&table, titles, sizeof titles / sizeof *titles);
    for (size_t i = 0; i < sqz_session_step_count(session); i++) {
        struct step_figures figures = figures_of(bench, i, total, peak);
        add_row(&table, bench, &figures);
    }
    if (peak > 0) printf("peak         %.1f GFLOP/s of multiply-adds on one core, measured\n", peak / 1e9);
    printf("\n");
    cmd_table_print(&table, stdout);
    cmd_table_free(&table);
}

json_t *cmd_explain_json(const struct cmd_bench *bench) {
    const struct sqz_session *session = bench->subject->session;
    double total = total_thread_seconds(bench), peak = sqz_isa_peak(sqz_isa_detect());
    json_t *list = json_array();
    for (size_t i = 0; i < sqz_session_step_count(session); i++) {
        struct step_figures figures = figures_of(bench, i, total, peak);
        const struct sqz_step_report *report = &figures.report;
        json_array_append_new(list,
                              json_pack("{s:o, s:s, s:s, s:s, s:o, s:I, s:o, s:o, s:i, s:o, s:o, s:o}", "layer",
                                        cmd_json_text(report->layer), "op", report->op, "kernel", report->kernel,
                                        "reason", report->reason, "operations", cmd_json_real(report->operations),
                                        "weight_nbytes", (json_int_t)report->weight_nbytes, "moved_nbytes",
                                        cmd_json_real(moved_nbytes(bench, report)), "density",
                                        cmd_json_real(report->density), "values", (int)report->n_values, "ms",
                                        cmd_json_real(figures.ms), "share", cmd_json_real(figures.share), "of_peak",
                                        figures.of_peak > 0 ? cmd_json_real(figures.of_peak) : json_null()));
    }
    return list;
}
