# usage.sh - wrong command lines: one line on standard error, exit code 2, and nothing is read or written.
cp "$samples/fashion_squeezenet.pth" net.pth
run sqz
run sqz nonsense
run sqz-prune net.pth -o out.h5
run sqz-prune net.pth --density 0 -o out.h5
run sqz-prune net.pth --density 1.5 -o out.h5
run sqz-prune net.pth --density -0.1 -o out.h5
run sqz-prune net.pth --density half -o out.h5
run sqz-prune net.pth --density 'features.*=0' -o out.h5
run sqz-prune net.pth --density 0.5 --threshold 0.1 -o out.h5
run sqz-prune net.pth --threshold -1 -o out.h5
run sqz-prune net.pth --scope global --threshold 0.1 -o out.h5
run sqz-prune net.pth --density 0.5 --min-per-layer 3 -o out.h5
run sqz-prune net.pth --density 0.5 --scope everywhere -o out.h5
run sqz-prune net.pth second.pth --density 0.5 -o out.h5
run sqz-quantize net.pth --bits 0 -o out.h5
run sqz-quantize net.pth --bits 9 -o out.h5
run sqz-quantize net.pth --bits 2.5 -o out.h5
run sqz-quantize net.pth --bits 'classifier*=9' -o out.h5
run sqz-quantize net.pth --method exact -o out.h5
run sqz-quantize net.pth --method optimal --seed 3 -o out.h5
run sqz-encode net.pth --coder zip -o out.sqz
run sqz-encode net.pth --bias fp64 -o out.sqz
run sqz-decode net.pth --to caffe -o out.h5
run sqz-decode net.pth -o out.sqz
run sqz-export net.pth -o out.tar
run sqz-export net.pth -o out.pth
run sqz-export net.pth -o out.sqz
run sqz-import net.pth --std 0 -o out.h5
run sqz-import net.pth --preprocess theirs -o out.h5
run sqz-info net.pth --frobnicate
run sqz-info net.pth --order rgb
run sqz-run net.pth
run sqz-run - -
run sqz-eval net.pth
run sqz-eval net.pth --data . --max-drop 1
run sqz-eval net.pth --data . --limit 0
run sqz-eval net.pth --data . --batch 0
run sqz-eval net.pth --data . --min-top1 101
run sqz-eval net.pth --data . --threads -1
run sqz-compare --data .
run sqz-compare net.pth
run sqz-compare net.pth --data . --csv --json
ls
