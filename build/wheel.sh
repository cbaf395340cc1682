#!/usr/bin/env bash
# Builds the wheel that runs on any Linux with glibc 2.17 or newer, linked by zig, and the source distribution:
#   build/wheel.sh OUT PACKAGE...      the pinned packages that build it
set -euo pipefail

out=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0
"$folder/env/bin/python" -m pip install --quiet --no-deps --only-binary=:all: --retries 2 "$@"
# No path of this machine goes into it.
export PATH="$folder/env/bin:$PATH" VIRTUAL_ENV="$folder/env"
manifest=glow-runtime/python/Cargo.toml
build/relocatable.sh maturin build --manifest-path $manifest --target-dir "$out/../relocatable" \
  --release --zig --compatibility manylinux_2_17 --out "$folder/wheel"
python -m zipfile -e "$folder"/wheel/*.whl "$folder/unpacked"
find "$folder/unpacked" -type f -print0 | xargs -0 build/check-paths.sh
mkdir -p "$out"
mv "$folder"/wheel/*.whl "$out"
maturin sdist --manifest-path $manifest --out "$out"
