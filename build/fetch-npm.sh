#!/usr/bin/env bash
# Unpacks packages of npm into a folder, whole or not at all, as fetch.sh does with Python wheels.
#
#   build/fetch-npm.sh FOLDER STAMP WHAT SIZE PACKAGE@VERSION...
#
# npm compares each with the checksum of its registry. Nothing is installed and no script of a package is run:
# FOLDER/PACKAGE holds its files. Source maps are left out.
set -euo pipefail

folder=$1 stamp=$2 what=$3 size=$4
shift 4
new=$PWD/$folder.part

echo "Fetching $what"
echo "  into $folder: $size"

trap 'rm -rf "$new"' EXIT
rm -rf "$new" "$folder.old"
mkdir -p "$new/unpacked"

for package; do
  if ! archive=$(cd "$new" && npm pack --silent --ignore-scripts "$package"); then
    cat >&2 <<MESSAGE

error: could not fetch $package.
  npm says above why; it comes with Node.js (Debian: nodejs and npm). $folder is as it was before.
  Run \`make setup WEB=1\` again with network access.
MESSAGE
    exit 1
  fi
  mkdir -p "$new/unpacked/${package%@*}"
  tar -xzf "$new/$archive" -C "$new/unpacked/${package%@*}" --strip-components 1 --exclude '*.map'
done

(
  cd "$new/unpacked"
  eval "${FINISH:-}"
)
touch "$new/unpacked/$stamp"

if [ -e "$folder" ]; then mv "$folder" "$folder.old"; fi
mv "$new/unpacked" "$folder"
rm -rf "$folder.old"
