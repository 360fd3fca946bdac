/* late_library.c - shared libraries that are loaded when they are first needed. */
#include "lib/late_library.h"

#include <dlfcn.h>
#include <string.h>

enum sqz_status sqz_library_load(const char *file, const struct sqz_late_symbol *symbols, size_t n,
                                 const char *what_for, struct sqz_error *err) {
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) return sqz_fail(err, SQZ_UNSUPPORTED, "%s a library that cannot be loaded: %s", what_for, dlerror());
    for (size_t i = 0; i < n; i++) {
        /* A program that is linked with the library itself may hold copies of its variables, which then count. */
        void *address = dlsym(RTLD_DEFAULT, symbols[i].name);
        if (!address) address = dlsym(library, symbols[i].name);
        if (!address)
            return sqz_fail(err, SQZ_UNSUPPORTED, "%s %s with %s, which it lacks", what_for, file, symbols[i].name);
        /* Pointers to data and to functions have the same form where dlsym() exists. */
        memcpy(symbols[i].address, &address, sizeof address);
    }
    return SQZ_OK;
}
