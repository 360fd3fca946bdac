/* hdf5_parts.h - what the reader and the writer of the HDF5 working file share. */
#ifndef SQZ_FORMATS_HDF5_PARTS_H
#define SQZ_FORMATS_HDF5_PARTS_H

#include "formats/formats.h"

/*
 * The working file, version 1:
 *
 *   attribute sqz_format   the string below
 *   attribute version      integer
 *   attribute arch, source, history   text for people; the graph holds the same
 *   dataset   graph        uint8, the bytes of sqz_graph_encode() with history
 *   dataset   weights/NAME float32, the weight's own shape
 *   group     packed/NAME  instead of it, for a compressed weight:
 *       dataset levels     uint8 or int16, the weight's own shape
 *       dataset codebook   float32 [n] (levels are codebook indices plus one), or
 *       dataset steps      float32 [1 or output channels] (levels are multiples)
 *       attribute trellis_states   integer, beside steps: the levels obey a
 *                          trellis (see SQZ.md, 4.1); absent when they do not
 *
 * Behind the end of the HDF5 data, where the library does not look, stand 16
 * bytes: "SQZCRC32", the CRC-32 (as zlib's) of all bytes before them, and four
 * zero bytes. A program that changes the file through the HDF5 library drops
 * them; a file without them is read as well.
 *
 * NAME is the weight's name with '/', '%' and a lone '.' written as %2F, %25
 * and %2E. Datasets are contiguous and unfiltered, and metadata uses the
 * checksummed structures of HDF5 1.8 (superblock 2).
 */
#define SQZ_HDF5_FORMAT "sqz working file"
#define SQZ_HDF5_VERSION 1
#define SQZ_HDF5_TRELLIS "trellis_states"

#define SQZ_HDF5_TRAILER_MAGIC "SQZCRC32"
#define SQZ_HDF5_TRAILER_NBYTES 16u

/* CRC-32 of the first nbytes of a source, without keeping them resident. */
uint32_t sqz_hdf5_checksum(const struct sqz_source *source, size_t nbytes);

/* The link name of a weight, from sqz_alloc(); NULL when memory is short. */
char *sqz_hdf5_escape(const char *name);

/* A new temporary file, open for reading and writing; the caller unlinks *path (sqz_alloc()ed) and frees it. */
enum sqz_status sqz_hdf5_temporary(int *fd, char **path, struct sqz_error *err);

#endif
