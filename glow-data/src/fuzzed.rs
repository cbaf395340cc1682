//! The readers of strangers' files, for the fuzz targets in `fuzz/`: each reads all that the bytes hold and
//! panics if that breaks what the reader promises. Built by cargo-fuzz alone.

use std::fs::File;
use std::path::Path;

use glow_models::Preprocessing;

use crate::containers::{idx, lmdb::Lmdb, npz::Npz, pickle::Pickle, tfrecord};
use crate::kinds::openai::Record;
use crate::{Fit, ImageShape, decode_image, jpeg};

/// An idx file holds as many bytes as its dimensions say.
pub fn idx(bytes: &[u8]) {
    fn check<const D: usize>(bytes: &[u8]) {
        let Ok(idx) = idx::parse::<D>(bytes, Path::new("fuzzed")) else { return };
        assert_eq!(idx.bytes.len(), idx.dimensions.iter().product::<usize>());
    }
    check::<1>(bytes);
    check::<3>(bytes);
}

/// A pickle's array lies within the file.
pub fn pickle(bytes: &[u8]) {
    let Ok(pickle) = Pickle::parse(bytes) else { return };
    if let Some(array) = pickle.byte_array("data") {
        assert_eq!(array.bytes.len(), array.rows * array.columns);
        let (file, inner) = (bytes.as_ptr_range(), array.bytes.as_ptr_range());
        assert!(file.start <= inner.start && inner.end <= file.end);
    }
    if let Some(labels) = pickle.integers("labels") {
        assert!(labels.len() <= bytes.len());
    }
}

/// `data.mdb` in `folder`: each value can be read, and the keys take no more memory than the file.
pub fn lmdb(folder: &Path) {
    let Ok(lmdb) = Lmdb::open(folder) else { return };
    let length = folder.join("data.mdb").metadata().expect("it was read").len() as usize;
    let keys: usize = (0..lmdb.len()).map(|index| lmdb.key(index).len()).sum();
    assert!(keys <= length, "{keys} bytes of keys in {length}");
    for index in 0..lmdb.len() {
        lmdb.value(index).expect("a value lies within the file");
    }
}

/// The npz file `path`: each row of its array has its size, and its labels can be read.
pub fn npz(path: &Path) {
    let Ok(mut npz) = Npz::open(path) else { return };
    if let Ok(rows) = npz.byte_rows("data", 1 << 24) {
        let mut row = Vec::new();
        for index in 0..rows.rows.min(1000) {
            row.clear();
            rows.read(index, &mut row).expect("a row lies within the file");
            assert_eq!(row.len(), rows.columns);
        }
    }
    let _ = npz.integers("labels");
}

/// A file of records: each has its length or a wrong checksum.
pub fn tfrecord(file: &File) {
    let Ok(places) = tfrecord::places(file) else { return };
    for place in places {
        if let Ok(bytes) = tfrecord::read(file, place) {
            example(&bytes);
        }
    }
}

/// The image of one record has as many bytes as its shape says.
pub fn example(bytes: &[u8]) {
    let Ok(record) = Record::parse(bytes) else { return };
    assert_eq!(record.pixels.len(), record.shape.iter().product::<usize>());
}

/// A JPEG file is told to be whole or not, and what follows a whole one, here what follows its first `cut`
/// bytes, changes nothing. Then it is decoded.
pub fn jpeg(bytes: &[u8], cut: usize) {
    let complete = jpeg::is_complete(bytes, (8, 8));
    if jpeg::reaches_end_marker(&bytes[..cut.min(bytes.len())]) {
        assert!(complete, "whole after {cut} of {} bytes", bytes.len());
    }
    let shape = ImageShape { height: 2, width: 2, channels: 3 };
    let fit = Fit { shape, preprocessing: Preprocessing::default(), random_crop: 0 };
    if let Ok(image) = decode_image(bytes, Some(image::ImageFormat::Jpeg), fit, 0) {
        assert_eq!(image.pixels.len(), shape.bytes());
    }
}
