//! Latents as numpy writes them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| glow_runtime::fuzzed::npy(bytes));
