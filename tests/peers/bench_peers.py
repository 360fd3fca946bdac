#!/usr/bin/env python3
# bench_peers.py - takes turns with ONNX Runtime, ncnn and OpenVINO on the same models, and prints ours / theirs.
#
# Not a part of `make check`. `make bench-peers` makes the models and the Python environment (bench_peers.sh). All
# runtimes compute in float32 on random input. Each case lets every runtime run for a short while in turn, many times
# over, so that what else goes on in the machine strikes all alike; medians and minima are over all runs of all turns.
#
#     bench_peers.py FOLDER [--rounds N] [--turn MS] [--json FILE] [PATTERN...]
#
# FOLDER is what tests/bench/make_models.sh made; only cases whose names contain a PATTERN are run. SQZ_BIN is the
# folder with bench-serve (build/release by default).
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy

# Logits of random input are of the order of ten; Winograd on both sides costs some of float32's seven digits.
TOLERANCE = 2e-2


def make_input(batch, shape):
    """The numbers that bench-serve runs on."""
    i = numpy.arange(batch * int(numpy.prod(shape)), dtype=numpy.uint64)
    mixed = (i * numpy.uint64(2654435761)) & numpy.uint64(0xFFFFFFFF)
    values = mixed.astype(numpy.float32) * numpy.float32(2.0**-32) - numpy.float32(0.5)
    return (values * numpy.float32(4)).reshape(batch, *shape)


class Ours:
    def __init__(self, model, batch, threads, engine="auto", resident="auto"):
        server = os.path.join(os.environ.get("SQZ_BIN", "build/release"), "bench-serve")
        self.process = subprocess.Popen([server, model, str(batch), str(threads), engine, resident], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        word, weight_nbytes, self.inputs, self.outputs = self.process.stdout.readline().split()
        assert word == "ready"
        self.weight_nbytes = int(weight_nbytes)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return [float(x) for x in self.process.stdout.readline().split()]

    def run(self, n):
        return self.ask(f"run {n}")

    def result(self):
        return numpy.array(self.ask("result"), dtype=numpy.float32)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Peer:
    """A runtime in this process; subclasses define call()."""

    def run(self, n):
        times = []
        for _ in range(n):
            start = time.perf_counter()
            self.call()
            times.append(1e3 * (time.perf_counter() - start))
        return times

    def result(self):
        return numpy.asarray(self.call(), dtype=numpy.float32).ravel()

    def close(self):
        pass


class OnnxRuntime(Peer):
    def __init__(self, model, data, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.feed = {self.session.get_inputs()[0].name: data}

    def call(self):
        return self.session.run(None, self.feed)[0]


class OpenVino(Peer):
    def __init__(self, model, data, threads):
        import openvino

        core = openvino.Core()
        network = core.read_model(model)
        network.reshape(list(data.shape))
        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_PRECISION_HINT": "f32"}
        self.request = core.compile_model(network, "CPU", settings).create_infer_request()
        self.data = openvino.Tensor(data, shared_memory=True)

    def call(self):
        self.request.infer({0: self.data})
        return self.request.get_output_tensor(0).data


class Ncnn(Peer):
    """One image at a time, as ncnn has no batches."""

    def __init__(self, model, data, threads):
        import ncnn

        self.ncnn = ncnn
        self.net = ncnn.Net()
        self.net.opt.num_threads = threads
        self.net.opt.use_fp16_packed = self.net.opt.use_fp16_storage = self.net.opt.use_fp16_arithmetic = False
        self.net.opt.use_bf16_storage = False
        self.net.load_param(model + ".param")
        self.net.load_model(model + ".bin")
        self.image = ncnn.Mat(data[0])

    def call(self):
        extractor = self.net.create_extractor()
        extractor.input("in0", self.image)
        return numpy.array(extractor.extract("out0")[1])


def build(folder, case, data):
    """The runtimes of a case by name, ours first."""
    float_model = os.path.join(folder, case["net"] + ".onnx")
    runtimes = {}
    for name, model, engine, resident in case["ours"]:
        runtimes[name] = Ours(os.path.join(folder, model), case["batch"], case["threads"], engine, resident)
    if case["peers"]:
        runtimes["onnxruntime"] = OnnxRuntime(float_model, data, case["threads"])
        runtimes["openvino"] = OpenVino(float_model, data, case["threads"])
        ncnn_model = os.path.join(folder, case["net"])
        if case["batch"] == 1 and os.path.exists(ncnn_model + ".param"):
            runtimes["ncnn"] = Ncnn(ncnn_model, data, case["threads"])
    return runtimes


def check_results(case, runtimes):
    """All floats of one model must agree: a runtime that computes something else is not a peer."""
    if not case["peers"] or case["ours"][0][1] != case["net"] + ".onnx":
        return
    results = {name: runtime.result() for name, runtime in runtimes.items()}
    wanted = results["onnxruntime"]
    for name, result in results.items():
        difference = float(numpy.abs(result - wanted).max())
        if difference > TOLERANCE * max(1.0, float(numpy.abs(wanted).max())):
            sys.exit(f"bench_peers.py: {case['name']}: {name} is {difference} away from onnxruntime")


def measure(case, runtimes, rounds, turn_ms):
    """Times for one image, by runtime."""
    times = {name: [] for name in runtimes}
    runs = {}
    for name, runtime in runtimes.items():
        runtime.run(2)
        runs[name] = max(2, int(turn_ms / statistics.median(runtime.run(3))))
    for _ in range(rounds):
        for name, runtime in runtimes.items():
            runtime.run(1)  # the caches are another's
            times[name] += [t / case["batch"] for t in runtime.run(runs[name])]
            time.sleep(0.01)  # threads that wait by spinning come to rest
    return times


def all_cases():
    cases = []
    for net in ("squeezenet", "alexnet"):
        for batch in (1, 16):
            for threads in (1, 2):
                cases.append({"name": f"{net} dense b{batch} t{threads}", "net": net, "batch": batch,
                              "threads": threads, "ours": [("ours", net + ".onnx", "dense", "auto")], "peers": True})
    for threads in (1, 2):
        cases.append({"name": f"alexnet shared b1 t{threads}", "net": "alexnet", "batch": 1, "threads": threads,
                      "ours": [("ours", "alexnet.sqz", "auto", "auto"), ("ours packed", "alexnet.sqz", "auto", "packed")],
                      "peers": True})
        cases.append({"name": f"alexnet sparse b1 t{threads}", "net": "alexnet", "batch": 1, "threads": threads,
                      "ours": [("ours", "alexnet_sparse.sqz", "auto", "auto")], "peers": True})
        cases.append({"name": f"squeezenet sparse b1 t{threads}", "net": "squeezenet", "batch": 1, "threads": threads,
                      "ours": [("ours", "squeezenet_sparse.sqz", "auto", "auto"),
                               ("ours sparse", "squeezenet_sparse.sqz", "sparse", "auto"),
                               ("ours dense", "squeezenet_sparse.sqz", "dense", "auto")], "peers": True})
    return cases


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--turn", type=float, default=60.0, help="milliseconds of a runtime's turn")
    parser.add_argument("--json", help="write all figures to this file as well")
    parser.add_argument("patterns", nargs="*")
    options = parser.parse_intermixed_args()
    table = []
    print(f"{'case':27} {'runtime':12} {'min ms':>9} {'median ms':>9}   ours/its: min median   weights in memory")
    for case in all_cases():
        if options.patterns and not any(p in case["name"] for p in options.patterns):
            continue
        data = make_input(case["batch"], (3, 224, 224) if case["net"] == "alexnet" else input_shape(options.folder))
        runtimes = build(options.folder, case, data)
        check_results(case, runtimes)
        times = measure(case, runtimes, options.rounds, options.turn)
        ours_min, ours_median = min(times["ours"]), statistics.median(times["ours"])
        peers = [name for name in runtimes if not name.startswith("ours")]
        for name, runtime in runtimes.items():
            low, median = min(times[name]), statistics.median(times[name])
            nbytes = getattr(runtime, "weight_nbytes", None)
            row = {"case": case["name"], "runtime": name, "min_ms": low, "median_ms": median,
                   "ours_by_min": ours_min / low, "ours_by_median": ours_median / median, "weight_nbytes": nbytes}
            table.append(row)
            print(f"{case['name']:27} {name:12} {low:9.3f} {median:9.3f} {ours_min / low:15.3f} "
                  f"{ours_median / median:6.3f} {f'{nbytes / 1e6:12.2f} MB' if nbytes else ''}", flush=True)
        if peers:
            best_min = min(min(times[name]) for name in peers)
            best_median = min(statistics.median(times[name]) for name in peers)
            print(f"{case['name']:27} {'BEST PEER':12} {best_min:9.3f} {best_median:9.3f} {ours_min / best_min:15.3f} "
                  f"{ours_median / best_median:6.3f}", flush=True)
        for runtime in runtimes.values():
            runtime.close()
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            json.dump(table, stream, indent=2)


def input_shape(folder):
    import onnx

    value = onnx.load(os.path.join(folder, "squeezenet.onnx")).graph.input[0]
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim[1:])


if __name__ == "__main__":
    main()
