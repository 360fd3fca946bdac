/* bench.c - runs a model over and over on the same images and takes the time. */
#include "cmd/bench.h"

#include "cmd/process_clock.h"
#include "cmd/progress.h"
#include "eval/metrics.h"
#include "lib/memory.h"
#include "lib/parallel.h"
#include "lib/random.h"

/* Runs before the timed ones, besides the first: caches, branch predictors and the processor's clock settle in two. */
#define WARM_UP_RUNS 2

#define RANDOM_SEED 1

struct memory {
    float *input, *output;
    double *times;
};

static void free_memory(struct memory *memory) {
    sqz_free(memory->input);
    sqz_free(memory->output);
    sqz_free(memory->times);
}

static enum sqz_status allocate(const struct cmd_bench *bench, struct memory *memory, struct sqz_error *err) {
    const struct sqz_session *session = bench->subject->session;
    size_t in, out;
    *memory = (struct memory){0};
    if (!sqz_mul_size(bench->batch, sqz_session_input_count(session), &in) ||
        !sqz_mul_size(bench->batch, sqz_session_output_count(session), &out))
        return sqz_fail(err, SQZ_LIMIT, "a batch of %zu images is too large", bench->batch);
    memory->input = sqz_alloc_aligned(in, sizeof *memory->input);
    memory->output = sqz_alloc_aligned(out, sizeof *memory->output);
    memory->times = sqz_alloc(bench->runs, sizeof *memory->times);
    if (!memory->input || !memory->output || !memory->times)
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for a batch of %zu images", bench->batch);
    return SQZ_OK;
}

/* Uniform numbers of the variance that preprocessed photographs have. */
static void fill_random(float *input, size_t n) {
    struct sqz_random random = sqz_random_seeded(RANDOM_SEED);
    const double half_width = 1.7320508075688772; /* sqrt(3): variance 1 */
    for (size_t i = 0; i < n; i++) input[i] = (float)(half_width * (2 * sqz_random_unit(&random) - 1));
}

struct loading {
    const struct cmd_bench *bench;
    float *input;
    size_t stride;
    struct sqz_error *errors; /* [batch] */
};

static void load_image(void *context, size_t i, int thread) {
    (void)thread;
    const struct loading *loading = context;
    const struct cmd_bench *bench = loading->bench;
    size_t image = i % sqz_dataset_count(bench->dataset);
    sqz_dataset_load(bench->dataset, image, &bench->subject->model.model->input, loading->input + i * loading->stride,
                     &loading->errors[i]);
}

/* The first images of the set, again from its beginning when it is smaller than the batch. */
static enum sqz_status load_images(const struct cmd_bench *bench, float *input, struct sqz_error *err) {
    if (sqz_dataset_count(bench->dataset) == 0) return sqz_fail(err, SQZ_NOT_FOUND, "there are no images to run");
    struct loading loading = {.bench = bench, .input = input};
    loading.stride = sqz_session_input_count(bench->subject->session);
    loading.errors = sqz_alloc0(bench->batch, sizeof *loading.errors);
    if (!loading.errors) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    sqz_parallel_for(bench->batch, load_image, &loading);
    enum sqz_status status = SQZ_OK;
    for (size_t i = 0; status == SQZ_OK && i < bench->batch; i++)
        if (loading.errors[i].status != SQZ_OK)
            status = sqz_fail(err, loading.errors[i].status, "%s: %s",
                              sqz_dataset_name(bench->dataset, i % sqz_dataset_count(bench->dataset)),
                              loading.errors[i].text);
    sqz_free(loading.errors);
    return status;
}

static void measure(const struct cmd_bench *bench, const struct memory *memory, struct cmd_bench_times *times) {
    struct sqz_session *session = bench->subject->session;
    sqz_session_run(session, memory->input, bench->batch, memory->output);
    times->first_result_ms = 1e3 * cmd_process_seconds();
    for (int i = 0; i < WARM_UP_RUNS; i++) sqz_session_run(session, memory->input, bench->batch, memory->output);
    sqz_session_reset_profile(session);
    double start = cmd_now(), previous = start;
    for (size_t i = 0; i < bench->runs; i++) {
        sqz_session_run(session, memory->input, bench->batch, memory->output);
        double now = cmd_now();
        memory->times[i] = 1e3 * (now - previous) / (double)bench->batch;
        previous = now;
    }
    times->images_per_second = (double)(bench->runs * bench->batch) / (previous - start);
    sqz_sort_doubles(memory->times, bench->runs);
    times->min_ms = memory->times[0];
    times->median_ms = sqz_percentile(memory->times, bench->runs, 50);
    times->p95_ms = sqz_percentile(memory->times, bench->runs, 95);
    times->resident_nbytes = cmd_resident_nbytes();
    times->peak_nbytes = cmd_peak_nbytes();
}

int cmd_bench_run(const struct cmd_common *common, const struct cmd_bench *bench) {
    struct memory memory;
    struct cmd_bench_times times = {0};
    struct sqz_error err = {0};
    enum sqz_status status = allocate(bench, &memory, &err);
    if (status == SQZ_OK && bench->dataset)
        status = load_images(bench, memory.input, &err);
    else if (status == SQZ_OK)
        fill_random(memory.input, bench->batch * sqz_session_input_count(bench->subject->session));
    if (status == SQZ_OK) measure(bench, &memory, &times);
    free_memory(&memory);
    if (status != SQZ_OK) {
        sqz_error_set_file(&err, bench->dataset ? bench->dataset_path : bench->subject->model.path);
        return cmd_failure(common, &err);
    }
    if (common->json) return cmd_bench_print_json(common, bench, &times);
    cmd_bench_print_text(bench, &times);
    return CMD_DONE;
}
