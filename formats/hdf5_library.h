/* hdf5_library.h - the functions of the HDF5 library, loaded with the first working file. Included instead of hdf5.h.
 */
#ifndef SQZ_FORMATS_HDF5_LIBRARY_H
#define SQZ_FORMATS_HDF5_LIBRARY_H

#include <hdf5.h>

#include "lib/status.h"

/* hdf5.h puts calls in front of some constants that initialise the library and hold its version; sqz_hdf5_load() does.
 */
#undef H5OPEN
#define H5OPEN
#undef H5CHECK
#define H5CHECK

/* X(name): function H5name. */
#define SQZ_HDF5_FUNCTIONS(X)                                                                                          \
    X(open)                                                                                                            \
    X(dont_atexit)                                                                                                     \
    X(get_libversion)                                                                                                  \
    X(Aclose)                                                                                                          \
    X(Acreate2)                                                                                                        \
    X(Aexists)                                                                                                         \
    X(Aget_space)                                                                                                      \
    X(Aget_type)                                                                                                       \
    X(Aopen)                                                                                                           \
    X(Aread)                                                                                                           \
    X(Awrite)                                                                                                          \
    X(Dclose)                                                                                                          \
    X(Dcreate2)                                                                                                        \
    X(Dget_create_plist)                                                                                               \
    X(Dget_space)                                                                                                      \
    X(Dget_storage_size)                                                                                               \
    X(Dget_type)                                                                                                       \
    X(Dopen2)                                                                                                          \
    X(Dread)                                                                                                           \
    X(Dwrite)                                                                                                          \
    X(Eset_auto2)                                                                                                      \
    X(Fclose)                                                                                                          \
    X(Fcreate)                                                                                                         \
    X(Fopen)                                                                                                           \
    X(Gclose)                                                                                                          \
    X(Gcreate2)                                                                                                        \
    X(Gopen2)                                                                                                          \
    X(Lexists)                                                                                                         \
    X(Lget_info)                                                                                                       \
    X(PLset_loading_state)                                                                                             \
    X(Pclose)                                                                                                          \
    X(Pcreate)                                                                                                         \
    X(Pget_external_count)                                                                                             \
    X(Pget_layout)                                                                                                     \
    X(Pset_fclose_degree)                                                                                              \
    X(Pset_file_locking)                                                                                               \
    X(Pset_fill_time)                                                                                                  \
    X(Pset_layout)                                                                                                     \
    X(Pset_libver_bounds)                                                                                              \
    X(Pset_obj_track_times)                                                                                            \
    X(Sclose)                                                                                                          \
    X(Screate)                                                                                                         \
    X(Screate_simple)                                                                                                  \
    X(Sget_simple_extent_dims)                                                                                         \
    X(Sget_simple_extent_ndims)                                                                                        \
    X(Sget_simple_extent_npoints)                                                                                      \
    X(Sget_simple_extent_type)                                                                                         \
    X(Tclose)                                                                                                          \
    X(Tcopy)                                                                                                           \
    X(Tequal)                                                                                                          \
    X(Tget_class)                                                                                                      \
    X(Tget_size)                                                                                                       \
    X(Tset_cset)                                                                                                       \
    X(Tset_size)                                                                                                       \
    X(Tset_strpad)

/* X(name, variable): the identifier that hdf5.h calls H5name stands in H5variable once the library is open. */
#define SQZ_HDF5_IDENTIFIERS(X)                                                                                        \
    X(P_DATASET_CREATE, P_CLS_DATASET_CREATE_ID_g)                                                                     \
    X(P_FILE_ACCESS, P_CLS_FILE_ACCESS_ID_g)                                                                           \
    X(P_FILE_CREATE, P_CLS_FILE_CREATE_ID_g)                                                                           \
    X(P_GROUP_CREATE, P_CLS_GROUP_CREATE_ID_g)                                                                         \
    X(T_C_S1, T_C_S1_g)                                                                                                \
    X(T_IEEE_F32BE, T_IEEE_F32BE_g)                                                                                    \
    X(T_IEEE_F32LE, T_IEEE_F32LE_g)                                                                                    \
    X(T_NATIVE_FLOAT, T_NATIVE_FLOAT_g)                                                                                \
    X(T_NATIVE_INT, T_NATIVE_INT_g)                                                                                    \
    X(T_NATIVE_INT16, T_NATIVE_INT16_g)                                                                                \
    X(T_NATIVE_UINT8, T_NATIVE_UINT8_g)                                                                                \
    X(T_STD_I16LE, T_STD_I16LE_g)                                                                                      \
    X(T_STD_I32LE, T_STD_I32LE_g)                                                                                      \
    X(T_STD_U8BE, T_STD_U8BE_g)                                                                                        \
    X(T_STD_U8LE, T_STD_U8LE_g)

/* hdf5.Fopen is H5Fopen, hdf5.T_C_S1 is H5T_C_S1. */
struct sqz_hdf5_library {
#define X(name) __typeof__(&H5##name) name;
    SQZ_HDF5_FUNCTIONS(X)
#undef X
#define X(name, variable) hid_t name;
    SQZ_HDF5_IDENTIFIERS(X)
#undef X
};

extern struct sqz_hdf5_library hdf5;

/*
 * Load the library, once, and keep it from printing its error stack, loading
 * plug-ins and running code at exit. Call it before anything else here.
 * SQZ_UNSUPPORTED when it is not installed.
 */
enum sqz_status sqz_hdf5_load(struct sqz_error *err);

#endif
