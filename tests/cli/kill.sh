# kill.sh - a command killed at any moment leaves its previous output whole, and a signal that can be caught no litter.
sqz-quantize "$samples/fashion_alexnet.pth" -q -o model.h5
echo "the old file" >out.sqz
cp out.sqz old
sqz-encode model.h5 -q -o new
# Delays from before the first byte to after the last one.
for signal in TERM INT HUP KILL; do
    for delay in 0 0.005 0.01 0.02 0.03 0.05 0.08 0.12 0.2 0.4; do
        cp old out.sqz
        # A shell without job control lets its children ignore SIGINT, so env restores it.
        env --default-signal=INT,HUP sqz-encode model.h5 -q -o out.sqz &
        child=$!
        sleep $delay
        kill -$signal $child 2>/dev/null
        wait $child 2>/dev/null
        cmp -s out.sqz old || cmp -s out.sqz new || echo "$signal after $delay s: neither the old file nor the new one"
        [ $signal = KILL ] || ls -A | grep -v -x -e model.h5 -e out.sqz -e old -e new
    done
done
echo "done"
