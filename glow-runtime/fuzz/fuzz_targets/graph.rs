//! An ONNX file: its constants in the weights, and those at other places.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| glow_runtime::fuzzed::graph(bytes));
