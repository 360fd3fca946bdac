/* late_library.h - shared libraries that are loaded when they are first needed. */
#ifndef SQZ_LIB_LATE_LIBRARY_H
#define SQZ_LIB_LATE_LIBRARY_H

#include <stddef.h>

#include "lib/status.h"

/*
 * Libraries that only some inputs or options need cost every process that is
 * linked with them: HDF5, OpenBLAS and what they bring along take 7 ms and 8 MB
 * at the start, which is longer than it takes to decode a SqueezeNet. They are
 * loaded by name instead; the build finds the names (lib/library_names.h).
 */
struct sqz_late_symbol {
    const char *name;
    void *address; /* of the pointer that receives the symbol's address */
};

/*
 * Load library `file` and find all n symbols. It stays loaded. SQZ_UNSUPPORTED, with what
 * the system says, when it is not installed or lacks a symbol; `what_for` begins the
 * sentence ("HDF5 files need").
 */
enum sqz_status sqz_library_load(const char *file, const struct sqz_late_symbol *symbols, size_t n,
                                 const char *what_for, struct sqz_error *err);

#endif
