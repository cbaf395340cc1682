//! Build script of the crates that link libtorch: finds it in the checkout's own folder (or in
//! `LIBTORCH`), says which command brings it when it is not there, and leaves a run path in the
//! linked programs so that they start from any folder with nothing exported.
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-changed=../build/libtorch.rs");
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let libtorch = match std::env::var_os("LIBTORCH") {
        Some(dir) => PathBuf::from(dir),
        None => checkout.join(".native/site/torch"),
    };
    let lib = libtorch.join("lib");
    let wanted = lib.join("libtorch_cpu.so");
    println!("cargo::rerun-if-changed={}", wanted.display());
    if !wanted.exists() {
        println!(
            "cargo::error=libtorch is missing: {} does not exist. Run `make setup` once (it downloads the pinned \
             libraries into .native/), or set LIBTORCH to an unpacked libtorch 2.11.",
            wanted.display()
        );
        return;
    }
    let lib = lib.canonicalize().unwrap_or(lib);
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo::rustc-env=GLOW_LIBTORCH_DIR={}", lib.display());
}
