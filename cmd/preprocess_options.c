/* preprocess_options.c - applies the preprocessing options to an input description. */
#include "cmd/preprocess_options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Beyond any image a net is fed; keeps the products of shape inference meaningful. */
#define MAX_SIDE 16384

static bool parse_side(const char *text, char **end, uint32_t *out) {
    if (*text < '0' || *text > '9') return false;
    unsigned long v = strtoul(text, end, 10);
    if (v == 0 || v > MAX_SIDE) return false;
    *out = (uint32_t)v;
    return true;
}

static int apply_resize(const struct cmd_common *common, const char *text, struct sqz_input *input) {
    input->squash = strcmp(text, "squash") == 0;
    input->resize_short = 0;
    if (input->squash || strcmp(text, "none") == 0) return CMD_CONTINUE;
    char *end;
    if (parse_side(text, &end, &input->resize_short) && *end == '\0') return CMD_CONTINUE;
    return cmd_usage(common->command, "--resize %s: must be a side from 1 to %d, none or squash", text, MAX_SIDE);
}

static int apply_crop(const struct cmd_common *common, const char *text, struct sqz_input *input) {
    char *end;
    bool good = parse_side(text, &end, &input->height);
    input->width = input->height;
    if (good && *end == 'x') good = parse_side(end + 1, &end, &input->width);
    if (good && *end == '\0') return CMD_CONTINUE;
    return cmd_usage(common->command, "--crop %s: must be a side from 1 to %d, or HEIGHTxWIDTH", text, MAX_SIDE);
}

static int apply_scale(const struct cmd_common *common, const char *text, struct sqz_input *input) {
    char *end;
    double value = strtod(text, &end), divisor = 1;
    bool good = end != text;
    if (good && *end == '/') {
        const char *second = end + 1;
        divisor = strtod(second, &end);
        good = end != second && divisor != 0;
    }
    input->scale = (float)(value / divisor);
    if (good && *end == '\0' && isfinite(input->scale) && input->scale != 0) return CMD_CONTINUE;
    return cmd_usage(common->command, "--scale %s: not a number or a fraction of two", text);
}

static int apply_list(const struct cmd_common *common, const char *name, const struct cmd_reals *list,
                      uint32_t channels, float *out) {
    if (list->n == 0) return CMD_CONTINUE;
    if (list->n != 1 && list->n != channels)
        return cmd_usage(common->command, "--%s: %zu values for %u channels", name, list->n, channels);
    for (uint32_t c = 0; c < channels && c < 4; c++) out[c] = list->value[list->n == 1 ? 0 : c];
    return CMD_CONTINUE;
}

int cmd_preprocess_apply(const struct cmd_common *common, const struct cmd_preprocess *options,
                         struct sqz_input *input) {
    if (options->preset && !sqz_input_preset(options->preset, input))
        return cmd_usage(common->command, "--preprocess %s: must be one of: torchvision caffe fashion-mnist raw",
                         options->preset);
    int code = CMD_CONTINUE;
    if (options->resize) code = apply_resize(common, options->resize, input);
    if (code == CMD_CONTINUE && options->crop) code = apply_crop(common, options->crop, input);
    if (code == CMD_CONTINUE && options->scale) code = apply_scale(common, options->scale, input);
    if (code == CMD_CONTINUE) code = apply_list(common, "mean", &options->mean, input->channels, input->mean);
    if (code == CMD_CONTINUE) code = apply_list(common, "std", &options->std, input->channels, input->std);
    if (code != CMD_CONTINUE) return code;
    for (size_t c = 0; c < options->std.n; c++)
        if (options->std.value[c] == 0) return cmd_usage(common->command, "--std: zero cannot be divided by");
    if (options->filter_given) input->filter = (enum sqz_resize_filter)options->filter;
    if (!options->order_given) return CMD_CONTINUE;
    bool grey = options->order == SQZ_CHANNELS_GREY;
    if (grey != (input->channels == 1))
        return cmd_usage(common->command, "--order: does not fit a net with %u input channels", input->channels);
    input->order = (enum sqz_channel_order)options->order;
    return CMD_CONTINUE;
}
