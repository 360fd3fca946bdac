#!/bin/bash
# bench_peers.sh - `make bench-peers`: makes a Python environment with the peers and the models, and runs bench_peers.py.
#
# The environment is made once, in build/peers; SQZ_PEERS_PYTHON names another interpreter that has the packages.
# Arguments go to bench_peers.py.
set -e
cd "$(dirname "$0")/../.."
python=${SQZ_PEERS_PYTHON:-build/peers/bin/python}
if [ ! -x "$python" ]; then
    trap 'rm -rf build/peers' EXIT # half an environment is none
    python3 -m venv build/peers
    build/peers/bin/pip install --quiet numpy onnx onnxruntime==1.32.0 ncnn==1.0.20261020 openvino==2026.4.1
    trap - EXIT
fi
tests/bench/make_models.sh build/bench
exec "$python" tests/peers/bench_peers.py build/bench "$@"
