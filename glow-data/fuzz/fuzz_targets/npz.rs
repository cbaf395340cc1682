//! An npz file, as the downsampled ImageNet's: first the bytes as such a file, then as an array in one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::{Cursor, Write};
use std::sync::LazyLock;
use tempfile::TempDir;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    let read = |file: &[u8]| {
        let path = FOLDER.path().join("fuzzed.npz");
        std::fs::write(&path, file).expect("the folder can be written to");
        glow_data::fuzzed::npz(&path);
    };
    read(bytes);
    // The checksums that a fuzzer does not guess.
    let even = bytes.len().is_multiple_of(2);
    let method = if even { CompressionMethod::Stored } else { CompressionMethod::Deflated };
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for name in ["data.npy", "labels.npy"] {
        zip.start_file(name, SimpleFileOptions::default().compression_method(method)).expect("in memory");
        zip.write_all(bytes).expect("in memory");
    }
    read(zip.finish().expect("in memory").get_ref());
});
