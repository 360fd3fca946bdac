# json.sh - the keys of every command's JSON: scripts rely on them, so they are only ever added to.
cp "$samples/fashion_squeezenet.pth" net.pth
keys sqz-import net.pth --json -o a.h5
keys sqz-prune a.h5 --density 0.5 --json -o b.h5
keys sqz-quantize b.h5 --json -o c.h5
keys sqz-encode c.h5 --json -o d.sqz
keys sqz-decode d.sqz --json -o e.h5
keys sqz-export d.sqz --json -o e.npz
keys sqz-info a.h5 --json
keys sqz-info d.sqz --json
# With the model on standard output, the object goes to standard error.
printf '$ sqz-prune a.h5 --density 0.5 --json >model\n'
sqz-prune a.h5 --density 0.5 --json 2>&1 >model | grep -oE '"(output|output_nbytes)": .*'
sqz-info model >/dev/null && echo "the model is whole"
