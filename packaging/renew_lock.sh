#!/bin/sh
# Resolve pyproject.toml into requirements.lock, packaging/torch.lock and packaging/image.lock.
#   renew_lock.sh                           keep all versions that still fit
#   renew_lock.sh --upgrade                 newest versions
#   renew_lock.sh --upgrade-package NAME    newest version of one package
# Needs a package index and the program uv (pip install uv).
set -eu
cd "$(dirname "$0")/.."
resolve() {
    uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet "$@"
}
command -v uv > /dev/null || { echo "renew_lock.sh: uv was not found; type: pip install uv" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
whole=$folder/whole
grep -v '^#' requirements.lock > "$whole"
cat packaging/torch.lock >> "$whole"
groups=$(python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"])')
# shellcheck disable=SC2046 (a word for each group)
resolve --all-extras $(printf -- '--group %s ' $groups) --output-file "$whole" "$@"
# The image of docker/ needs no tools of development.
resolve --extra s3 --extra server --constraint "$whole" --output-file "$folder/image"
python3 packaging/split_lock.py "$whole" "$folder/image"
