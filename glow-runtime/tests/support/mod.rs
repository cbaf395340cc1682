//! The bundles that the tests run on: a random model of 8×8 RGB images with two levels of two affine
//! steps, and one like it that is conditional on three classes.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod checkpoint;

use glow_runtime::{BundleBytes, Glow, LatentShape};
use ndarray::Array4;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub fn unconditional() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/bundle")
}

pub fn conditional() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/conditional-bundle")
}

pub fn load() -> Glow {
    Glow::load(unconditional()).unwrap()
}

/// A bundle to damage.
pub fn copy(bundle: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in bundle.read_dir().unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// The files of a bundle in memory.
pub fn in_memory(bundle: &Path) -> BundleBytes {
    let read = |file: &str| std::fs::read(bundle.join(file)).unwrap();
    BundleBytes {
        manifest: read("model.json").into(),
        weights: read("model.safetensors").into(),
        encoder: Some(read("encoder.onnx").into()),
        decoder: Some(read("decoder.onnx").into()),
        ..Default::default()
    }
}

/// Images without any structure.
pub fn noise(n: usize) -> Array4<u8> {
    let mut state = 1u64;
    Array4::from_shape_simple_fn((n, 8, 8, 3), || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    })
}

pub fn shapes() -> [LatentShape; 2] {
    [LatentShape { channels: 6, height: 4, width: 4 }, LatentShape { channels: 24, height: 2, width: 2 }]
}
