/* kernel_problems.c - one layer with its data, run through single kernels on memory that ends at a guard page. */
#include "tests/unit/kernel_problems.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "eval/weight_facts.h"
#include "lib/memory.h"
#include "tests/unit/random_nets.h"

/* ---- guarded memory ------------------------------------------------------------------- */

/* Every range that is mapped, to be found again by the floats in it. Tests run one problem at a time. */
#define MOST_RANGES 64
static struct range {
    float *floats;
    char *memory;
    size_t nbytes;
} ranges[MOST_RANGES];

/* The floats lie up to the end of a page, and the next one cannot be touched. */
float *guarded_floats(size_t n) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), nbytes = n * sizeof(float), i = 0;
    while (i < MOST_RANGES && ranges[i].memory) i++;
    ck_assert_uint_lt(i, MOST_RANGES);
    ranges[i].nbytes = sqz_round_up(nbytes ? nbytes : 1, page) + page;
    ranges[i].memory = mmap(NULL, ranges[i].nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(ranges[i].memory != MAP_FAILED);
    char *end = ranges[i].memory + ranges[i].nbytes - page;
    ck_assert_int_eq(mprotect(end, page, PROT_NONE), 0);
    return ranges[i].floats = (float *)(end - nbytes);
}

void guarded_free(float *p) {
    size_t i = 0;
    if (!p) return;
    while (i < MOST_RANGES && (!ranges[i].memory || ranges[i].floats != p)) i++;
    ck_assert_uint_lt(i, MOST_RANGES);
    munmap(ranges[i].memory, ranges[i].nbytes);
    ranges[i] = (struct range){0};
}

float *random_guarded(size_t n, float spread, uint64_t *random) {
    float *p = guarded_floats(n);
    for (size_t i = 0; i < n; i++) p[i] = spread * random_unit(random);
    return p;
}

/* ---- problems --------------------------------------------------------------------------- */

void kernel_problem_fill(struct kernel_problem *problem, enum sqz_op op, struct sqz_shape out) {
    problem->layer.op = op;
    problem->layer.in = problem->in_shape;
    problem->layer.out = out;
    problem->layer.max_batch = 1;
    problem->layer.weights.density = 1;
    sqz_layer_set_sizes(&problem->layer);
}

void kernel_problem_free(struct kernel_problem *problem) {
    guarded_free(problem->in[0]);
    guarded_free(problem->in[1]);
    guarded_free(problem->kernel);
    guarded_free(problem->bias);
    sqz_packed_free(problem->packed);
}

void kernel_problem_pack(struct kernel_problem *problem, struct sqz_packed *packed, size_t first_dim) {
    const struct sqz_weight weight = {.count = packed->n_levels, .packed = packed};
    problem->packed = packed;
    problem->kernel = guarded_floats(packed->n_levels);
    sqz_packed_unpack(packed, first_dim, problem->kernel);
    problem->layer.weights = sqz_weight_facts_of(&weight);
}

/* ---- running one kernel --------------------------------------------------------------------- */

static size_t shape_count(const struct sqz_shape *shape) {
    size_t count;
    ck_assert(sqz_shape_count(shape, &count));
    return count;
}

static size_t area_of(const struct sqz_shape *shape) {
    return shape->rank == 4 ? (size_t)(shape->dim[2] * shape->dim[3]) : 1;
}

/* A plain value in the layout of a kernel; lanes that do not exist hold NaN, which must not spread. */
static float *to_layout(const float *plain, const struct sqz_shape *shape, enum sqz_layout layout, size_t lanes) {
    size_t n = shape_count(shape), area = area_of(shape), channels = (size_t)shape->dim[1];
    if (layout == SQZ_LAYOUT_PLAIN || layout == SQZ_LAYOUT_ANY || layout == SQZ_LAYOUT_BATCH) {
        float *copy = guarded_floats(n); /* a batch of one is plain; its last block may end early */
        memcpy(copy, plain, n * sizeof *copy);
        return copy;
    }
    float *out = guarded_floats(sqz_round_up(channels, lanes) * area);
    for (size_t c = 0; c < sqz_round_up(channels, lanes); c++)
        for (size_t i = 0; i < area; i++)
            out[(c / lanes * area + i) * lanes + c % lanes] = c < channels ? plain[c * area + i] : NAN;
    return out;
}

static float *from_layout(const float *from, const struct sqz_shape *shape, enum sqz_layout layout, size_t lanes) {
    size_t area = area_of(shape), channels = (size_t)shape->dim[1];
    float *plain = guarded_floats(shape_count(shape));
    if (layout != SQZ_LAYOUT_BLOCKED) {
        memcpy(plain, from, shape_count(shape) * sizeof *plain);
        return plain;
    }
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < area; i++) plain[c * area + i] = from[(c / lanes * area + i) * lanes + c % lanes];
    return plain;
}

static void pack_all(const struct sqz_kernel *kernel, const struct sqz_layer *layer,
                     const struct kernel_problem *problem, float *weights) {
    float values[SQZ_MOST_VALUES];
    struct sqz_weight_values from = {.kernel = problem->kernel, .bias = problem->bias};
    if (kernel->form == SQZ_FORM_CODEBOOK) {
        sqz_weight_table(problem->packed, &layer->weights, values);
        from.kernel = NULL;
        from.levels = problem->packed->levels;
        from.values = values;
        from.steps = layer->weights.has_steps ? problem->packed->steps : NULL;
    }
    for (size_t i = layer->pack_items; i-- > 0;) kernel->pack(layer, &from, weights, i);
}

/* Memory as the session gives it: it begins on a cache line, so its size is one of whole lines here. */
static float *scratch(size_t n) {
    return guarded_floats(sqz_round_up(n, 16));
}

float *run_kernel(const struct sqz_kernel *kernel, const struct kernel_problem *problem) {
    struct sqz_layer layer = problem->layer;
    if (kernel->form == SQZ_FORM_CODEBOOK && !problem->packed) return NULL;
    if (!kernel->prepare(&layer)) return NULL;
    size_t lanes = kernel->lanes, out_count = shape_count(&layer.out);
    const float *in[2];
    for (size_t k = 0; k < layer.n_inputs; k++)
        in[k] = to_layout(problem->in[k], &problem->in_shape[k], kernel->in, lanes);
    if (kernel->out == SQZ_LAYOUT_BLOCKED)
        out_count = sqz_round_up((size_t)layer.out.dim[1], lanes) * area_of(&layer.out);
    if (kernel->out == SQZ_LAYOUT_BATCH) out_count = sqz_round_up(out_count, lanes);
    layer.flat_count = out_count;
    float *weights = guarded_floats(layer.weight_count), *shared = scratch(layer.shared_count);
    float *local = scratch(layer.local_count), *out = guarded_floats(out_count);
    if (problem->kernel) pack_all(kernel, &layer, problem, weights);
    struct sqz_io io = {.in = in, .out = out, .weights = weights, .shared = shared, .images = 1};
    for (unsigned phase = 0; phase < layer.n_phases; phase++)
        for (size_t i = layer.items[phase]; i-- > 0;) kernel->run(&layer, &io, phase, i, local);
    float *plain = from_layout(out, &layer.out, kernel->out, lanes);
    for (size_t k = 0; k < layer.n_inputs; k++) guarded_free((float *)in[k]);
    guarded_free(weights);
    guarded_free(shared);
    guarded_free(local);
    guarded_free(out);
    return plain;
}

/* ---- comparing -------------------------------------------------------------------------------- */

bool can_run(const struct sqz_kernel *kernel) {
    return kernel->isa <= sqz_isa_detect();
}

/* How often each kernel took a problem, so that a kernel that declines everything does not pass unseen. */
static size_t taken[128];

/*
 * Bound on the difference. A float sum of n products of magnitude 1/sqrt(n)
 * errs by about 2^-24 * sqrt(n); with n <= 15,000 here that is under 1e-5. The
 * transforms of Winograd's F(4x4,3x3) multiply by up to 8 * 8 and cost about
 * one decimal more.
 */
static double tolerance(const struct sqz_kernel *kernel) {
    return strstr(kernel->name, "winograd") ? 1e-4 : 2e-5;
}

void compare_kernels_with(const struct kernel_problem *problem, float *wanted) {
    size_t n = shape_count(&problem->layer.out);
    for (size_t i = 0; i < sqz_n_kernels; i++) {
        const struct sqz_kernel *kernel = sqz_kernels[i];
        if (!can_run(kernel) || kernel->pools != problem->layer.pooled) continue;
        float *got = run_kernel(kernel, problem);
        if (!got) continue;
        taken[i]++;
        double bound = tolerance(kernel);
        for (size_t k = 0; k < n; k++) {
            double difference = fabs((double)got[k] - (double)wanted[k]);
            char shape[SQZ_SHAPE_TEXT];
            ck_assert_msg(difference <= bound * fmax(1, fabs((double)wanted[k])),
                          "%s of %s, output %zu of %zu: %.9g instead of %.9g", kernel->name,
                          sqz_shape_format(&problem->in_shape[0], shape), k, n, (double)got[k], (double)wanted[k]);
        }
        guarded_free(got);
    }
    guarded_free(wanted);
}

void compare_kernels(const struct kernel_problem *problem) {
    float *wanted = run_kernel(&sqz_kernel_reference_scalar, problem);
    ck_assert_ptr_nonnull(wanted);
    compare_kernels_with(problem, wanted);
}

void assert_taken(const char *name) {
    char full[64];
    for (size_t i = 0; i < sqz_n_kernels; i++) {
        snprintf(full, sizeof full, "%s_%s", name, sqz_isa_name(sqz_kernels[i]->isa));
        if (strcmp(sqz_kernels[i]->name, full) == 0 && can_run(sqz_kernels[i]))
            ck_assert_msg(taken[i] > 0, "%s took no problem", sqz_kernels[i]->name);
    }
}
