# compress.sh - the search for a small file: goals, what is out of reach, bad input, and honesty about its images.
# A net of four layers on pictures of 8x8, so that a search takes a moment; one search on a real net at the end.
cp "$root/tests/golden/floats.sqz" net.sqz

# pictures FOLDER N SEED: N different smooth patterns.
pictures() {
    mkdir -p "$1"
    awk -v dir="$1" -v n="$2" -v state="$3" '
        function draw(k) { state = (state * 1103 + 12345) % 65536; return int(state / 65536 * k) }
        BEGIN {
            for (i = 1; i <= n; i++) {
                file = sprintf("%s/%02d.ppm", dir, i)
                printf "P6\n8 8\n255\n" >file
                for (c = 0; c < 3; c++) { across[c] = draw(8); down[c] = draw(8) }
                for (y = 0; y < 8; y++)
                    for (x = 0; x < 8; x++)
                        for (c = 0; c < 3; c++)
                            printf "%c", 40 + 7 * (((x - across[c]) ^ 2 + (y - down[c]) ^ 2) % 11) + draw(12) >file
                close(file)
            }
        }'
}

# label FOLDER: with what the float net says, so that it is always right.
label() {
    sqz-run net.sqz $scale "$1"/*.ppm | awk '/ppm$/ { sub(".*/", ""); name = $0; next } name { print name, $NF; name = "" }' \
        >"$1/labels.txt"
}

scale="--scale 60 --mean 4500"
pictures data 72 1
pictures held 40 9
label held
few="--calib data --calib-images 48 --probe-images 16 $scale -q --threads 1"

run sqz-compress net.sqz -o a.sqz --target-size 1500
run sqz-compress net.sqz -o a.sqz --calib data
run sqz-compress net.sqz -o a.sqz --calib data --target-size 1500 --max-kl 0.1
run sqz-compress net.sqz -o a.sqz --calib data --target-size 120XB
run sqz-compress net.sqz -o a.sqz --calib data --max-drop 1
run sqz-compress net.sqz -o a.sqz --calib data --holdout held --target-size 1500
run sqz-compress net.sqz -o a.sqz --calib missing --target-size 1500
run sqz-compress net.sqz -o a.sqz --front f.csv --calib data
run sqz-compress net.sqz $few -o a.sqz --max-drop 1 --holdout data
run sqz-compress net.sqz --calib data -o a.sqz --target-size 1500 --trellis 6
run sqz-compress net.sqz --calib data -o a.sqz --target-size 1500 --trellis 8 --levels codebook

echo "# few, unreadable and useless images"
pictures seven 7 3
run sqz-compress net.sqz -o a.sqz --calib seven --target-size 1500
mkdir bad
for i in 1 2 3 4 5 6 7 8 9; do printf 'P6\n8 8\n255\n' >bad/$i.ppm; done
run_masked sqz-compress net.sqz -o a.sqz --calib bad --target-size 1500
run sqz-compress net.sqz -o a.sqz --calib data --scale 1e38 --target-size 1500
ls a.sqz 2>&1
mkdir grey
for i in 1 2 3 4 5 6 7 8; do printf 'P6\n8 8\n255\n%192s' '' >grey/$i.ppm; done
run sqz-compress net.sqz -o grey.sqz --calib grey --target-size 1500 -q

echo "# a size"
run sqz-compress net.sqz $few --target-size 1500 -o a.sqz --cache cache
run sqz-compress net.sqz $few --target-size 1500 -o b.sqz --cache cache --threads 2
run sqz-compress net.sqz $few --target-size 1500 -o c.sqz --threads 2
same a.sqz b.sqz
same a.sqz c.sqz
holds "not larger than asked" "$(wc -c <a.sqz)" "<=" 1500
holds "nearly as large" "$(wc -c <a.sqz)" ">" 1470
run sqz-compress net.sqz $few --target-size 1500 --trellis 0 -o free.sqz --cache cache
holds "levels without a trellis keep to it too" "$(wc -c <free.sqz)" "<=" 1500
cmp -s a.sqz free.sqz && echo "the trellis changes NOTHING"
run sqz-compress net.sqz $few --target-size 1.4KiB --levels codebook --coder huffman -o codebook.sqz
run sqz-compress net.sqz $few --target-size 2KB --levels codebook --method classic -o classic.sqz
holds "codebooks keep to it as well" "$(wc -c <codebook.sqz)" "<=" 1433
holds "and so do plain ones" "$(wc -c <classic.sqz)" "<=" 2000

echo "# a divergence"
keys sqz-compress net.sqz $few --max-kl 0.05 -o d.sqz --cache cache --json
sqz-compress net.sqz $few --max-kl 0.05 -o d.sqz --cache cache --json >d.json
holds "divergence" "$(number mean_kl d.json)" "<=" 0.05
holds "layers from the cache" "$(number layers_cached d.json)" "==" 4

echo "# a loss"
sqz-compress net.sqz $few --max-drop 10 --holdout held -o e.sqz --cache cache --json >e.json
echo "exit $?"
holds "loss on the holdout set" "$(number top1_drop e.json)" "<=" 0.1
holds "smaller than what hardly loses" "$(number output_nbytes e.json)" "<" 1700

echo "# a goal out of reach"
run_masked sqz-compress net.sqz $few --target-size 300 -o f.sqz --cache cache
ls f.sqz 2>&1
run_masked sqz-compress net.sqz $few --target-size 300 -o f.sqz --cache cache --best-effort
ls f.sqz 2>&1
run_masked sqz-compress net.sqz $few --max-kl 1e-12 -o g.sqz --cache cache
run_masked sqz-compress net.sqz $few --max-drop -5 --holdout held -o g.sqz --cache cache
ls g.sqz 2>&1

echo "# the whole curve"
sqz-compress net.sqz $few --front front.csv --holdout held --cache cache
head -1 front.csv
wc -l <front.csv
holds "sizes rise" "$(tail -n +2 front.csv | sort -c -n -t, -k1,1 2>&1 | wc -l)" "==" 0
holds "the last point is the better one" "$(tail -1 front.csv | cut -d, -f3)" "<" "$(sed -n 2p front.csv | cut -d, -f3)"
keys sqz-compress net.sqz $few --front front.csv --cache cache --json

echo "# caches: other options, another model, cut short, no cache at all"
cp cache whole
sqz-compress net.sqz $few --target-size 1500 -o h.sqz --cache cache --json --seed 1 >h.json
holds "layers from the cache" "$(number layers_cached h.json)" "==" 0
sqz-compress "$root/tests/golden/huffman_8bit.sqz" $few --target-size 1500 -o h.sqz --cache cache --json >h.json
holds "layers from the cache" "$(number layers_cached h.json)" "==" 0
head -c $(($(wc -c <whole) * 6 / 10)) whole >cache
sqz-compress net.sqz $few --target-size 1500 -o h.sqz --cache cache --json >h.json
holds "layers from the cache" "$(number layers_cached h.json)" ">" 0
holds "and not all" "$(number layers_cached h.json)" "<" 4
same a.sqz h.sqz
same cache whole
echo "not a sweep" >cache
sqz-compress net.sqz $few --target-size 1500 -o h.sqz --cache cache --json >h.json
holds "layers from the cache" "$(number layers_cached h.json)" "==" 0
same cache whole
mkdir sweeps
sqz-compress net.sqz $few --target-size 1500 -o h.sqz --cache sweeps
sqz-compress net.sqz $few --target-size 1500 -o h.sqz --cache sweeps --json >h.json
holds "layers from a folder of caches" "$(number layers_cached h.json)" "==" 4
run sqz-compress net.sqz $few --target-size 1500 -o i.sqz --cache nowhere/cache

echo "# images that were used"
label data
sqz-eval a.sqz --data data --threads 1 2>&1 >/dev/null | sed -E 's/about [0-9]+/about #/'
sqz-eval a.sqz --data held --threads 1 2>&1 >/dev/null
sqz-eval e.sqz --data held --threads 1 2>&1 >/dev/null | sed -E 's/about [0-9]+/about #/'

echo "# the sweep"
sqz-sensitivity net.sqz $few --cache cache -o sweep.csv
sqz-sensitivity net.sqz ${few/-q/} --cache cache 2>/dev/null | head -2 | sed -E "s,[0-9]+([.][0-9]+)?(e-?[0-9]+)?,#,g; s, +, ,g"
head -1 sweep.csv
holds "a line for each layer and setting" "$(($(wc -l <sweep.csv) % 4))" "==" 1
keys sqz-sensitivity net.sqz $few --cache cache --json

echo "# a trained net"
ln -s "$samples/fashion-mnist" clothes
sqz-compress "$samples/fashion_squeezenet.pth" --calib clothes --calib-images 16 --probe-images 8 --threads 1 \
    --target-size 120KB -o clothes.sqz --json >clothes.json
holds "size" "$(number output_nbytes clothes.json)" "<=" 120000
holds "divergence" "$(number mean_kl clothes.json)" "<" 0.1
sqz-eval clothes.sqz --data clothes --threads 1 2>&1 >/dev/null | sed -E 's/about [0-9]+/about #/'
