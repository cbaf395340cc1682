#!/usr/bin/env bash
# Builds the Python package, installs it as its users do, into a fresh environment, and tests it there:
#   build/test-python.sh PACKAGE...    the pinned packages of that environment
set -euo pipefail

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
  echo 'not run: the Python package needs Python 3.10 or newer (name one: make test-python PYTHON=...)'
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/env"
bin=$folder/env/bin
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0
"$bin/python" -m pip install --quiet --no-deps --only-binary=:all: --retries 2 "$@"

package=glow-runtime/python
"$bin/maturin" build --profile dev ${CI:+--locked} --manifest-path $package/Cargo.toml \
  --interpreter "$bin/python" --out "$folder/wheel"
"$bin/python" -m pip install --quiet --no-deps "$folder"/wheel/*.whl
cd $package
# From the installed package alone, and without files of Python's own in the sources.
PYTHONDONTWRITEBYTECODE=1 "$bin/python" -m pytest -q -p no:cacheprovider
