#!/bin/bash
# end_to_end.sh - sqz-eval --bench over the models of make_models.sh: `tests/bench/end_to_end.sh FOLDER [RUNS]`.
#
# A row for each model, batch and number of threads: milliseconds for an image, images per second, milliseconds to
# decode and from the start of the process to the first result, and the peak of its memory.
root=$(cd "$(dirname "$0")/../.." && pwd)
eval=${SQZ_BIN:-$root/build/release}/sqz-eval
[ $# -ge 1 ] || { echo "usage: end_to_end.sh FOLDER [RUNS]" >&2; exit 2; }

number() { sed -nE "s/.*\"$1\": ([-0-9.e+]+).*/\1/p"; }

printf '%-24s %5s %7s %9s %9s %9s %9s %10s %10s %8s\n' model batch threads 'min ms' 'median' 'p95' 'images/s' \
    'decode ms' 'first ms' 'peak MB'
for model in squeezenet.onnx squeezenet.sqz squeezenet_sparse.sqz alexnet.onnx alexnet.sqz alexnet_sparse.sqz; do
    for batch in 1 16; do
        for threads in 1 2; do
            json=$("$eval" "$1/$model" --bench "${2:-60}" --batch $batch --threads $threads --json) || exit 1
            values=()
            for key in min_ms median_ms p95_ms images_per_second decode_ms first_result_ms peak_nbytes; do
                values+=("$(number $key <<<"$json")")
            done
            awk -v model=$model -v batch=$batch -v threads=$threads 'BEGIN {
                printf "%-24s %5d %7d %9.3f %9.3f %9.3f %9.1f %10.1f %10.1f %8.1f\n", model, batch, threads,
                    ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7] / 1e6
            }' "${values[@]}"
        done
    done
done
