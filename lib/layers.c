/* layers.c - choosing layers by shell patterns. */
#include "lib/layers.h"

#include <fnmatch.h>
#include <stdio.h>

double sqz_layer_value_get(const struct sqz_layer_value *rules, size_t n, const char *layer, double fallback) {
    for (size_t i = n; i > 0; i--) {
        const struct sqz_layer_value *rule = &rules[i - 1];
        if (!rule->pattern || fnmatch(rule->pattern, layer, 0) == 0) return rule->value;
    }
    return fallback;
}

static bool matches_a_kernel(const struct sqz_model *model, const char *pattern) {
    for (size_t i = 0; i < model->n_weights; i++)
        if (model->weights[i].role == SQZ_ROLE_KERNEL && fnmatch(pattern, sqz_model_layer_name(model, i), 0) == 0)
            return true;
    return false;
}

/* Names of the layers with kernels, separated by ", ", as many as fit; the rest as a number. */
static void list_kernels(const struct sqz_model *model, char *text, size_t nbytes) {
    const size_t reserve = sizeof " and 18446744073709551615 more";
    size_t used = 0, left_out = 0;
    text[0] = '\0';
    for (size_t i = 0; i < model->n_weights; i++) {
        if (model->weights[i].role != SQZ_ROLE_KERNEL) continue;
        size_t room = nbytes - used - reserve;
        int length =
            left_out ? -1 : snprintf(text + used, room, "%s%s", used ? ", " : "", sqz_model_layer_name(model, i));
        if (length < 0 || (size_t)length >= room) {
            text[used] = '\0';
            left_out++;
        } else {
            used += (size_t)length;
        }
    }
    if (left_out) snprintf(text + used, nbytes - used, " and %zu more", left_out);
    if (used == 0 && left_out == 0) snprintf(text, nbytes, "none");
}

enum sqz_status sqz_layer_value_check(const struct sqz_layer_value *rules, size_t n, const struct sqz_model *model,
                                      struct sqz_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (!rules[i].pattern || matches_a_kernel(model, rules[i].pattern)) continue;
        char names[512];
        list_kernels(model, names, sizeof names);
        return sqz_fail(err, SQZ_UNKNOWN_LAYER, "no layer matches \"%.100s\"; the layers with weights are: %s",
                        rules[i].pattern, names);
    }
    return SQZ_OK;
}
