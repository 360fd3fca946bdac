/* bench_report.c - what sqz-eval --bench prints. */
#include "cmd/bench.h"
#include "lib/parallel.h"

static const char *input_text(const struct cmd_bench *bench) {
    return bench->dataset ? sqz_dataset_description(bench->dataset) : "random numbers";
}

void cmd_bench_print_text(const struct cmd_bench *bench, const struct cmd_bench_times *times) {
    const struct cmd_subject *subject = bench->subject;
    const struct sqz_session *session = subject->session;
    printf("model        %s: %s, %s\n", subject->model.path, subject->model.model->arch, subject->stage);
    printf("bytes        %zu in the file, %zu as float32, %zu of weights in memory, %zu with activations\n",
           subject->model.file_nbytes, subject->float_nbytes, sqz_session_weight_nbytes(session),
           sqz_session_nbytes(session));
    printf("input        %s\n", input_text(bench));
    printf("run          %zu times %zu images (%d threads, %s)\n", bench->runs, bench->batch, sqz_threads(),
           sqz_isa_name(sqz_isa_detect()));
    if (bench->timed) {
        printf("per image    %.3f ms minimum, %.3f ms median, %.3f ms 95th percentile\n", times->min_ms,
               times->median_ms, times->p95_ms);
        printf("throughput   %.1f images per second\n", times->images_per_second);
        printf("start        %.1f ms to decode, %.1f ms from the start of the process to the first result\n",
               subject->decode_ms, times->first_result_ms);
        printf("memory       %.1f MB resident, %.1f MB at the peak\n", (double)times->resident_nbytes / 1e6,
               (double)times->peak_nbytes / 1e6);
    }
    if (bench->explain) cmd_explain_print_text(bench);
}

static void add_times(json_t *json, const struct cmd_bench *bench, const struct cmd_bench_times *times) {
    json_t *more =
        json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "runs", (json_int_t)bench->runs, "first_result_ms",
                  cmd_json_real(times->first_result_ms), "min_ms", cmd_json_real(times->min_ms), "median_ms",
                  cmd_json_real(times->median_ms), "p95_ms", cmd_json_real(times->p95_ms), "images_per_second",
                  cmd_json_real(times->images_per_second), "resident_nbytes", (json_int_t)times->resident_nbytes,
                  "peak_nbytes", (json_int_t)times->peak_nbytes);
    json_object_update(json, more);
    json_decref(more);
}

int cmd_bench_print_json(const struct cmd_common *common, const struct cmd_bench *bench,
                         const struct cmd_bench_times *times) {
    const struct cmd_subject *subject = bench->subject;
    json_t *json = json_pack(
        "{s:o, s:o, s:s, s:I, s:I, s:o, s:I, s:I, s:o, s:I, s:i, s:s, s:o}", "model",
        cmd_json_text(subject->model.path), "arch", cmd_json_text(subject->model.model->arch), "stage", subject->stage,
        "file_nbytes", (json_int_t)subject->model.file_nbytes, "float_nbytes", (json_int_t)subject->float_nbytes,
        "ratio", cmd_json_real(cmd_ratio(subject->float_nbytes, subject->model.file_nbytes)), "weight_nbytes",
        (json_int_t)sqz_session_weight_nbytes(subject->session), "session_nbytes",
        (json_int_t)sqz_session_nbytes(subject->session), "decode_ms", cmd_json_real(subject->decode_ms), "batch",
        (json_int_t)bench->batch, "threads", sqz_threads(), "isa", sqz_isa_name(sqz_isa_detect()), "input",
        cmd_json_text(input_text(bench)));
    if (json && bench->timed) add_times(json, bench, times);
    if (json && bench->explain) json_object_set_new(json, "plan", cmd_explain_json(bench));
    return cmd_json_print(common, json, stdout);
}
