#!/usr/bin/env python3
# nncodec_compare.py - how many bytes sqz-compress needs beside nncodec, ISO 15938-17 as its authors ship it.
#
# Not a part of `make check`: it needs Python with numpy, torch and nncodec 2.1.3 (pip install nncodec==2.1.3), and
# SqueezeNet v1.1 and the photographs in SQZ_SHARED (by default ../shared). From the root of the source tree:
#
#     make && python3 tests/peers/nncodec_compare.py
#
# nncodec codes the net at several quantisation parameters, without calibration data, with trellis-coded
# quantisation; what it decodes is run by sqz-eval. sqz-compress makes five files, calibrated on other images without
# their labels. For a divergence from the float net of 0.05, 0.1 and 0.2 nats, interpolated on logarithmic scales,
# the table says what both need. Everything measured is kept in build/nncodec_compare/, so that a second run is quick;
# sqz's own files are made again when the command has changed. Ends with 1 when sqz needs more than 0.62 of the bytes.
import hashlib
import json
import os
import subprocess
import sys

import numpy
import torch
from nncodec import nnc

PARAMETERS = (-34, -32, -30, -28, -26, -24, -22)  # from hardly any loss to half of the classes wrong
SIZES = (480000, 400000, 330000, 280000, 240000)
DIVERGENCES = (0.05, 0.1, 0.2)
LARGEST_RATIO = 0.62

BIN = os.environ.get("SQZ_BIN", "build/release")
DATA = os.path.join(os.environ.get("SQZ_SHARED", "../shared"), "data")
MODEL = os.path.join(DATA, "models", "squeezenet1_1.pth")
FOLDER = os.path.join("build", "nncodec_compare")


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Cache:
    """Results by name, valid for one digest of what they were made from."""

    def __init__(self, name, key):
        self.path, self.key, self.values = os.path.join(FOLDER, name), key, {}
        if os.path.exists(self.path):
            with open(self.path) as file:
                kept = json.load(file)
            if kept["key"] == key:
                self.values = kept["values"]

    def get(self, name, make):
        if name not in self.values:
            self.values[name] = make()
            with open(self.path, "w") as file:
                json.dump({"key": self.key, "values": self.values}, file, indent=1)
        return self.values[name]


def evaluate(path, nbytes):
    command = [os.path.join(BIN, "sqz-eval"), path, "--data", os.path.join(DATA, "eval"), "--baseline", MODEL, "--json"]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {"nbytes": nbytes, "kl": result["mean_kl"], "correct": result["top1_correct"],
            "agreement": result["agreement"]}


def code_with_nncodec(parameter):
    weights = {name: tensor.numpy() for name, tensor in torch.load(MODEL, map_location="cpu").items()}
    stream, decoded = os.path.join(FOLDER, "stream.nnc"), os.path.join(FOLDER, "decoded.pth")
    nnc.compress(weights, bitstream_path=stream, qp=parameter, use_dq=True)
    values = nnc.decompress(stream)
    torch.save({name: torch.tensor(numpy.asarray(values[name])).reshape(weights[name].shape) for name in weights},
               decoded)
    return evaluate(decoded, os.path.getsize(stream))


def code_with_sqz(size):
    output = os.path.join(FOLDER, f"{size}.sqz")
    subprocess.run([os.path.join(BIN, "sqz-compress"), MODEL, "--calib", os.path.join(DATA, "calib"), "--target-size",
                    str(size), "--cache", FOLDER, "-q", "-o", output], check=True)
    return evaluate(output, os.path.getsize(output))


def bytes_at(points, divergence):
    """Where the front passes a divergence; NaN outside of it."""
    points = sorted(points, key=lambda point: point["kl"])
    logs = numpy.log([point["kl"] for point in points]), numpy.log([point["nbytes"] for point in points])
    return float(numpy.exp(numpy.interp(numpy.log(divergence), *logs, left=numpy.nan, right=numpy.nan)))


def print_points(title, points):
    print(f"\n{title:<16}{'bytes':>10}{'correct':>10}{'agreement':>11}{'divergence':>12}")
    for name, point in points.items():
        print(f"{name:<16}{point['nbytes']:>10}{point['correct']:>10}{point['agreement']:>11.3f}{point['kl']:>12.4f}")


def main():
    if not os.path.exists(MODEL):
        print("SKIPPED: SqueezeNet v1.1 is not there (SQZ_SHARED not found)", file=sys.stderr)
        return 0
    os.makedirs(FOLDER, exist_ok=True)
    model = digest(MODEL)
    theirs_kept, ours_kept = Cache("nncodec.json", model), Cache("sqz.json", model + digest(os.path.join(BIN, "sqz")))
    theirs = {f"qp {p}": theirs_kept.get(f"qp {p}", lambda p=p: code_with_nncodec(p)) for p in PARAMETERS}
    ours = {f"{size} asked": ours_kept.get(str(size), lambda size=size: code_with_sqz(size)) for size in SIZES}
    print_points("nncodec", theirs)
    print_points("sqz-compress", ours)
    print(f"\n{'divergence':<16}{'nncodec':>10}{'sqz':>10}{'ratio':>8}")
    good = True
    for divergence in DIVERGENCES:
        a, b = bytes_at(list(theirs.values()), divergence), bytes_at(list(ours.values()), divergence)
        good &= b / a <= LARGEST_RATIO
        print(f"{divergence:<16}{a:>10.0f}{b:>10.0f}{b / a:>8.3f}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
