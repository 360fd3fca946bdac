# compress.sh - the search for a small file: goals, what is out of reach, bad input, and honesty about its images.
cp "$samples/fashion_squeezenet.pth" net.pth
ln -s "$samples/fashion-mnist" data
few="--calib data --calib-images 48 --probe-images 16 -q --threads 1"

run sqz-compress net.pth -o a.sqz --target-size 120KB
run sqz-compress net.pth -o a.sqz --calib data
run sqz-compress net.pth -o a.sqz --calib data --target-size 120KB --max-kl 0.1
run sqz-compress net.pth -o a.sqz --calib data --target-size 120XB
run sqz-compress net.pth -o a.sqz --calib data --max-drop 1
run sqz-compress net.pth -o a.sqz --calib data --holdout data --target-size 120KB
run sqz-compress net.pth -o a.sqz --calib missing --target-size 120KB
run sqz-compress net.pth -o a.sqz --front f.csv --calib data

echo "# few and unreadable images"
mkdir seven bad
for i in 1 2 3 4 5 6 7; do printf 'P5\n28 28\n255\n%784s' $i >seven/$i.pgm; done
run sqz-compress net.pth -o a.sqz --calib seven --target-size 120KB
for i in 1 2 3 4 5 6 7 8 9; do printf 'P5\n28 28\n255\n' >bad/$i.pgm; done
run_masked sqz-compress net.pth -o a.sqz --calib bad --target-size 120KB
ls a.sqz 2>&1

echo "# a goal that is met"
run sqz-compress net.pth $few --target-size 120KB -o a.sqz --cache cache
run sqz-compress net.pth $few --target-size 120KB -o b.sqz --cache cache --threads 2
run sqz-compress net.pth $few --target-size 120KB -o c.sqz --threads 2
same a.sqz b.sqz
same a.sqz c.sqz
holds "not larger than asked" "$(wc -c <a.sqz)" "<=" 120000
holds "nearly as large" "$(wc -c <a.sqz)" ">" 119000
keys sqz-compress net.pth $few --max-kl 0.05 -o d.sqz --cache cache --json
sqz-compress net.pth $few --max-kl 0.05 -o d.sqz --cache cache --json >d.json
holds "divergence" "$(number mean_kl d.json)" "<=" 0.05
holds "layers from the cache" "$(number layers_cached d.json)" "==" 26

echo "# a goal out of reach"
run_masked sqz-compress net.pth $few --target-size 900 -o e.sqz --cache cache
ls e.sqz 2>&1
run_masked sqz-compress net.pth $few --target-size 900 -o e.sqz --cache cache --best-effort
ls e.sqz 2>&1

echo "# other options, another cache"
sqz-compress net.pth $few --target-size 120KB -o f.sqz --cache cache --json --seed 1 >f.json
holds "layers from the cache" "$(number layers_cached f.json)" "==" 0

echo "# images that were used"
sqz-eval a.sqz --data data --limit 10000 2>&1 >/dev/null | sed -E 's/about [0-9]+/about #/'
sqz-eval net.pth --data data --limit 200 2>&1 >/dev/null
mkdir other
for i in 1 2 3 4 5 6 7 8; do printf 'P5\n28 28\n255\n%784s' $i >other/$i.pgm; echo "$i.pgm $i" >>other/labels.txt; done
sqz-eval a.sqz --data other 2>&1 >/dev/null

echo "# the sweep"
sqz-sensitivity net.pth --calib data --calib-images 48 --probe-images 16 --cache cache --seed 1 -o sweep.csv | head -2 | sed -E "s,[0-9]+([.][0-9]+)?(e-?[0-9]+)?,#,g; s, +, ,g"
head -1 sweep.csv
wc -l <sweep.csv
keys sqz-sensitivity net.pth --calib data --calib-images 48 --probe-images 16 --cache cache --seed 1 --json
