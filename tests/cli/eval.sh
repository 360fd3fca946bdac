# eval.sh - accuracy of the sample net, through every kind of file, batch and thread count; broken images; predictions.
cp "$samples/fashion_squeezenet.pth" net.pth
ln -s "$samples/fashion-mnist" data
sqz-quantize net.pth --bits 6 -q -o model.h5
sqz-encode model.h5 -q -o model.sqz
sqz-encode model.h5 --bias fp32 -q -o exact.sqz
run_masked sqz-eval model.sqz --data data --limit 200 --baseline net.pth --per-layer
sqz-eval net.pth --data data --json >float.json
holds "the float net knows its 2000 images" "$(number images float.json)" == 2000
holds "top-1 is what PyTorch has" "$(number top1_correct float.json)" == 1817
holds "top1 is their quotient" "$(number top1 float.json)" == 0.9085
# Neither the batch nor the threads change a prediction.
for choice in "--batch 1 --threads 1" "--batch 7 --threads 3" "--batch 16 --threads 2"; do
    sqz-eval model.sqz --data data --limit 100 $choice --predictions predictions >/dev/null
    [ -e first ] || cp predictions first
    same predictions first
done
head -3 predictions | sed -E "s/^([^ ]+ [0-9]+) [0-9 ]*\t([0-9]+) [01]\.[0-9]{6}$/\1 ...\t\2 p/"
# The quantised net is the same whether it is read from the working file or decoded.
sqz-eval model.h5 --data data --limit 100 --predictions working >/dev/null
sqz-eval exact.sqz --data data --limit 100 --predictions decoded >/dev/null
same working decoded
# Six bits cost little, and the comparison counts both models over the same images.
sqz-eval model.sqz --data data --limit 500 --baseline net.pth --json >compared.json
holds "agreement is high" "$(number agreement compared.json)" ">" 0.95
holds "drop is small" "$(number top1_drop compared.json)" "<" 0.02
sqz-eval net.pth --data data --limit 500 --baseline net.pth --json >itself.json
holds "a net agrees with itself" "$(number agreement itself.json)" == 1
holds "and does not diverge" "$(number mean_kl itself.json)" == 0
# A folder with labels.txt: a broken image is named, counted and wrong.
image() { printf 'P5\n28 28\n255\n'; head -c $1 /dev/zero; }
mkdir set
image 784 >set/good.pgm
image 100 >set/short.pgm
: >set/empty.pgm
printf 'good.pgm 0\nshort.pgm 1\nempty.pgm 2\n' >set/labels.txt
run_masked sqz-eval net.pth --data set
run_masked sqz-eval net.pth --data set --max-bad 2 -q
sqz-eval net.pth --data set --max-bad 2 --json 2>/dev/null >bad.json
holds "images" "$(number images bad.json)" == 3
holds "bad_images" "$(number bad_images bad.json)" == 2
# Labels out of range, or missing, or of an image that is not there.
printf 'good.pgm 10\n' >set/labels.txt
run sqz-eval net.pth --data set
printf 'good.pgm\n' >set/labels.txt
run sqz-eval net.pth --data set
printf 'good.pgm 0\n' >set/labels.txt
run sqz-eval net.pth --data set --one-based
rm set/labels.txt
run sqz-eval net.pth --data set
# A wrong preprocessing is a matter of options, and labels that fit nothing are worth a hint.
run_masked sqz-eval net.pth --data data --limit 300 --label-offset 1
run_masked sqz-eval net.pth --data data --limit 300 --preprocess raw --mean 1000 --std 0.01
run_masked sqz-compare net.pth model.h5 model.sqz --data data --limit 100
run sqz-compare net.pth model.sqz --data data --limit 100 --csv | cut -d, -f1,2
keys sqz-eval model.sqz --data data --limit 20 --baseline net.pth --per-layer --json
keys sqz-compare model.sqz --data data --limit 20 --json
