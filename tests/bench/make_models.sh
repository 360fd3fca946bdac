#!/bin/bash
# make_models.sh - writes the models that the benchmarks run into a folder: `tests/bench/make_models.sh OUT [BIN]`.
#
#   squeezenet.onnx        SqueezeNet v1.1, trained, from SQZ_SHARED (../shared); without it the sample net, which is
#                          smaller: the figures are then not those of the documentation
#   squeezenet.param .bin  the same for ncnn, where SQZ_SHARED has it
#   squeezenet.sqz         half its weights pruned, 5 bits, Huffman-coded: about 500 KB
#   squeezenet_sparse.sqz  pruned to density 0.33 in its 3x3 layers and 0.2 in its last one, 5 bits
#   alexnet.onnx           61 million random weights in the layout of torchvision's AlexNet (make-alexnet)
#   alexnet.sqz            the same, 5 bits in its dense layers and 8 in its convolutions
#   alexnet_sparse.sqz     pruned to density 0.11 as well (0.35 in its convolutions), as in arXiv 1510.00149
#
# Models that are there already stay. BIN is the folder with the commands, build/release by default.
set -e
root=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -ge 1 ] || { echo "usage: make_models.sh OUT [BIN]" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
bin=${2:-$root/build/release}
shared=${SQZ_SHARED:-$root/../shared}/data/models
threes='*expand3x3'

# make_model NAME COMMAND...: runs the command, whose last argument is the file to write, unless NAME is there.
make_model() {
    local name=$1
    shift
    [ -e "$out/$name" ] && return
    echo "making $name" >&2
    "$@" "$out/new-$name"
    mv "$out/new-$name" "$out/$name"
}

share() { # FILE BITS... OUT: weight-shared and coded
    local model=$1 result=${!#}
    shift
    "$bin/sqz-quantize" "$model" "${@:1:$#-1}" -q | "$bin/sqz-encode" --coder huffman -q -o "$result"
}

prune_and_share() { # FILE DENSITIES -- BITS... OUT
    local model=$1 result=${!#} densities=()
    shift
    while [ "$1" != -- ]; do
        densities+=("$1")
        shift
    done
    shift
    "$bin/sqz-prune" "$model" "${densities[@]}" -q | "$bin/sqz-quantize" "${@:1:$#-1}" -q |
        "$bin/sqz-encode" --coder huffman -q -o "$result"
}

if [ -e "$shared/squeezenet1_1.onnx" ]; then
    make_model squeezenet.onnx cp "$shared/squeezenet1_1.onnx"
    make_model squeezenet.param cp "$shared/squeezenet_v1.1.ncnn.param"
    make_model squeezenet.bin cp "$shared/squeezenet_v1.1.ncnn.bin"
else
    echo "SKIPPED SqueezeNet v1.1 for the sample net (SQZ_SHARED not found)" >&2
    make_model squeezenet.onnx "$bin/sqz-export" "$root/samples/fashion_squeezenet.pth" -q -o
fi
make_model squeezenet.sqz prune_and_share "$out/squeezenet.onnx" --density 0.5 -- --bits 5
make_model squeezenet_sparse.sqz prune_and_share "$out/squeezenet.onnx" --density 1 --density "$threes=0.33" \
    --density 'classifier*=0.2' -- --bits 5
make_model alexnet.onnx "$bin/make-alexnet"
make_model alexnet.sqz share "$out/alexnet.onnx" --bits 5 --bits 'features*=8'
make_model alexnet_sparse.sqz prune_and_share "$out/alexnet.onnx" --density 0.11 --density 'features*=0.35' -- \
    --bits 5 --bits 'features*=8'
chmod -R u+w "$out"
