#!/usr/bin/env bash
# Whether no path of this machine is in the files, called in the checkout's root:
#   build/check-paths.sh FILE...
set -euo pipefail

for file in "$@"; do
  [ -f "$file" ] || { echo "error: there is no file $file" >&2; exit 1; }
  for path in "$PWD/" "${CARGO_HOME:-$HOME/.cargo}/" "$HOME/"; do
    if found=$(grep -aoE -m 3 -- "[[:print:]]{0,40}$path[[:print:]]{0,60}" "$file"); then
      printf 'error: %s holds paths of this machine:\n%s\n' "$file" "$found" >&2
      exit 1
    fi
  done
done
