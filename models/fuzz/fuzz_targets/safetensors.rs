//! A safetensors file: what is taken lies within the file.
#![no_main]

use glow_models::parse_tensors;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensors) = parse_tensors(bytes, Path::new("fuzzed")) else { return };
    let range = bytes.as_ptr_range();
    for (name, view) in tensors.tensors() {
        let data = view.data().as_ptr_range();
        assert!(range.start <= data.start && data.end <= range.end, "{name}");
        let numbers: usize = view.shape().iter().product();
        assert_eq!(view.data().len() * 8, numbers * view.dtype().bitsize(), "{name}");
    }
});
