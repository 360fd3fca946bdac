#!/bin/sh
# demo.sh - runs both sample nets through the pipeline and prints one table. Needs the commands on the PATH.
#
# usage: samples/demo.sh [OUTPUT FOLDER]      (default: build/demo)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../build/demo}
mkdir -p "$out"

for net in fashion_squeezenet fashion_alexnet; do
    sqz-import "$here/$net.pth" --labels "$here/fashion-mnist/classes.txt" -q -o "$out/$net.h5"
    sqz-prune "$out/$net.h5" --density 0.6 -q -o "$out/$net.pruned.h5"
    sqz-quantize "$out/$net.pruned.h5" -q -o "$out/$net.shared.h5"
    sqz-encode "$out/$net.shared.h5" -q -o "$out/$net.sqz"
done

sqz-compare --data "$here/fashion-mnist" \
    "$out/fashion_squeezenet.h5" "$out/fashion_squeezenet.pruned.h5" "$out/fashion_squeezenet.sqz" \
    "$out/fashion_alexnet.h5" "$out/fashion_alexnet.pruned.h5" "$out/fashion_alexnet.sqz"
