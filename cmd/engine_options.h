/* engine_options.h - options of the commands that run a model: which kernels, and what of the weights stays in memory.
 */
#ifndef SQZ_CMD_ENGINE_OPTIONS_H
#define SQZ_CMD_ENGINE_OPTIONS_H

#include "eval/engine.h"

struct cmd_engine {
    int engine, resident; /* enum sqz_engine, enum sqz_resident */
};

/* Words of the lists in eval/engine.h, in their order. */
#define CMD_ENGINE_CHOICES "auto dense codebook sparse reference"
#define CMD_RESIDENT_CHOICES "auto packed dense"

static inline struct sqz_session_options cmd_session_options(const struct cmd_engine *engine, uint32_t batch) {
    return (struct sqz_session_options){
        .max_batch = batch, .engine = (enum sqz_engine)engine->engine, .resident = (enum sqz_resident)engine->resident};
}

/* Rows for an option table; e is a struct cmd_engine. */
#define CMD_ENGINE_OPTIONS(e)                                                                                          \
    {.name = "engine",                                                                                                 \
     .kind = CMD_CHOICE,                                                                                               \
     .value = "ENGINE",                                                                                                \
     .choices = CMD_ENGINE_CHOICES,                                                                                    \
     .target = &(e).engine,                                                                                            \
     .help = "What the kernels compute from: auto, the default (for each layer the fastest), dense (floats), "         \
             "codebook (shared values, unpacked in registers), sparse (what pruning left) or reference (plain "        \
             "loops)."},                                                                                               \
    {                                                                                                                  \
        .name = "resident", .kind = CMD_CHOICE, .value = "FORM", .choices = CMD_RESIDENT_CHOICES,                      \
        .target = &(e).resident,                                                                                       \
        .help = "What of the weights stays in memory: auto, the default (whatever is fastest), packed (the fewest "    \
                "bytes) or dense (floats)."                                                                            \
    }

#endif
