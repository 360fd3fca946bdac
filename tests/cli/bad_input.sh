# bad_input.sh - unreadable and malformed input: one line that names the file, exit code 1, no output left behind.
: >empty.h5
echo "This is not a model." >text.pth
mkdir folder.h5
head -c 4096 /bin/true >program.bin
cp "$samples/fashion_squeezenet.pth" net.pth
sqz-quantize net.pth --bits 4 -q -o good.h5
sqz-encode good.h5 -q -o good.sqz
head -c 1000 good.h5 >cut.h5
head -c 1000 good.sqz >cut.sqz
head -c 100000 net.pth >cut.pth
run sqz-info missing.pth
run sqz-info empty.h5
run sqz-info text.pth
run sqz-info folder.h5
run_masked sqz-info cut.h5
run_masked sqz-info cut.sqz
run_masked sqz-info cut.pth
run sqz-info program.bin
run sqz-prune missing.pth --density 0.5 -o out.h5
run sqz-quantize text.pth -o out.h5
run sqz-encode empty.h5 -o out.sqz
run sqz-decode text.pth -o out.h5
run sqz-export text.pth -o out.npz
run sqz-import text.pth -o out.h5
run sqz-import net.pth --arch nonsense -o out.h5
run sqz-import net.pth --labels missing.txt -o out.h5
run sqz-import net.pth --labels text.pth -o out.h5
run sqz-import net.pth --labels good.h5 -o out.h5
run sqz-import net.pth --crop 4 -o out.h5
run sqz-eval missing.sqz --data "."
run sqz-eval net.pth --data missing-folder
run sqz-eval net.pth --data "." --baseline text.pth
run sqz-run net.pth missing.png
run sqz-run net.pth empty.h5
run_masked sqz-run net.pth text.pth
run sqz-compare net.pth text.pth --data missing-folder
# Standard input that is empty, or not a model.
run sh -c 'sqz-info </dev/null'
run sh -c 'cat text.pth | sqz-encode -o out.sqz'
# Every byte of a small file flipped in turn: an error, or a model that is still a model; never anything else.
for at in 8 40 77 200 1000 5000; do
    for name in good.h5 good.sqz; do
        cp $name flipped
        byte=$(od -An -tu1 -j$at -N1 flipped | tr -d ' ')
        printf "\\x$(printf %x $((byte ^ 16)))" | dd of=flipped bs=1 seek=$at conv=notrunc 2>/dev/null
        sqz-info flipped >/dev/null 2>message
        code=$?
        [ $code = 1 ] && [ "$(wc -l <message)" = 1 ] || echo "$name with byte $at flipped: exit $code, $(cat message)"
    done
done
# Truncated at each sixteenth of its length.
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    for name in good.h5 good.sqz net.pth; do
        head -c $(($(stat -c %s $name) * i / 16)) $name >cut
        sqz-info cut >/dev/null 2>message
        code=$?
        [ $code = 1 ] && [ "$(wc -l <message)" = 1 ] || echo "$name cut at $i/16: exit $code, $(cat message)"
    done
done
ls
