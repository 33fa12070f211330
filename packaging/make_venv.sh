#!/bin/sh
# An environment with the locked dependencies and this project: make_venv.sh FOLDER [PYTHON]
set -eu
venv=$1
python=${2:-python3}
cd "$(dirname "$0")/.."
started=$(date +%s)

refuse() {
    echo "emotune: $*" >&2
    exit 2
}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null) ||
    refuse "$python does not start; expected Python 3.11 to 3.14. Install one, and type: make setup PYTHON=python3.12"
case $version in
3.11 | 3.12 | 3.13 | 3.14) ;;
*) refuse "$python is Python $version; expected Python 3.11 to 3.14. Install one, and type: make setup PYTHON=python3.12" ;;
esac
"$python" -c 'import ensurepip, venv' 2> /dev/null ||
    refuse "$python has no module venv; on Debian and Ubuntu type: apt install python$version-venv"

# hpbandster requires netifaces, whose stand-in needs no C compiler (docs/decisions).
install() { "$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check "$@"; }
packages=$(grep -c '^[a-zA-Z0-9].*==' requirements.lock)
echo "$venv: Python $version, $packages packages and torch: 3.2 GB on disk, 2 to 5 minutes;"
echo "about 7 GB and 10 minutes where the package index offers torch with CUDA only"
"$python" -m venv "$venv"
install ./packaging/netifaces
echo "installing $packages packages of requirements.lock ..."
install --no-deps --require-hashes -r requirements.lock
echo "installing $(grep '^torch' packaging/torch.lock) ..."
install -r packaging/torch.lock
install --no-deps -e .
# Else each process compiles Ray, torch and MLflow anew where Python may not write beside them. Some packages' tests
# are no Python, which compileall takes for an error.
echo "compiling ..."
"$venv/bin/python" -m compileall -q -j 0 "$venv/lib" emotune > /dev/null || true
echo "$venv is ready: $(du -sh "$venv" | cut -f 1)B, $(($(date +%s) - started)) s"
