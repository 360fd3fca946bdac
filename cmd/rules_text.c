/* rules_text.c - per-layer values as text. */
#include "cmd/rules_text.h"

#include <stdio.h>
#include <string.h>

const char *cmd_rules_text(const struct cmd_rules *rules, char buffer[CMD_RULES_TEXT]) {
    static const char dots[] = " ...";
    size_t used = 0, room = CMD_RULES_TEXT - sizeof dots;
    buffer[0] = '\0';
    for (size_t i = 0; i < rules->n; i++) {
        const struct sqz_layer_value *rule = &rules->rule[i];
        int length = snprintf(buffer + used, room - used, "%s%s%s%g", i ? " " : "", rule->pattern ? rule->pattern : "",
                              rule->pattern ? "=" : "", rule->value);
        if (length < 0 || (size_t)length >= room - used) {
            memcpy(buffer + used, dots, sizeof dots);
            break;
        }
        used += (size_t)length;
    }
    return buffer;
}
