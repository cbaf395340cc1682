//! Build script of glow-runtime: tells the library where the checkout's own ONNX Runtime lies, the
//! last of the places it looks. Nothing is linked: the library is opened at run time.
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=../build/onnxruntime.rs");
    let native = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.native/site/onnxruntime/capi");
    let native = native.canonicalize().unwrap_or(native);
    println!("cargo::rustc-env=GLOW_NATIVE_ONNXRUNTIME={}", native.display());
}
