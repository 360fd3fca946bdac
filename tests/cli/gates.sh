# gates.sh - quality limits: exit code 3 with one line behind the report, 0 when they are met.
cp "$samples/fashion_squeezenet.pth" net.pth
ln -s "$samples/fashion-mnist" data
sqz-quantize net.pth --bits 1 -q -o rough.h5
gate() {
    printf '$ %s\n' "$*"
    "$@" --data data --limit 200 2>message >/dev/null
    printf '= %d\n' $?
    sed -E 's/[0-9]+\.[0-9]+/#/' message
}
gate sqz-eval net.pth --min-top1 80
gate sqz-eval net.pth --min-top1 0.8
gate sqz-eval net.pth --min-top1 0
gate sqz-eval net.pth --min-top1 99.9
gate sqz-eval net.pth --min-top1 0.999
gate sqz-eval net.pth --baseline net.pth --max-drop 0
gate sqz-eval rough.h5 --baseline net.pth --max-drop 5
gate sqz-eval net.pth --baseline rough.h5 --max-drop -1
gate sqz-eval rough.h5 --baseline net.pth --max-drop 100
gate sqz-eval rough.h5 --json --baseline net.pth --max-drop 5
