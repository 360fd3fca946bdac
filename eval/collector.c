/*
 * collector.c - moments of a layer's inputs over the calibration images, layer after layer.
 *
 * Each net has a stream: the values of all images at one node, a cut, from
 * which everything behind it can be computed. The first cut is the input. A
 * layer's input that is a cut itself becomes the new one when it fits
 * into the memory allowed.
 */
#include <string.h>

#include "eval/calibrate.h"
#include "eval/columns.h"
#include "eval/engine.h"
#include "eval/model_part.h"
#include "lib/infer.h"
#include "lib/parallel.h"

/* Images run at a time, and the floats of their values beyond which it is fewer: 64 MB. */
#define BATCH 16
#define BATCH_FLOATS ((size_t)1 << 24)

/* Columns added to the moments at a time: enough for an efficient product, at most 64 MB. */
#define COLUMNS 2048
#define COLUMN_FLOATS ((size_t)1 << 24)

/* The values of all images at node `start`. */
struct stream {
    uint32_t start;
    const float *values; /* [n_images][count] */
    size_t count;
    float *owned; /* the same pointer, or NULL while they are the images themselves */
};

struct sqz_collector {
    const struct sqz_calibration *calibration;
    const struct sqz_model *reference;
    struct sqz_collector_options options;
    struct sqz_shape *shapes;
    bool *live, *cut;
    struct stream streams[2]; /* of the float net and of the compressed one */
};

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory to collect a layer's moments");
}

/* ---- streams ------------------------------------------------------------------ */

static void stream_reset(const struct sqz_collector *collector, struct stream *stream) {
    sqz_free(stream->owned);
    *stream = (struct stream){0, collector->calibration->images, collector->calibration->image_count, NULL};
}

/* What turns a stream's values into those of the node asked for. */
struct source {
    struct stream *stream;
    struct sqz_session *session; /* NULL: the stream's values are those of the node */
    size_t count;                /* floats of the node's value */
    size_t batch;
    float *batch_values; /* [batch][count]; NULL when `kept` or the stream's values are used */
    float *kept;         /* [n_images][count] what becomes the stream's values at the end; or NULL */
};

static size_t stream_nbytes(const struct sqz_collector *collector) {
    size_t nbytes = 0;
    for (int s = 0; s < 2; s++)
        if (collector->streams[s].owned)
            nbytes += collector->streams[s].count * collector->calibration->n_images * sizeof(float);
    return nbytes;
}

static bool worth_keeping(const struct sqz_collector *collector, uint32_t node, size_t count, int n_streams) {
    size_t nbytes;
    if (!collector->live[node] || !collector->cut[node]) return false;
    if (!sqz_mul_size(count * sizeof(float), collector->calibration->n_images * (size_t)n_streams, &nbytes))
        return false;
    size_t limit = collector->options.cache_nbytes;
    return nbytes <= limit && nbytes <= limit - (stream_nbytes(collector) < limit ? stream_nbytes(collector) : limit);
}

static void source_end(struct source *source) {
    sqz_session_free(source->session);
    sqz_free(source->batch_values);
    sqz_free(source->kept);
}

/* source_end() in every case. */
static enum sqz_status source_begin(const struct sqz_collector *collector, const struct sqz_model *model,
                                    struct stream *stream, uint32_t node, bool live, bool keep, struct source *source,
                                    struct sqz_error *err) {
    *source = (struct source){.stream = stream, .batch = BATCH};
    if (!sqz_shape_count(&collector->shapes[node], &source->count)) return no_memory(err);
    if (source->count > BATCH_FLOATS / BATCH)
        source->batch = BATCH_FLOATS / source->count > 0 ? BATCH_FLOATS / source->count : 1;
    if (node < stream->start || !live) stream_reset(collector, stream);
    if (node == stream->start) return SQZ_OK;
    struct sqz_model *part;
    SQZ_TRY(sqz_part_new(model, collector->shapes, stream->start, node, &part, err));
    if (stream->start == 0) part->input = collector->calibration->input;
    const struct sqz_session_options options = {.max_batch = (uint32_t)source->batch};
    enum sqz_status status = sqz_session_new(part, &options, &source->session, err);
    sqz_part_free(part);
    if (status != SQZ_OK) return status;
    size_t images = keep ? collector->calibration->n_images : source->batch, total;
    float *values = sqz_mul_size(images, source->count, &total) ? sqz_alloc_aligned(total, sizeof *values) : NULL;
    if (!values) return no_memory(err);
    if (keep)
        source->kept = values;
    else
        source->batch_values = values;
    return SQZ_OK;
}

/* Values of images [begin, begin + n). */
static const float *source_run(struct source *source, size_t begin, size_t n) {
    const float *in = source->stream->values + begin * source->stream->count;
    if (!source->session) return in;
    float *out = source->kept ? source->kept + begin * source->count : source->batch_values;
    sqz_session_run(source->session, in, n, out);
    return out;
}

/* Everything was run: what was kept becomes the stream. */
static void source_keep(struct source *source, uint32_t node) {
    if (!source->kept) return;
    sqz_free(source->stream->owned);
    *source->stream = (struct stream){node, source->kept, source->count, source->kept};
    source->kept = NULL;
}

/* ---- columns ------------------------------------------------------------------ */

struct gathering {
    const struct sqz_collector *collector;
    size_t node;
    struct sqz_columns columns;
    size_t length;      /* floats of one column, all groups */
    size_t per_image;   /* positions */
    size_t capacity, n; /* columns that fit, and that are there */
    float *memory[2];   /* [capacity][length] of the float net and of the compressed one */
    size_t *positions;  /* [BATCH][per_image] */
    /* The batch that is being gathered: */
    const float *values[2];
    size_t counts[2];
    size_t first_image;
    int n_nets;
};

/* Different streams of random numbers for each layer and image; the factors are those of splitmix64. */
static uint64_t position_seed(const struct gathering *gathering, size_t image) {
    return gathering->collector->options.seed ^ (uint64_t)(gathering->node + 1) * UINT64_C(0xbf58476d1ce4e5b9) ^
           (uint64_t)(image + 1) * UINT64_C(0x94d049bb133111eb);
}

static void gather_image(void *context, size_t i, int thread) {
    (void)thread;
    struct gathering *gathering = context;
    size_t *positions = gathering->positions + i * gathering->per_image;
    sqz_columns_sample(&gathering->columns, position_seed(gathering, gathering->first_image + i), gathering->per_image,
                       positions);
    for (int s = 0; s < gathering->n_nets; s++)
        sqz_columns_gather(&gathering->columns, gathering->values[s] + i * gathering->counts[s], positions,
                           gathering->per_image,
                           gathering->memory[s] + (gathering->n + i * gathering->per_image) * gathering->length);
}

static enum sqz_status flush(struct gathering *gathering, struct sqz_moments *moments, struct sqz_error *err) {
    bool paired = gathering->n_nets == 2;
    enum sqz_status status = sqz_moments_add(moments, gathering->memory[paired ? 1 : 0],
                                             paired ? gathering->memory[0] : NULL, gathering->n, err);
    gathering->n = 0;
    if (status != SQZ_NONFINITE) return status;
    return sqz_fail(err, status, "layer %s: a value of its input on the calibration images is NaN or infinite",
                    gathering->collector->reference->nodes[gathering->node].name);
}

static enum sqz_status gather_begin(struct gathering *gathering, size_t batch, struct sqz_error *err) {
    const struct sqz_collector *collector = gathering->collector;
    SQZ_TRY(sqz_columns_of(collector->reference, collector->shapes, gathering->node, &gathering->columns, err));
    gathering->length = gathering->columns.n_groups * gathering->columns.n_inputs;
    gathering->per_image = gathering->columns.out_h * gathering->columns.out_w;
    if (gathering->per_image > collector->options.positions_per_image)
        gathering->per_image = collector->options.positions_per_image;
    size_t least = batch * gathering->per_image, count;
    gathering->capacity = COLUMN_FLOATS / gathering->length < COLUMNS ? COLUMN_FLOATS / gathering->length : COLUMNS;
    if (gathering->capacity < least) gathering->capacity = least;
    gathering->positions = sqz_alloc(least, sizeof *gathering->positions);
    if (!gathering->positions || !sqz_mul_size(gathering->capacity, gathering->length, &count)) return no_memory(err);
    for (int s = 0; s < gathering->n_nets; s++) {
        gathering->memory[s] = sqz_alloc_aligned(count, sizeof *gathering->memory[s]);
        if (!gathering->memory[s]) return no_memory(err);
    }
    return SQZ_OK;
}

static void gather_end(struct gathering *gathering) {
    sqz_free(gathering->memory[0]);
    sqz_free(gathering->memory[1]);
    sqz_free(gathering->positions);
}

static enum sqz_status add_all(struct gathering *gathering, struct source *sources, struct sqz_moments *moments,
                               struct sqz_error *err) {
    size_t n_images = gathering->collector->calibration->n_images, batch = sources[0].batch;
    for (size_t begin = 0; begin < n_images; begin += batch) {
        size_t n = n_images - begin < batch ? n_images - begin : batch;
        if (gathering->n + n * gathering->per_image > gathering->capacity) SQZ_TRY(flush(gathering, moments, err));
        for (int s = 0; s < gathering->n_nets; s++) {
            gathering->values[s] = source_run(&sources[s], begin, n);
            gathering->counts[s] = sources[s].count;
        }
        gathering->first_image = begin;
        sqz_parallel_for(n, gather_image, gathering);
        gathering->n += n * gathering->per_image;
    }
    SQZ_TRY(flush(gathering, moments, err));
    return sqz_moments_finish(moments, err);
}

/* ---- public ------------------------------------------------------------------- */

enum sqz_status sqz_collector_new(const struct sqz_calibration *calibration, const struct sqz_model *reference,
                                  const struct sqz_collector_options *options, struct sqz_collector **out,
                                  struct sqz_error *err) {
    *out = NULL;
    struct sqz_collector *collector = sqz_alloc0(1, sizeof *collector);
    if (!collector) return no_memory(err);
    collector->calibration = calibration;
    collector->reference = reference;
    collector->options = *options;
    if (options->positions_per_image == 0) collector->options.positions_per_image = SQZ_DEFAULT_POSITIONS;
    if (options->cache_nbytes == 0) collector->options.cache_nbytes = SQZ_DEFAULT_CACHE;
    for (int s = 0; s < 2; s++) stream_reset(collector, &collector->streams[s]);
    collector->shapes = sqz_alloc(reference->n_nodes, sizeof *collector->shapes);
    collector->live = sqz_alloc(reference->n_nodes, sizeof *collector->live);
    collector->cut = sqz_alloc(reference->n_nodes, sizeof *collector->cut);
    enum sqz_status status = SQZ_OK;
    if (!collector->shapes || !collector->live || !collector->cut) status = no_memory(err);
    if (status == SQZ_OK)
        status =
            sqz_infer_shapes(reference, 1, calibration->input.height, calibration->input.width, collector->shapes, err);
    if (status != SQZ_OK) {
        sqz_collector_free(collector);
        return status;
    }
    sqz_part_cuts(reference, collector->shapes, collector->live, collector->cut);
    *out = collector;
    return SQZ_OK;
}

enum sqz_status sqz_collector_moments(struct sqz_collector *collector, const struct sqz_model *compressed, size_t node,
                                      struct sqz_moments **out, struct sqz_error *err) {
    *out = NULL;
    const struct sqz_model *models[2] = {collector->reference, compressed};
    struct gathering gathering = {.collector = collector, .node = node, .n_nets = compressed ? 2 : 1};
    uint32_t input = collector->reference->nodes[node].inputs[0];
    struct source sources[2] = {{0}, {0}};
    struct sqz_moments *moments = NULL;
    size_t count = 0;
    sqz_shape_count(&collector->shapes[input], &count);
    bool live = collector->live[node], keep = live && worth_keeping(collector, input, count, gathering.n_nets);
    enum sqz_status status = SQZ_OK;
    for (int s = 0; status == SQZ_OK && s < gathering.n_nets; s++)
        status = source_begin(collector, models[s], &collector->streams[s], input, live, keep, &sources[s], err);
    if (status == SQZ_OK) status = gather_begin(&gathering, sources[0].batch, err);
    if (status == SQZ_OK)
        status = sqz_moments_new(gathering.columns.n_groups, gathering.columns.n_inputs, compressed != NULL,
                                 collector->options.max_inputs, &moments, err);
    if (status == SQZ_OK) status = add_all(&gathering, sources, moments, err);
    for (int s = 0; s < gathering.n_nets; s++) {
        if (status == SQZ_OK) source_keep(&sources[s], input);
        source_end(&sources[s]);
    }
    gather_end(&gathering);
    if (status != SQZ_OK) {
        sqz_moments_free(moments);
        return status;
    }
    *out = moments;
    return SQZ_OK;
}

void sqz_collector_rewind(struct sqz_collector *collector) {
    for (int s = 0; s < 2; s++) stream_reset(collector, &collector->streams[s]);
}

void sqz_collector_free(struct sqz_collector *collector) {
    if (!collector) return;
    for (int s = 0; s < 2; s++) sqz_free(collector->streams[s].owned);
    sqz_free(collector->shapes);
    sqz_free(collector->live);
    sqz_free(collector->cut);
    sqz_free(collector);
}
