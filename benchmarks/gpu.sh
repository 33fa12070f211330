#!/bin/bash
# Measures training on a GPU, step by step, and the time per part; about 5 minutes. Needs neither internet nor Ray.
#
#   benchmarks/gpu.sh                       on a machine with an NVIDIA GPU and torch
#   benchmarks/gpu.sh --wheels FOLDER       first unpacks wheels of packages that the machine lacks
#   benchmarks/gpu.sh --device cpu          a rehearsal with a small network, about a minute
#
# Options of benchmarks/gpu.py can follow. PYTHON is the interpreter (default: python3). To download the wheels on a machine
# with internet, for example for Python 3.12:
#   pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux2014_x86_64 -d FOLDER \
#       pydantic pydantic-core annotated-types typing-inspection
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if [ "${1:-}" = --wheels ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$2"/*.whl
    export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
    shift 2
fi
PYTHONUNBUFFERED=1 "$python" benchmarks/gpu.py "$@"
