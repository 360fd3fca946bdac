# pipeline.sh - the main job: through files and through pipes, the same bytes for any number of threads, and back.
cp "$samples/fashion_squeezenet.pth" net.pth
cp "$samples/fashion-mnist/classes.txt" .
run_masked sqz-import net.pth --labels classes.txt -o a.h5
run_masked sqz-prune a.h5 --density 0.5 -o b.h5
run_masked sqz-quantize b.h5 --bits 5 --progress never -o c.h5
run_masked sqz-encode c.h5 -o d.sqz
# Which layout and coder is the smallest is for the encoder to say.
run_masked sqz-info d.sqz | sed -E 's/(dense|bitmap|gaps) (huffman|range)$/LAYOUT CODER/'
# Pipes, with no operand and with -.
sqz-import net.pth --labels classes.txt -q | sqz-prune --density 0.5 -q | sqz-quantize - -b 5 -q |
    sqz-encode -q -o pipe.sqz
same d.sqz pipe.sqz
# Threads.
for threads in 1 2 3; do
    sqz-prune a.h5 --density 0.5 --threads $threads -q | sqz-quantize -b 5 --threads $threads -q |
        sqz-encode --threads $threads -q >threads.sqz
    same d.sqz threads.sqz
done
# Decoding restores the quantised weights; encoding what was decoded gives the same bytes, whichever way it went.
run_masked sqz-decode d.sqz -o e.h5
sqz-encode e.h5 -q -o e.sqz
same d.sqz e.sqz
sqz-decode d.sqz --float -q -o float.h5
sqz-encode float.h5 -q -o float.sqz
same d.sqz float.sqz
sqz-export c.h5 --to npz -q -o c.npz
# Biases were rounded to fp16, unless one asks for fp32.
sqz-encode c.h5 --bias fp32 -q -o exact.sqz
sqz-export exact.sqz --to npz -q -o exact.npz
same c.npz exact.npz
run_masked sqz-export d.sqz -o d.npz
# As levels they are smaller still, in steps of the file's own.
for bits in 8 10; do
    sqz-encode c.h5 --bias $bits -q -o levels$bits.sqz
    holds "biases of $bits bits are smaller" "$(stat -c %s levels$bits.sqz)" "<" "$(stat -c %s d.sqz)"
    sqz-decode levels$bits.sqz -q -o levels.h5
    sqz-encode levels.h5 --bias $bits -q -o again.sqz
    same levels$bits.sqz again.sqz
done
# The reported bytes are those on the disk, and the ledger adds up to them.
sqz-encode c.h5 --json -o d.sqz >encode.json
sqz-info d.sqz --json >info.json
size=$(stat -c %s d.sqz)
holds "output_nbytes is the file's size" "$(number output_nbytes encode.json)" == "$size"
holds "file_nbytes is the file's size" "$(number file_nbytes info.json)" == "$size"
total=$(sed -n '/"ledger"/,/}/s/.*_nbytes": \([0-9]*\).*/\1/p' info.json | awk '{ sum += $1 } END { print sum }')
holds "the ledger adds up" "$total" == "$size"
ratio=$(awk -v f="$(number float_nbytes info.json)" -v s="$size" 'BEGIN { printf "%.6g", f / s }')
holds "the ratio is that of the bytes" "$(printf %.6g "$(number ratio info.json)")" == "$ratio"
holds "half of the kernels' weights are left" "$(number density info.json)" == 0.5
ls
