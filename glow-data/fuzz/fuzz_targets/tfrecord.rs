//! A TFRecord file, and the image in one of its records, as the published code's.
#![no_main]

use glow_data::tfrecord::{places, read, record};
use libfuzzer_sys::fuzz_target;
use std::fs::File;
use std::sync::LazyLock;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| {
    let file = |bytes: &[u8]| {
        let path = FOLDER.path().join("fuzzed.tfrecords");
        std::fs::write(&path, bytes).expect("the folder can be written to");
        File::open(path).expect("it was written")
    };
    glow_data::fuzzed::tfrecord(&file(bytes));
    glow_data::fuzzed::example(bytes);
    // What is written is read back, twice.
    let whole = file(&[record(bytes), record(bytes)].concat());
    for place in places(&whole).expect("it was written so") {
        assert_eq!(read(&whole, place).expect("it was written so"), bytes);
    }
});
