/* hdf5_library.c - loads the HDF5 library with the first working file. */
#include "formats/hdf5_library.h"

#include <threads.h>

#include "lib/late_library.h"
#include "lib/library_names.h"

struct sqz_hdf5_library hdf5;

static once_flag load_once = ONCE_FLAG_INIT;
static struct sqz_error load_error;

/* The name behind hdf5.h's macros for versions of a function. */
#define TEXT_OF(text) #text
#define TEXT(text) TEXT_OF(text)

static void load(void) {
#define X(name, variable) static const hid_t *name##_address;
    SQZ_HDF5_IDENTIFIERS(X)
#undef X
    const struct sqz_late_symbol symbols[] = {
#define X(name) {TEXT(H5##name), &hdf5.name},
        SQZ_HDF5_FUNCTIONS(X)
#undef X
#define X(name, variable) {TEXT(H5##variable), &name##_address},
            SQZ_HDF5_IDENTIFIERS(X)
#undef X
    };
    if (sqz_library_load(SQZ_HDF5_LIBRARY, symbols, sizeof symbols / sizeof *symbols, "HDF5 files need", &load_error) !=
        SQZ_OK)
        return;
    /* After a write failed on a full disk, the library's exit handler walks into the file it could not close. */
    hdf5.dont_atexit();
    unsigned major = 0, minor = 0, release = 0;
    if (hdf5.open() < 0 || hdf5.get_libversion(&major, &minor, &release) < 0 || major != H5_VERS_MAJOR ||
        minor != H5_VERS_MINOR) {
        sqz_fail(&load_error, SQZ_UNSUPPORTED,
                 "the HDF5 library is version %u.%u where this program was built for %d.%d", major, minor,
                 H5_VERS_MAJOR, H5_VERS_MINOR);
        return;
    }
#define X(name, variable) hdf5.name = *name##_address;
    SQZ_HDF5_IDENTIFIERS(X)
#undef X
    hdf5.Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hdf5.PLset_loading_state(0);
}

enum sqz_status sqz_hdf5_load(struct sqz_error *err) {
    call_once(&load_once, load);
    if (load_error.status == SQZ_OK) return SQZ_OK;
    return sqz_fail(err, load_error.status, "%s", load_error.text);
}
