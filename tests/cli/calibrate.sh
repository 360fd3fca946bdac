# calibrate.sh - sqz-quantize and sqz-prune on calibration images: what they say, refuse and promise.
net="$samples/fashion_squeezenet.pth"
ln -s "$samples/fashion-mnist" images
cp "$net" net.pth

run sqz-quantize net.pth --calib nowhere -o out.h5
mkdir few && printf 'P5 28 28 255\n%784s' '' >few/1.pgm
run sqz-quantize net.pth --calib few -o out.h5
for i in 2 3 4 5 6 7 8 9; do printf 'no picture' >few/$i.pgm; done
run sqz-quantize net.pth --calib few -o out.h5 -q
run sqz-quantize net.pth --calib . --step 0.5 -o out.h5
run sqz-quantize net.pth --levels uniform -o out.h5
run sqz-quantize net.pth --damping 0.1 -o out.h5
run sqz-quantize net.pth --mean 0.5 -o out.h5
run sqz-quantize net.pth --calib few --method lloyd -o out.h5
run sqz-quantize net.pth --calib few --levels uniform --step 'nothing*=1' -o out.h5
run sqz-prune net.pth --calib few --threshold 0.1 -o out.h5
run sqz-prune net.pth --density 0.5 --one-pass -o out.h5
ls *.h5 2>/dev/null || echo "nothing was written"

# Images that are all the same: every second moment is zero.
mkdir same
for i in 1 2 3 4 5 6 7 8 9 10; do printf 'P5 28 28 255\n%784s' '' >same/$i.pgm; done
run sqz-quantize net.pth --calib same --levels uniform --step 0.2 -o same.h5 -q --threads 1
run sqz-prune net.pth --calib same --density 0.9 -o same.h5 -q --threads 1

# The same bytes for any number of threads.
sqz-quantize net.pth --calib images --calib-images 16 --levels uniform --step 0.3 --threads 1 -q -o one.h5
sqz-quantize net.pth --calib images --calib-images 16 --levels uniform --step 0.3 --threads 3 -q -o three.h5
same one.h5 three.h5
sqz-encode one.h5 -q -o one.sqz

# Levels that obey a trellis: the same bytes for any number of threads, by either coder, and again after decoding.
run sqz-quantize net.pth --calib images --levels uniform --trellis 7 -o out.h5
run sqz-quantize net.pth --calib images --trellis 8 -o out.h5
sqz-quantize net.pth --calib images --calib-images 16 --levels uniform --trellis 8 --threads 1 -q -o trellis.h5
sqz-quantize net.pth --calib images --calib-images 16 --levels uniform --trellis 8 --threads 3 -q -o three.h5
same trellis.h5 three.h5
for coder in huffman range; do
    sqz-encode trellis.h5 --coder $coder -q -o $coder.sqz
    sqz-decode $coder.sqz -q -o back.h5
    sqz-encode back.h5 --coder $coder -q -o again.sqz
    same $coder.sqz again.sqz
done
sqz-encode trellis.h5 -q -o trellis.sqz
sqz-info trellis.sqz | grep -c 'uniform, trellis'

# Better than rounding each weight by itself to as many values.
sqz-quantize net.pth --bits 2 -q -o plain.h5
sqz-quantize net.pth --bits 2 --calib images --calib-images 48 --seed 1 --threads 1 --json -o calibrated.h5 >json
sqz-eval plain.h5 --baseline net.pth --data images --limit 400 --threads 1 --json >plain.json 2>/dev/null
sqz-eval calibrated.h5 --baseline net.pth --data images --limit 400 --threads 1 --json >calibrated.json 2>/dev/null
holds "calibration lowers the divergence" "$(number mean_kl calibrated.json)" '<' "$(number mean_kl plain.json)"
keys sqz-prune net.pth --calib images --calib-images 10 --density 0.5 --threads 1 --json -o pruned.h5
sqz-info pruned.h5 --json >info.json
holds "half of the kernels' weights are gone" "$(number density info.json)" '<' 0.5001

# sqz-eval knows the images again, from the file as well.
sqz-eval one.sqz --data images --threads 1 -q 2>&1 >/dev/null | grep -c 'calibrated on'
