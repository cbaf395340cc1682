// The compiler finds this file only where libtorch's own torch/torch.h is missing (see
// .cargo/config.toml), so that a build without libtorch ends with what to do about it.
#error "libtorch is missing. Run `make setup` once (it fetches the pinned libraries into .native/), or set LIBTORCH to an unpacked libtorch of the version that native.mk names."
// Ends the compilation here: a missing file is fatal, #error alone is not.
#include "run: make setup"
