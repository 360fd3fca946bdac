#!/bin/sh
# demo.sh - runs both sample nets through the pipeline, compresses both on images, and prints one table.
# Needs the commands on the PATH; takes a minute or two.
#
# usage: samples/demo.sh [OUTPUT FOLDER]      (default: build/demo)
set -eu
samples=$(cd "$(dirname "$0")" && pwd)
out=${1:-$samples/../build/demo}
mkdir -p "$out"
cd "$out"

# The smallest files that lose about as little as the pipeline's.
size_of() {
    case $1 in
    fashion_squeezenet) echo 121000 ;;
    fashion_alexnet) echo 212400 ;;
    esac
}

# The searches show a progress bar where there is a terminal.
models=
for net in fashion_squeezenet fashion_alexnet; do
    sqz-import "$samples/$net.pth" --labels "$samples/fashion-mnist/classes.txt" -q -o "$net.h5"
    sqz-prune "$net.h5" --density 0.85 -q -o "$net.pruned.h5"
    sqz-quantize "$net.pruned.h5" -q -o "$net.shared.h5"
    sqz-encode "$net.shared.h5" -q -o "$net.sqz"
    sqz-compress "$net.h5" --calib "$samples/fashion-mnist-calib" --calib-images 800 --probe-images 200 \
        --target-size "$(size_of "$net")" --cache "$net.sweep" -o "$net.calibrated.sqz" >report
    models="$models $net.h5 $net.pruned.h5 $net.shared.h5 $net.sqz $net.calibrated.sqz"
done

# File names hold no spaces, so the list may be split.
# shellcheck disable=SC2086
sqz-compare --data "$samples/fashion-mnist" $models
