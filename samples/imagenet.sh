#!/bin/sh
# imagenet.sh - compresses a net trained on ImageNet in several ways and prints one table of sizes and accuracies. Needs
# the commands on the PATH.
#
# usage: samples/imagenet.sh MODEL IMAGES [LABELS [CALIBRATION]]
#
# MODEL is any model file that sqz reads, IMAGES the folder of labelled images, LABELS the list of labels when it is
# not labels.txt in that folder (or -). With CALIBRATION, a folder of some hundred other images whose labels are not
# used, the rows of sqz-compress follow those of the classic pipeline; they take some minutes each.
set -eu
[ $# -ge 2 ] || { echo "usage: samples/imagenet.sh MODEL IMAGES [LABELS [CALIBRATION]]" >&2; exit 2; }
model=$1
images=$(realpath "$2")
labels=${3:--}
[ "$labels" != - ] || labels=$images/labels.txt
labels=$(realpath "$labels")
calibration=${4:+$(realpath "$4")}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

sqz-import "$model" -q -o "$out/float.h5"
cd "$out"
sqz-quantize float.h5 --bits 8 -q | sqz-encode -q -o bits8.sqz
sqz-quantize float.h5 --bits 6 -q | sqz-encode -q -o bits6.sqz
sqz-quantize float.h5 --bits 6 --rate-weight 6 -q | sqz-encode --coder huffman -q -o bits6-rate6-huffman.sqz
sqz-quantize float.h5 --bits 6 --rate-weight 5 -q | sqz-encode -q -o bits6-rate5.sqz
sqz-quantize float.h5 --bits 5 --rate-weight 3 -q | sqz-encode --coder huffman -q -o bits5-rate3-huffman.sqz
sqz-quantize float.h5 --bits 5 --rate-weight 3 -q | sqz-encode -q -o bits5-rate3.sqz
models="float.h5 bits8.sqz bits6.sqz bits6-rate6-huffman.sqz bits6-rate5.sqz bits5-rate3-huffman.sqz bits5-rate3.sqz"
if [ -n "$calibration" ]; then
    for size in 480000 400000 330000 280000 240000; do
        sqz-compress float.h5 --calib "$calibration" --cache sweep --target-size $size -o target$size.sqz
        models="$models target$size.sqz"
    done
fi
# File names hold no spaces, so the list may be split.
# shellcheck disable=SC2086
sqz-compare --data "$images" --labels "$labels" $models
