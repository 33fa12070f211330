#!/bin/sh
# An environment with the locked dependencies and this project: make_venv.sh FOLDER [PYTHON]
set -eu
venv=$1
python=${2:-python3}
cd "$(dirname "$0")/.."
install() { "$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check "$@"; }

"$python" -m venv "$venv"
# netifaces is first: hpbandster asks for it, and the stand-in needs no C compiler (docs/decisions).
install ./packaging/netifaces
install -r requirements.lock
install --no-deps -e .
# Else each process compiles Ray, torch and MLflow anew where Python may not write beside them. Some packages' tests
# are no Python, which compileall takes for an error.
"$venv/bin/python" -m compileall -q -j 0 "$venv/lib" emotune > /dev/null || true
