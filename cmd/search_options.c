/* search_options.c - what sqz-compress and sqz-sensitivity share. */
#include "cmd/search_options.h"

#include <stdio.h>
#include <string.h>

#include "cmd/report.h"

void cmd_search_quiet(struct cmd_search_state *state) {
    cmd_progress_end(&state->progress);
    state->stage[0] = '\0';
}

static void show_progress(void *context, const char *stage, size_t done, size_t total) {
    struct cmd_search_state *state = context;
    if (strcmp(stage, state->stage) != 0) {
        cmd_search_quiet(state);
        snprintf(state->stage, sizeof state->stage, "%s", stage);
        cmd_progress_begin(&state->progress, state->common, state->stage);
        if (state->common->verbose && !state->progress.shown)
            cmd_note(state->common, "%s (%.0f s)", stage, cmd_now() - state->start);
    }
    cmd_progress_update(&state->progress, done, total);
}

static void name_bad_image(void *context, const char *name, const char *reason) {
    struct cmd_search_state *state = context;
    cmd_search_quiet(state);
    cmd_warn(state->common, "%s: %s", name, reason);
}

static int fail_on(const struct cmd_common *common, struct sqz_error *err, const char *file) {
    sqz_error_set_file(err, file);
    return cmd_failure(common, err);
}

static int measure(const struct cmd_common *common, const struct cmd_search *search,
                   const struct sqz_encode_options *encode, struct cmd_search_state *state) {
    const struct sqz_compress_options options = {
        .classic = search->method == 1,
        .levels = (enum sqz_compress_levels)search->levels,
        .n_images = (size_t)search->n_images,
        .n_probe = (size_t)search->n_probe,
        .seed = (uint64_t)search->seed,
        .lambda = search->lambda,
        .damping = search->damping,
        .per_channel = search->per_channel,
        .trellis_states = (uint32_t)search->trellis,
        .encode = *encode,
        .cache = search->cache,
        .apply_exif = search->exif,
        .progress = show_progress,
        .bad_image = name_bad_image,
        .context = state,
    };
    struct sqz_error err = {0};
    enum sqz_status status = sqz_compressor_new(state->model.model, state->calib, &options, &state->compressor, &err);
    cmd_search_quiet(state);
    /* Too few images are not a mistake on the command line. */
    if (err.status == SQZ_ARGUMENT) err.status = SQZ_BAD_IMAGE;
    if (status != SQZ_OK) return fail_on(common, &err, status == SQZ_ARGUMENT ? search->calib : state->model.path);
    struct sqz_compressor_facts facts = sqz_compressor_facts(state->compressor);
    if (common->verbose)
        cmd_note(common, "%zu images for statistics, %zu for divergences, %zu broken; %zu of %zu layers from the cache",
                 facts.n_images, facts.n_probe, facts.n_bad, facts.n_cached, facts.n_layers);
    return CMD_CONTINUE;
}

static int open_parts(const struct cmd_common *common, const struct cmd_search *search,
                      const struct sqz_encode_options *encode, const char *path, struct cmd_search_state *state) {
    int code = cmd_read_model(common, path, &search->read, &state->model);
    if (code == CMD_CONTINUE) code = cmd_preprocess_apply(common, &search->preprocess, &state->model.model->input);
    if (code != CMD_CONTINUE) return code;
    const struct sqz_dataset_options options = {.apply_exif = search->exif};
    struct sqz_error err = {0};
    if (sqz_dataset_open(search->calib, &options, &state->calib, &err) != SQZ_OK)
        return fail_on(common, &err, search->calib);
    return measure(common, search, encode, state);
}

int cmd_search_open(const struct cmd_common *common, const struct cmd_search *search,
                    const struct sqz_encode_options *encode, const char *path, struct cmd_search_state *state) {
    *state = (struct cmd_search_state){.common = common, .start = cmd_now()};
    if (!search->calib) return cmd_usage(common->command, "--calib is missing: a folder of images like those it is for");
    int code = open_parts(common, search, encode, path, state);
    if (code != CMD_CONTINUE) cmd_search_close(state);
    return code;
}

void cmd_search_close(struct cmd_search_state *state) {
    cmd_search_quiet(state);
    sqz_compressor_free(state->compressor);
    if (state->calib) sqz_dataset_close(state->calib);
    cmd_model_free(&state->model);
    *state = (struct cmd_search_state){0};
}
