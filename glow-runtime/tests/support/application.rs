//! An application that uses the crate `ort` for itself.
#![allow(dead_code, reason = "each test uses a part of it")]

use glow_runtime::ort::environment::{Environment, EnvironmentBuilder};
use glow_runtime::ort::session::Session;
use glow_runtime::ort::value::Tensor;
use glow_runtime::ort::{self, inputs};
use std::path::{Path, PathBuf};

/// The library that tests run with.
pub fn library() -> PathBuf {
    let named = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    let folder = named
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.native/site/onnxruntime/capi"));
    if folder.is_file() {
        return folder;
    }
    let files = folder.read_dir().unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.to_string_lossy().contains("libonnxruntime.")).max().unwrap()
}

/// The beginning of an environment of the application's own.
pub fn environment() -> EnvironmentBuilder {
    ort::init_from(library()).unwrap().with_name("application").with_telemetry(false)
}

/// Pixels that the application computes in a session of its own.
pub fn pixels(environment: &Environment) -> Vec<u8> {
    let graph = super::unconditional().join("decoder.onnx");
    let mut session = Session::builder(environment).unwrap().commit_from_file(graph).unwrap();
    let level = |shape: [usize; 4]| {
        let size: usize = shape.iter().product();
        let numbers: Vec<f32> = (0..size).map(|i| (i % 19) as f32 / 19.0 - 0.5).collect();
        Tensor::from_array((shape, numbers)).unwrap()
    };
    let latents = inputs!["eps_0" => level([1, 6, 4, 4]), "eps_1" => level([1, 24, 2, 2])];
    let outputs = session.run(latents).unwrap();
    outputs[0].try_extract_tensor::<u8>().unwrap().1.to_vec()
}
