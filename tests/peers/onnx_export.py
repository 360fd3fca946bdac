#!/usr/bin/env python3
# onnx_export.py - compares what sqz computes for compressed models with what ONNX Runtime makes of their ONNX export.
#
# Not a part of `make check`: it needs Python with numpy, onnx and onnxruntime. From the root of the source tree:
#
#     make && python3 tests/peers/onnx_export.py [MODEL...]
#
# Without arguments the two sample nets are taken and, where SQZ_SHARED (by default ../shared) exists, the trained
# SqueezeNets in it. Each model is shared to a few bits, coded, exported and run on the same random tensors by sqz-run
# and by ONNX Runtime. SQZ_BIN is the folder with the commands (by default build/release). Ends with 1 when a result is
# more than 1e-4 away.
import os
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime

TOLERANCE = 1e-4  # what the project promises; logits are of the order of ten
N_IMAGES = 8


def command(name, *arguments):
    path = os.path.join(os.environ.get("SQZ_BIN", "build/release"), "sqz-" + name)
    subprocess.run([path, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def models():
    found = ["samples/fashion_squeezenet.pth", "samples/fashion_alexnet.pth"]
    folder = os.path.join(os.environ.get("SQZ_SHARED", "../shared"), "data", "models")
    if not os.path.isdir(folder):
        print("SKIPPED the trained SqueezeNets (SQZ_SHARED not found)", file=sys.stderr)
        return found
    return found + [os.path.join(folder, name) for name in
                    ("squeezenet1_1.pth", "squeezenet1_1.onnx", "squeezenet_v1.1.ncnn.param", "han_squeezenet_v1.0.net")]


def largest_difference(model, options, folder):
    """Share, code, export; run both on the same tensors. Returns the difference and the size of the results."""
    packed, export = os.path.join(folder, "m.sqz"), os.path.join(folder, "m.onnx")
    tensor, result = os.path.join(folder, "in.npy"), os.path.join(folder, "out.npy")
    shared = os.path.join(folder, "m.h5")
    command("quantize", model, *options, "-q", "-o", shared)
    command("encode", shared, "-q", "-o", packed)
    command("export", packed, "-q", "-o", export)
    onnx.checker.check_model(onnx.load(export))
    session = onnxruntime.InferenceSession(export, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    shape = [N_IMAGES] + [int(n) for n in entry.shape[1:]]
    numpy.save(tensor, numpy.random.default_rng(1).standard_normal(shape).astype(numpy.float32))
    images = numpy.load(tensor)
    command("run", packed, tensor, "-o", result)
    ours = numpy.load(result).reshape(N_IMAGES, -1)
    theirs = numpy.concatenate([session.run(None, {entry.name: image[None]})[0].reshape(1, -1) for image in images])
    return numpy.abs(ours - theirs).max(), numpy.abs(theirs).max()


def main():
    failed = False
    for model in sys.argv[1:] or models():
        for options in (["--bits", "8"], ["--bits", "5"]):
            with tempfile.TemporaryDirectory() as folder:
                difference, size = largest_difference(model, options, folder)
            wrong = not difference <= TOLERANCE
            failed |= wrong
            print("%-12s %s: %.2g away, results up to %.3g%s" %
                  (" ".join(options), os.path.basename(model), difference, size, "  WRONG" if wrong else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
