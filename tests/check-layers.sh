#!/bin/sh
# check-layers.sh - holds every #include against the law of layers (see README.md, "The house").
#
# lib includes only lib; formats and eval include lib and themselves, never each other; cmd includes all three. A
# foreign library appears in one room only. Prints each offence and ends with 1 when there is one.
cd "$(dirname "$0")/.." || exit 2
offences=0

# forbid FOLDER REGEX [FILES THAT MAY]: no source of FOLDER other than the excepted ones has a line that matches REGEX.
forbid() {
    folder=$1 regex=$2 except=${3:-^$}
    found=$(grep -rnE --include='*.[ch]' "$regex" "$folder" 2>/dev/null | grep -vE "^($except):")
    [ -z "$found" ] && return
    printf '%s\n' "$found" | sed 's/^/layer violation: /'
    offences=1
}

forbid lib '^#include "(formats|eval|cmd|tests|samples)/'
forbid formats '^#include "(eval|cmd|tests|samples)/'
forbid eval '^#include "(formats|cmd|tests|samples)/'
forbid cmd '^#include "(tests|samples)/'

# Includes are written from the root, so that these greps see all of them.
for folder in lib formats eval cmd tests; do
    forbid $folder '^#include "[^/"]*"'
done

for folder in lib eval cmd; do
    forbid $folder '^#include <(protobuf-c|zip\.h|H5|hdf5)'
done
forbid formats '^#include <(H5|hdf5)' 'formats/hdf5[a-z_]*\.[ch]'
for folder in lib formats cmd; do
    forbid $folder '^#include <(jpeglib|jerror|png)\.h>'
done
forbid eval '^#include <(jpeglib|jerror|png)\.h>' 'eval/image_(jpeg|png)\.c'
for folder in lib formats eval cmd; do
    forbid $folder '^#include <check\.h>'
    forbid $folder '^#(include <omp\.h>|pragma omp)' 'lib/parallel\.c'
done
forbid formats '^#include <(cblas|lapacke)'
forbid eval '^#include <(cblas|lapacke)'
forbid cmd '^#include <(cblas|lapacke)'

[ $offences -eq 0 ] && echo "layers: every include keeps the law"
exit $offences
