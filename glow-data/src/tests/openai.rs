//! The published code's TFRecord files.

use super::*;
use crate::tfrecord::record;

const KIND: DataKind = DataKind::Tfrecord;

/// A field of a message, in protobuf's encoding, written by hand so as to be told from the reader.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn integers(values: &[i64]) -> Vec<u8> {
    let packed: Vec<u8> = values.iter().flat_map(|&value| varint(value as u64)).collect();
    field(3, &field(1, &packed))
}

/// A `tf.train.Example` of these features.
fn example(features: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entry = |(name, feature): &(&str, Vec<u8>)| {
        field(1, &[field(1, name.as_bytes()), field(2, feature)].concat())
    };
    field(1, &features.iter().flat_map(entry).collect::<Vec<u8>>())
}

fn image(shape: [i64; 3], value: u8, label: i64) -> Vec<u8> {
    let pixels = vec![value; shape.iter().product::<i64>() as usize];
    example(&[
        ("shape", integers(&shape)),
        ("data", field(1, &field(1, &pixels))),
        ("label", integers(&[label])),
        ("attr", integers(&[])),
    ])
}

fn write(root: &TempDir, part: &str, log: u32, (shard, count): (usize, usize), records: &[Vec<u8>]) {
    let folder = root.path().join(part);
    fs::create_dir_all(&folder).unwrap();
    let name = format!("{part}-r{log:02}-s-{shard:04}-of-{count:04}.tfrecords");
    let bytes: Vec<u8> = records.iter().flat_map(|bytes| record(bytes)).collect();
    fs::write(folder.join(name), bytes).unwrap();
}

/// 8×8 and 16×16 images, three and two in two shards to train on, one for validation.
fn records(root: &TempDir) {
    for log in [3, 4] {
        let image = |value: u8| image([1 << log, 1 << log, 3], value + log as u8, i64::from(value % 4));
        write(root, "train", log, (0, 2), &[image(0), image(1), image(2)]);
        write(root, "train", log, (1, 2), &[image(3), image(4)]);
        write(root, "validation", log, (0, 1), &[image(9)]);
    }
}

fn told(root: &TempDir, side: usize, classes: usize) -> String {
    let mut messages = [CACHE, STREAM].map(|cache| {
        let options = OpenOptions { classes, ..options(cache) };
        open(&spec(KIND, root), shape(side, 3), &options).unwrap_err().to_string()
    });
    assert_eq!(messages[0], messages[1]);
    std::mem::take(&mut messages[0])
}

#[test]
fn the_resolution_that_suits_the_model_is_read_in_the_order_of_the_shards() {
    let root = folder();
    records(&root);
    for (side, log) in [(8, 3), (12, 4), (16, 4)] {
        for cache in [CACHE, STREAM] {
            let options = OpenOptions { classes: 4, ..options(cache) };
            let splits = open(&spec(KIND, &root), shape(side, 3), &options).unwrap();
            assert_eq!((splits.train.len(), splits.validation.len()), (5, 1));
            assert_eq!(splits.train.classes().len(), 4);
            for (i, (name, example)) in all(&*splits.train).into_iter().enumerate() {
                assert_eq!(example.label, i as u32 % 4);
                assert!(example.pixels.iter().all(|&value| value == i as u8 + log));
                let (shard, number) = (i / 3, i % 3);
                assert_eq!(name, format!("train/train-r{log:02}-s-{shard:04}-of-0002.tfrecords#{number}"));
            }
            assert_eq!(splits.validation.load(0, 0).unwrap().label, 1);
        }
    }
}

#[test]
fn images_of_any_shape_are_cropped_at_random() {
    let root = folder();
    // As LSUN at 96 pixels: log₂ is rounded down.
    for part in ["train", "validation"] {
        write(&root, part, 3, (0, 1), &[image([12, 16, 3], 1, 0), image([20, 12, 3], 2, 0)]);
    }
    let options = with(Data { random_crop: 12, ..Data::default() });
    let splits = open(&spec(KIND, &root), RGB8, &options).unwrap();
    let examples = all(&*splits.train);
    assert!(splits.train.classes().is_empty());
    assert!(examples.iter().zip([1, 2]).all(|((_, example), value)| example.pixels == [value; 192]));
}

#[test]
fn damaged_records_are_skipped_and_named() {
    let root = folder();
    records(&root);
    let one = |value| image([8, 8, 3], value, 0);
    let features = |shape: &[i64], bytes: usize| {
        example(&[("shape", integers(shape)), ("data", field(1, &field(1, &vec![0; bytes])))])
    };
    let bad: [(&str, Vec<u8>); 8] = [
        ("it is no Example", vec![0xFF; 30]),
        ("no feature \"data\"", example(&[("shape", integers(&[8, 8, 3]))])),
        ("no feature \"shape\"", example(&[("data", field(1, &field(1, &[0; 192])))])),
        ("its shape [8, 8, 2] is not", features(&[8, 8, 2], 128)),
        ("its shape [8, -8, 3] is not", features(&[8, -8, 3], 192)),
        ("is not that of its 192 bytes", features(&[8, i64::MAX, 3], 192)),
        ("has the label 7, and the model has 4 classes", image([8, 8, 3], 1, 7)),
        ("is 4×4 pixels, smaller", image([4, 4, 3], 1, 0)),
    ];
    let mut all_records = vec![one(5)];
    all_records.extend(bad.iter().map(|(_, bytes)| bytes.clone()));
    all_records.push(one(6));
    write(&root, "train", 3, (0, 2), &all_records);
    // And one whose bytes are not those of its checksum.
    let path = root.path().join("train/train-r03-s-0001-of-0002.tfrecords");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();

    for cache in [CACHE, STREAM] {
        let options = OpenOptions { classes: 4, ..options(cache) };
        let splits = open(&spec(KIND, &root), RGB8, &options).unwrap();
        let usable: std::collections::BTreeSet<u8> =
            all(&*splits.train).iter().map(|(_, example)| example.pixels[0]).collect();
        assert!(usable.into_iter().eq([5, 6, 7]));
        assert_eq!(splits.skipped.count(), 9, "{}", splits.skipped);
        let text = splits.skipped.to_string();
        for (reason, _) in &bad {
            assert!(text.contains(reason), "{text} does not say {reason:?}");
        }
        assert!(
            text.contains("s-0001-of-0002.tfrecords#0: cannot be read as an image: its checksum is wrong")
        );
    }
}

#[test]
fn what_is_wrong_is_told() {
    let root = folder();
    fs::create_dir(root.path().join("train")).unwrap();
    assert!(
        told(&root, 8, 0).contains("train/train-r03-s-0000-of-0001.tfrecords: not found; tfrecord wants")
    );
    records(&root);
    assert!(told(&root, 32, 0).contains("16×16 pixels, smaller than the model's 32×32, as are all 5 images"));
    assert!(told(&root, 8, 1).contains("it has the label 1, and the model has 1 classes (--classes)"));
    let second = root.path().join("train/train-r03-s-0001-of-0002.tfrecords");
    let bytes = fs::read(&second).unwrap();
    fs::remove_file(&second).unwrap();
    assert!(told(&root, 8, 0).contains("train-r03-s-0001-of-0002.tfrecords: not found"));
    fs::write(&second, &bytes[..bytes.len() - 9]).unwrap();
    assert!(told(&root, 8, 0).contains("s-0001-of-0002.tfrecords: it ends within the record at byte"));
    let mut damaged = bytes.clone();
    damaged[2] ^= 1;
    fs::write(&second, damaged).unwrap();
    assert!(told(&root, 8, 0).contains("the checksum of its length is wrong; fetch or write the file again"));
    fs::remove_dir_all(root.path().join("validation")).unwrap();
    fs::write(&second, bytes).unwrap();
    assert!(told(&root, 8, 0).contains("validation/validation-r03-s-0000-of-0001.tfrecords: not found"));
    write(&root, "validation", 3, (0, 1), &[]);
    assert!(told(&root, 8, 0).contains("neither it nor its other shards hold a record"));
}
