/* engine_names.c - the engines and residences by name. */
#include <string.h>

#include "eval/engine.h"

static const char *const engines[] = {
#define X(code, name) name,
    SQZ_ENGINE_LIST(X)
#undef X
};

static const char *const residents[] = {
#define X(code, name) name,
    SQZ_RESIDENT_LIST(X)
#undef X
};

const char *sqz_engine_name(enum sqz_engine engine) {
    return engines[engine];
}

const char *sqz_resident_name(enum sqz_resident resident) {
    return residents[resident];
}

/* Index of a name in a list, n when it is not there. */
static int find(const char *name, const char *const *list, int n) {
    int i = 0;
    while (i < n && strcmp(name, list[i]) != 0) i++;
    return i;
}

bool sqz_engine_by_name(const char *name, enum sqz_engine *engine) {
    int i = find(name, engines, SQZ_N_ENGINES);
    if (i < SQZ_N_ENGINES) *engine = (enum sqz_engine)i;
    return i < SQZ_N_ENGINES;
}

bool sqz_resident_by_name(const char *name, enum sqz_resident *resident) {
    int i = find(name, residents, SQZ_N_RESIDENTS);
    if (i < SQZ_N_RESIDENTS) *resident = (enum sqz_resident)i;
    return i < SQZ_N_RESIDENTS;
}
