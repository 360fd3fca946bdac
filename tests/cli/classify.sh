# classify.sh - sqz-run: images to class names, tensors to raw results, files and pipes.
cp "$samples/fashion_squeezenet.pth" net.pth
sqz-import net.pth --labels "$samples/fashion-mnist/classes.txt" -q -o named.h5
# The first test image, cut out of the IDX file, and the same as a grey PGM of another size.
gunzip -c "$samples/fashion-mnist/t10k-images-idx3-ubyte.gz" | tail -c +17 | head -c 784 >pixels
{ printf 'P5\n28 28\n255\n'; cat pixels; } >first.pgm
run sqz-run named.h5 first.pgm | sed -E 's/ +[0-9]+\.[0-9]+%/  p%/'
run sqz-run net.pth first.pgm first.pgm | sed -E 's/ +[0-9]+\.[0-9]+%/  p%/'
run sh -c 'sqz-run named.h5 - <first.pgm' | sed -E 's/ +[0-9]+\.[0-9]+%/  p%/'
keys sqz-run named.h5 first.pgm --json
# The results as an array, and back as text: (image - 0.2860) / 0.3530 of the net's own preprocessing.
sqz-run named.h5 first.pgm -q -o logits.npy >/dev/null
head -c 128 logits.npy | tr -d '\223' | tr '\0' '.' | sed -E 's/ +/ /g'
npy() { # npy DESCR SHAPE: the header of an array
    local text="{'descr': '$1', 'fortran_order': False, 'shape': $2, }"
    printf '\223NUMPY\001\000'
    printf '\166\000%-117s\n' "$text"
}
# All zeros, as float32 and float64, in one batch and image by image, give the same numbers.
{ npy '<f4' '(2, 1, 28, 28)'; head -c 6272 /dev/zero; } >two.npy
{ npy '<f4' '(1, 28, 28)'; head -c 3136 /dev/zero; } >one.npy
{ npy '>f8' '(1, 1, 28, 28)'; head -c 6272 /dev/zero; } >wide.npy
sqz-run net.pth one.npy >one.txt
sqz-run net.pth two.npy >two.txt
cat one.txt one.txt | cmp - two.txt && echo "two images at once give the same as one"
sqz-run net.pth wide.npy | cmp - one.txt && echo "float64 gives the same as float32"
# The preprocessing options do not touch a tensor.
sqz-run net.pth one.npy --preprocess raw --mean 5 | cmp - one.txt && echo "a tensor goes to the net as it is"
sqz-run net.pth - <one.npy | cmp - one.txt && echo "standard input gives the same"
wc -l <one.txt
wc -w <one.txt
run_masked sqz-run net.pth one.npy --json | head -6
sqz-run net.pth two.npy one.npy -o all.npy && stat -c %s all.npy
# Arrays that do not fit.
{ npy '<f4' '(1, 3, 28, 28)'; head -c 9408 /dev/zero; } >colour.npy
{ npy '<f4' '(1, 1, 32, 32)'; head -c 4096 /dev/zero; } >large.npy
{ npy '|O' '(1,)'; printf '\200\004N.'; } >object.npy
{ npy '<f4' '(1, 1, 28, 28)'; head -c 3135 /dev/zero; } >cut.npy
{ npy '<f4' '(1, 1, 28, 28)'; printf '\0\0\300\177'; head -c 3132 /dev/zero; } >nan.npy
for name in colour large object cut nan; do run sqz-run net.pth $name.npy; done
run_masked sqz-run net.pth large.npy --crop 32
run sqz-run net.pth first.pgm -o first.pgm
run sqz-run net.pth first.pgm -o /dev/full | sed -E 's/ +[0-9]+\.[0-9]+%/  p%/'
ls
