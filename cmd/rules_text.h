/* rules_text.h - per-layer values as text, for the history that travels with a model. */
#ifndef SQZ_CMD_RULES_TEXT_H
#define SQZ_CMD_RULES_TEXT_H

#include "cmd/options.h"

/* "0.5 fc*=0.1" in buffer; cut with "..." when it does not fit. Returns buffer. */
#define CMD_RULES_TEXT 400
const char *cmd_rules_text(const struct cmd_rules *rules, char buffer[CMD_RULES_TEXT]);

#endif
