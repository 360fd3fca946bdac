# bad_output.sh - outputs that cannot be written: exit code 1, and the old file stays whole.
cp "$samples/fashion_squeezenet.pth" net.pth
sqz-quantize net.pth --bits 4 -q -o model.h5
cp model.h5 copy.h5
run sqz-encode model.h5 -o missing/out.sqz
run sqz-encode model.h5 -o model.h5/out.sqz
run sqz-encode model.h5 -o /dev/full
run sqz-prune model.h5 --density 0.5 -o /dev/full
run sqz-decode model.h5 -o /dev/full
run sqz-export model.h5 --to npz -o /dev/full
run sh -c 'sqz-encode model.h5 >/dev/full'
run sh -c 'sqz-info model.h5 >/dev/full'
run sh -c 'sqz-prune --help >/dev/full'
mkdir readonly
chmod 555 readonly
run as_user sqz-encode model.h5 -o readonly/out.sqz
run as_user sqz-prune model.h5 --density 0.5 -o readonly/out.h5
# Over its input: by the same name, another spelling, a symbolic and a hard link.
ln -s model.h5 symbolic.h5
ln model.h5 hard.h5
run sqz-prune model.h5 --density 0.5 -o model.h5
run sqz-prune model.h5 --density 0.5 -o ./model.h5
run sqz-quantize model.h5 -o symbolic.h5
run sqz-encode hard.h5 -o model.h5
run sqz-export model.h5 --to onnx -o model.h5
same model.h5 copy.h5
rm hard.h5
# A binary file does not go to a terminal. The terminal ends its lines with a carriage return.
run script -qec 'sqz-prune model.h5 --density 0.5' /dev/null | tr -d '\r'
run script -qec 'sqz-prune --density 0.5 -o out.h5' /dev/null | tr -d '\r'
# Devices are written as they are.
run_masked sqz-encode model.h5 -o /dev/null
sqz-encode model.h5 -q -o model.sqz
run sh -c 'sqz-encode model.h5 -q -o /dev/stdout | cmp - model.sqz'
run sh -c 'sqz-prune model.h5 -q --density 1 -o /dev/stdout | sqz-info -q >/dev/null'
# A disk that is full leaves the old file and no other.
run sh -c 'ulimit -f 4; trap "" XFSZ; sqz-encode model.h5 -o model.sqz'
run sh -c 'ulimit -f 4; trap "" XFSZ; sqz-prune model.h5 --density 0.5 -o copy.h5'
same model.h5 copy.h5
ls -A . readonly
