#!/bin/bash
# run.sh - command-line tests: `tests/cli/run.sh [NAME...]` runs the cases NAME.sh (all without names) against SQZ_BIN.
#
# A case is a shell script in this folder that calls the functions below in an empty folder of its own. What it prints
# is compared with golden/NAME.txt; UPDATE=1 writes that file instead. SQZ_BIN is the folder with the commands,
# build/release by default.
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=${SQZ_BIN:-$root/build/release}
[ -x "$bin/sqz" ] || { echo "run.sh: there is no $bin/sqz" >&2; exit 1; }
bin=$(cd "$bin" && pwd)
export PATH="$bin:$PATH" LC_ALL=C
samples=$root/samples

# run COMMAND...: the command, its standard output (>), standard error (!) and exit code; sizes of files as # bytes.
run() {
    printf '$ %s\n' "$*"
    "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
    local code=$?
    sed -E 's/[0-9]+ bytes/# bytes/g; s/^/> /' "$scratch/out"
    sed -E 's/[0-9]+ bytes/# bytes/g; s/^/! /' "$scratch/err"
    printf '= %d\n' $code
}

# run_masked COMMAND...: the same with every number of the output as #, for what another coder or machine changes.
run_masked() {
    run "$@" | sed -E '/^[>!]/{
        s/[0-9]+([.,][0-9]+)*(e[-+]?[0-9]+)?/#/g
        s/ -#/ #/g
        s/, (avx#|scalar)\)/, ISA)/
        s/ +/ /g
    }'
}

# keys COMMAND...: the sorted keys of the JSON object that the command prints, and its exit code.
keys() {
    printf '$ %s | keys\n' "$*"
    "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
    local code=$?
    grep -oE '"[a-z0-9_]+":' "$scratch/out" | tr -d '":' | sort -u | sed 's/^/> /'
    sed 's/^/! /' "$scratch/err"
    printf '= %d\n' $code
}

# same A B: whether two files are equal.
same() {
    cmp -s "$1" "$2" && echo "$1 and $2 are the same" || echo "$1 and $2 DIFFER"
}

# number KEY FILE: the value of a key of a JSON file.
number() {
    sed -nE "s/.*\"$1\": ([-0-9.e+]+).*/\1/p" "$2" | head -1
}

# holds WHAT A OPERATOR B: whether a relation between two numbers holds.
holds() {
    awk -v a="$2" -v b="$4" "BEGIN { exit !(a $3 b) }" && echo "$1: yes" || echo "$1: NO ($2 $3 $4)"
}

# as_user COMMAND...: as root without the right to write everywhere, so that permissions count.
as_user() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search "$@"
    else
        "$@"
    fi
}

run_case() {
    scratch=$(mktemp -d) || exit 1
    mkdir "$scratch/work"
    (cd "$scratch/work" && . "$here/$1.sh") >"$scratch/transcript" 2>&1 </dev/null
    local golden=$here/golden/$1.txt status=0
    if [ -n "$UPDATE" ]; then
        cp "$scratch/transcript" "$golden"
    elif ! diff -u "$golden" "$scratch/transcript"; then
        echo "run.sh: case $1 differs from its golden text" >&2
        status=1
    fi
    chmod -R u+w "$scratch"
    rm -rf "$scratch"
    return $status
}

if [ $# -eq 0 ]; then
    for script in "$here"/*.sh; do
        name=$(basename "$script" .sh)
        [ "$name" = run ] || set -- "$@" "$name"
    done
fi
failures=0
for name; do run_case "$name" || failures=$((failures + 1)); done
exit $((failures > 0))
