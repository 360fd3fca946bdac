# claims.sh - "nothing got smaller": sizes that disagreed with the disk, and accuracies that did not say how they were made.
cp "$samples/fashion_squeezenet.pth" net.pth
ln -s "$samples/fashion-mnist" data
# Every command that writes a file reports the bytes that are on the disk.
reported() {
    "$@" --json -q >report.json 2>/dev/null
    file=$(sed -nE 's/.*"output": "([^"]+)".*/\1/p' report.json)
    holds "$1 to ${file##*.}: reported bytes are those of the file" "$(number output_nbytes report.json)" == "$(stat -c %s "$file")"
}
reported sqz-import net.pth -o a.h5
reported sqz-prune a.h5 --density 0.3 -o b.h5
reported sqz-quantize b.h5 --bits 4 -o c.h5
reported sqz-encode c.h5 -o d.sqz
reported sqz-decode d.sqz -o e.h5
reported sqz-export d.sqz -o d.onnx
reported sqz-export d.sqz -o d.npz
# Zeros do not shrink a file of floats; only the coded one is small, against float32 and against the file it came from.
size() { stat -c %s "$1"; }
holds "zeros do not shrink ONNX" "$(size d.onnx)" ">" $((726474 * 4))
holds "the coded file is small" "$(size d.sqz)" "<" $(($(size net.pth) / 15))
for target in onnx npz; do
    sqz-export d.sqz -o x.$target 2>&1 >/dev/null | sed -E 's/[0-9]+ bytes/# bytes/g'
done
sqz-info d.sqz --json >info.json
holds "info counts float32 weights, not the input's container" "$(number float_nbytes info.json)" == $((726474 * 4))
run_masked sqz-compare net.pth d.sqz --data data --limit 50 | grep -vE '^= '
# An accuracy says how images were resized, in which mode: the library alone is worth a point.
for filter in pil bilinear; do
    sqz-eval net.pth --data data --limit 20 --resize 32 --filter $filter | sed -nE 's/^input +/input: /p'
done
sqz-eval net.pth --data data --limit 20 --resize 32 --filter nearest 2>&1 | head -1
# Labels in another order: a score at the level of chance is worth a hint, an ordinary one is not.
sqz-eval net.pth --data data --limit 200 2>&1 >/dev/null
# Two hundred grey images that are all said to be ankle boots.
mkdir moved
for i in $(seq 200); do
    { printf 'P5\n28 28\n255\n'; printf "%784s" $i; } >moved/$i.pgm
    echo "$i.pgm 9" >>moved/labels.txt
done
sqz-eval net.pth --data moved 2>&1 >/dev/null
