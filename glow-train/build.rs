//! Finds libtorch (see `build/libtorch.rs`), and compiles the C interfaces to its c10d library and to its
//! switches for TF32.
#[path = "../build/libtorch.rs"]
mod libtorch;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=c10d");
    println!("cargo::rerun-if-changed=tf32");
    let Some(libtorch) = libtorch::find() else {
        return;
    };
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        // Without it, c10d's headers leave Gloo out.
        .define("USE_C10D_GLOO", None)
        .include("c10d")
        // As the system's headers: their warnings are not ours.
        .flag("-isystem")
        .flag(libtorch.join("include"))
        .flag("-isystem")
        .flag(libtorch.join("include/torch/csrc/api/include"))
        .file("c10d/shim.cpp")
        .file("tf32/shim.cpp")
        .compile("glow_torch");
}
