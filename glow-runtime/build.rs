//! Tells the library which checkout it was compiled in, so that programs which are run where they were built
//! find the ONNX Runtime that `make setup` fetches, before and after it was fetched. A crate from a registry
//! is in no checkout and knows no such place. Neither does a program that is built to be passed on, with
//! `GLOW_RELOCATABLE=1` set: an absolute path of the builder's machine means nothing elsewhere.
use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=GLOW_RELOCATABLE");
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let checkout = Path::new(&package).parent().filter(|folder| folder.join("native.mk").is_file());
    if let Some(checkout) = checkout
        && env::var_os("GLOW_RELOCATABLE").is_none()
    {
        println!("cargo::rustc-env=GLOW_CHECKOUT={}", checkout.display());
    }
}
