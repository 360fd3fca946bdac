# layers.sh - choosing layers by patterns.
cp "$samples/fashion_squeezenet.pth" net.pth
run sqz-prune net.pth --density 'fire9*=0.5' -o out.h5
run sqz-quantize net.pth --bits 'conv1=4' -o out.h5
# One layer alone; the last match wins; a density of 1 changes nothing.
run sqz-prune net.pth --density 'features.0=0.25' -o out.h5
run sqz-prune net.pth --density 0.5 --density 'features.*=1' --density 'features.12.*=0.1' -o out.h5
sqz-prune net.pth --density 1 -q -o same.h5
sqz-import net.pth -q -o import.h5
sqz-encode same.h5 -q -o same.sqz 2>/dev/null
sqz-encode import.h5 -q -o import.sqz 2>/dev/null
same same.sqz import.sqz
# One threshold for all layers, and what it does to the thin ones.
run sqz-prune net.pth --density 0.02 --scope global --min-per-layer 40 -o out.h5
run sqz-prune net.pth --sensitivity 'features.3.*=1' -o out.h5
run sqz-prune net.pth --threshold 'features.0=1e9' -o out.h5
run_masked sqz-quantize net.pth --bits 5 --bits 'features.*=4' --bits classifier.1=1 -o out.h5
