//! Build script of glow-runtime: tells the library where the checkout keeps its own ONNX Runtime and
//! NVIDIA's libraries, the last of the places it looks. Nothing is linked and nothing need be there
//! yet: the libraries are opened at run time, so a program built before `make setup` finds them
//! after it.
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=../build/onnxruntime.rs");
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let checkout = Path::new(&package).parent().expect("a package lies in the checkout");
    let site = checkout.join(".native/site");
    // Holds libonnxruntime.so and, beside it, its execution providers.
    println!("cargo::rustc-env=GLOW_NATIVE_ONNXRUNTIME={}", site.join("onnxruntime/capi").display());
    // The same with the provider of OpenVINO, and its libraries.
    let openvino = checkout.join(".native/openvino/onnxruntime/capi");
    println!("cargo::rustc-env=GLOW_NATIVE_OPENVINO={}", openvino.display());
    // Holds cu13/lib and cudnn/lib. The CUDA provider has no run path: load these before it.
    println!("cargo::rustc-env=GLOW_NATIVE_NVIDIA={}", site.join("nvidia").display());
}
