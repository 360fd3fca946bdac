/* onnx_input.c - the preprocessing that a model expects, as one line in the metadata of an ONNX file. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/onnx_export.h"

static const char *const orders[] = {
    [SQZ_CHANNELS_RGB] = "rgb", [SQZ_CHANNELS_BGR] = "bgr", [SQZ_CHANNELS_GREY] = "grey"};
static const char *const filters[] = {[SQZ_RESIZE_PIL_BILINEAR] = "pil", [SQZ_RESIZE_BILINEAR] = "bilinear"};

bool sqz_onnx_format_input(const struct sqz_input *input, char *buffer, size_t capacity) {
    const float *m = input->mean, *s = input->std;
    /* Nine significant digits give every float back. */
    int n = snprintf(buffer, capacity,
                     "order=%s filter=%s resize_short=%u squash=%d scale=%.9g mean=%.9g,%.9g,%.9g,%.9g "
                     "std=%.9g,%.9g,%.9g,%.9g",
                     orders[input->order], filters[input->filter], input->resize_short, input->squash, input->scale,
                     m[0], m[1], m[2], m[3], s[0], s[1], s[2], s[3]);
    return n > 0 && (size_t)n < capacity;
}

static int find_word(const char *const *words, int n, const char *word) {
    for (int i = 0; i < n; i++)
        if (strcmp(words[i], word) == 0) return i;
    return -1;
}

bool sqz_onnx_parse_input(const char *text, struct sqz_input *input) {
    struct sqz_input parsed = *input;
    char order[16], filter[16];
    float *m = parsed.mean, *s = parsed.std;
    unsigned squash;
    int n = sscanf(text, "order=%15s filter=%15s resize_short=%u squash=%u scale=%f mean=%f,%f,%f,%f std=%f,%f,%f,%f",
                   order, filter, &parsed.resize_short, &squash, &parsed.scale, &m[0], &m[1], &m[2], &m[3], &s[0],
                   &s[1], &s[2], &s[3]);
    if (n != 13 || squash > 1 || parsed.resize_short > UINT16_MAX || !isfinite(parsed.scale)) return false;
    int which_order = find_word(orders, 3, order), which_filter = find_word(filters, 2, filter);
    if (which_order < 0 || which_filter < 0) return false;
    for (int i = 0; i < 4; i++)
        if (!isfinite(m[i]) || !isfinite(s[i]) || s[i] == 0) return false;
    parsed.order = (enum sqz_channel_order)which_order;
    parsed.filter = (enum sqz_resize_filter)which_filter;
    parsed.squash = squash;
    *input = parsed;
    return true;
}
