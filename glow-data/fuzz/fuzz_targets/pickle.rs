//! A pickle, as CIFAR-10's.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| glow_data::fuzzed::pickle(bytes));
