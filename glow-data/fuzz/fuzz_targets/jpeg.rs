//! A JPEG file: the check for completeness, and decoding. The last byte says where to cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&place, file)) = bytes.split_last() else { return };
    glow_data::fuzzed::jpeg(file, file.len() * usize::from(place) / 256);
});
