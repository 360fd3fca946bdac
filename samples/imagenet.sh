#!/bin/sh
# imagenet.sh - the classic pipeline on ImageNet weights: one table of sizes and accuracies. Needs the commands on the PATH.
#
# usage: samples/imagenet.sh MODEL IMAGES [LABELS]
#
# MODEL is any model file that sqz reads, IMAGES the folder of labelled images, LABELS the list of labels when it is
# not labels.txt in that folder.
set -eu
[ $# -ge 2 ] || { echo "usage: samples/imagenet.sh MODEL IMAGES [LABELS]" >&2; exit 2; }
model=$1
images=$(realpath "$2")
labels=$(realpath "${3:-$2/labels.txt}")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

sqz-import "$model" -q -o "$out/float.h5"
for bits in 8 6 5; do
    sqz-quantize "$out/float.h5" --bits $bits -q -o - | sqz-encode -q -o "$out/bits$bits.sqz"
    sqz-quantize "$out/float.h5" --bits $bits --rate-weight 3 -q -o - | sqz-encode -q -o "$out/bits$bits-rate3.sqz"
done
sqz-prune "$out/float.h5" --density 0.8 -q -o - | sqz-quantize --bits 6 -q -o - | sqz-encode -q -o "$out/density0.8-bits6.sqz"

cd "$out"
sqz-compare --data "$images" --labels "$labels" float.h5 bits8.sqz bits8-rate3.sqz bits6.sqz bits6-rate3.sqz bits5.sqz \
    bits5-rate3.sqz density0.8-bits6.sqz
