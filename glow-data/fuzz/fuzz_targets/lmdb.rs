//! An LMDB file, as LSUN's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(FOLDER.path().join("data.mdb"), bytes).expect("the folder can be written to");
    glow_data::fuzzed::lmdb(FOLDER.path());
});
