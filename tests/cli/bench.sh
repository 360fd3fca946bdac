# bench.sh - speed alone: --bench and --explain with and without images, the engines, what cannot be combined.
cp "$samples/fashion_squeezenet.pth" net.pth
ln -s "$samples/fashion-mnist" data
sqz-prune net.pth --density 0.4 -q | sqz-quantize --bits 5 -q | sqz-encode -q -o model.sqz
run_masked sqz-eval model.sqz --bench 3
run_masked sqz-eval model.sqz --bench 2 --data data --batch 4 --threads 1
keys sqz-eval model.sqz --bench 2 --explain --json
# The figures are of the order they say.
sqz-eval model.sqz --bench 9 --batch 2 --json >bench.json
holds "runs" "$(number runs bench.json)" == 9
holds "batch" "$(number batch bench.json)" == 2
holds "the minimum is not above the median" "$(number min_ms bench.json)" "<=" "$(number median_ms bench.json)"
holds "nor the median above the 95th percentile" "$(number median_ms bench.json)" "<=" "$(number p95_ms bench.json)"
holds "the first result comes after decoding" "$(number first_result_ms bench.json)" ">" "$(number decode_ms bench.json)"
holds "the peak is not below what is left" "$(number peak_nbytes bench.json)" ">=" "$(number resident_nbytes bench.json)"
# The plan: every layer once, in order; shares add up.
SQZ_CPU=scalar sqz-eval net.pth --explain --engine reference | awk 'NR > 6 { print "plan:", $1, $2 }'
sqz-eval net.pth --explain --json >plan.json
grep -o '"share": [0-9.e-]*' plan.json | awk '{ sum += $2 } END { print "shares add up: " (sum > 0.999 && sum < 1.001 ? "yes" : sum) }'
# Every engine gives the same classes, from what it keeps in memory.
sqz-eval model.sqz --data data --limit 60 --engine reference --predictions reference >/dev/null
cut -f1 reference >wanted
for engine in auto dense codebook sparse; do
    for resident in auto packed dense; do
        sqz-eval model.sqz --data data --limit 60 --engine $engine --resident $resident --predictions got >/dev/null
        cut -f1 got | cmp - wanted && echo "--engine $engine --resident $resident: the same classes"
    done
done
sqz-eval model.sqz --bench 1 --resident packed --json >packed.json
sqz-eval model.sqz --bench 1 --resident dense --json >dense.json
holds "packed weights are not larger" "$(number weight_nbytes packed.json)" "<=" "$(number weight_nbytes dense.json)"
# Usage.
run sqz-eval model.sqz --bench 0
run sqz-eval model.sqz --bench 2 --engine fast
run sqz-eval model.sqz --bench 2 --resident none
run sqz-eval model.sqz --bench 2 --baseline net.pth
run sqz-eval model.sqz --explain --predictions p
run sqz-eval model.sqz --bench 2 --data missing
mkdir empty
run sqz-eval model.sqz --bench 2 --data empty
# A folder that holds no readable image has nothing to run.
mkdir broken
printf 'P5\n28 28\n255\n' >broken/short.pgm
run sqz-eval model.sqz --bench 2 --data broken
