#!/bin/sh
# demo.sh - runs both sample nets through the pipeline and prints one table. Needs the commands on the PATH.
#
# usage: samples/demo.sh [OUTPUT FOLDER]      (default: build/demo)
set -eu
samples=$(cd "$(dirname "$0")" && pwd)
out=${1:-$samples/../build/demo}
mkdir -p "$out"
cd "$out"

models=
for net in fashion_squeezenet fashion_alexnet; do
    sqz-import "$samples/$net.pth" --labels "$samples/fashion-mnist/classes.txt" -q -o "$net.h5"
    sqz-prune "$net.h5" --density 0.85 -q -o "$net.pruned.h5"
    sqz-quantize "$net.pruned.h5" -q -o "$net.shared.h5"
    sqz-encode "$net.shared.h5" -q -o "$net.sqz"
    models="$models $net.h5 $net.pruned.h5 $net.shared.h5 $net.sqz"
done

# File names hold no spaces, so the list may be split.
# shellcheck disable=SC2086
sqz-compare --data "$samples/fashion-mnist" $models
