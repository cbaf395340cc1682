#!/usr/bin/env bash
# Runs a command, in the checkout's root, that builds programs which are passed on to other machines: they look for nothing at a
# path of this machine, and the places in the sources that their panics name are not those of this machine either.
#   build/relocatable.sh COMMAND...
set -euo pipefail

separator=$'\x1f'
flags=${CARGO_ENCODED_RUSTFLAGS:-${RUSTFLAGS:+${RUSTFLAGS// /$separator}}}
for folder in "${CARGO_HOME:-$HOME/.cargo}=/cargo" "$PWD=/glow"; do
  flags+=${flags:+$separator}--remap-path-prefix=$folder
done
export CARGO_ENCODED_RUSTFLAGS=$flags GLOW_RELOCATABLE=1
exec "$@"
