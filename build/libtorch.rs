//! Build script of the packages that link libtorch: finds it in the checkout's own folder (or where
//! `LIBTORCH` says), names the command that brings it when it is not there, and leaves a run path
//! in the linked programs, so that they start from any folder with nothing exported.
//!
//! It is a whole build script, and a module of build scripts that do more.
use std::env;
use std::path::{Path, PathBuf};

#[allow(dead_code)]
fn main() {
    find();
}

/// The folder of libtorch; `None` where it is missing, which cargo has been told then.
pub fn find() -> Option<PathBuf> {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-changed=../build/libtorch.rs");

    let libtorch = match env::var_os("LIBTORCH") {
        Some(folder) => PathBuf::from(folder),
        None => checkout().join(".native/site/torch"),
    };
    let lib = libtorch.join("lib");
    let wanted = lib.join("libtorch_cpu.so");
    println!("cargo::rerun-if-changed={}", wanted.display());
    if !wanted.exists() {
        println!(
            "cargo::error=libtorch is missing: {} does not exist. Run `make setup` once (it fetches the \
             pinned libraries into .native/), or set LIBTORCH to an unpacked libtorch of the version \
             that native.mk names.",
            wanted.display()
        );
        return None;
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo::rustc-env=GLOW_LIBTORCH_DIR={}", lib.display());
    Some(libtorch)
}

/// Every package that uses this script is a folder of the checkout.
fn checkout() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    Path::new(&package).parent().expect("a package lies in the checkout").to_path_buf()
}
