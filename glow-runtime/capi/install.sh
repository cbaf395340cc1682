#!/usr/bin/env bash
# Puts glow.h, the shared and the static library and glow.pc below a prefix:
#   install.sh PREFIX BUILT     BUILT is the folder with libglow.so and libglow.a
# DESTDIR goes before the prefix, as packagers use it.
set -euo pipefail

prefix=$1 built=$2
here=$(cd "$(dirname "$0")" && pwd)
to=${DESTDIR:-}$prefix
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml" | head -1)
# The name that the linker wrote into it, libglow.so.0.1.
soname=$(objdump -p "$built/libglow.so" | sed -n 's/^ *SONAME *//p')

install -d "$to/include" "$to/lib/pkgconfig"
install -m 644 "$here/include/glow.h" "$to/include/glow.h"
install -m 644 "$built/libglow.a" "$to/lib/libglow.a"
install -m 755 "$built/libglow.so" "$to/lib/libglow.so.$version"
ln -sf "libglow.so.$version" "$to/lib/$soname"
ln -sf "$soname" "$to/lib/libglow.so"
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" "$here/glow.pc.in" > "$to/lib/pkgconfig/glow.pc"
