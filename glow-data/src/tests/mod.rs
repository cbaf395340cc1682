//! Each kind of data set, written small and opened again.

mod broken;
mod loader;
mod lsun;
mod openai;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use glow_models::Data;
use image::{GrayImage, Luma, Rgb, RgbImage};
use tempfile::TempDir;

use crate::*;

const RGB8: ImageShape = ImageShape { height: 8, width: 8, channels: 3 };
const STREAM: u64 = 0;
const CACHE: u64 = 1 << 30;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn spec(kind: DataKind, root: &TempDir) -> DataSpec {
    DataSpec { kind, path: root.path().into() }
}

fn options(cache_bytes: u64) -> OpenOptions {
    with(Data { cache_bytes, ..Data::default() })
}

fn with(data: Data) -> OpenOptions {
    OpenOptions { data, ..OpenOptions::default() }
}

fn shape(side: usize, channels: usize) -> ImageShape {
    ImageShape { height: side, width: side, channels }
}

/// Writes an RGB image of one colour.
fn rgb(root: &TempDir, name: &str, side: u32, colour: [u8; 3]) {
    let path = root.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(side, side, Rgb(colour)).save(path).unwrap();
}

fn gray(root: &TempDir, name: &str, side: u32, value: u8) {
    let path = root.path().join(name);
    GrayImage::from_pixel(side, side, Luma([value])).save(path).unwrap();
}

/// A CIFAR-10 record whose planes are constant.
fn record(label: u8, [r, g, b]: [u8; 3]) -> Vec<u8> {
    [&[label][..], &[r; 1024], &[g; 1024], &[b; 1024]].concat()
}

fn cifar10(root: &TempDir, images_per_file: u8) {
    for file in 0..6 {
        let name = match file {
            5 => "test_batch.bin".to_owned(),
            _ => format!("data_batch_{}.bin", file + 1),
        };
        let records: Vec<u8> = (0..images_per_file).flat_map(|i| record(i % 10, [file, i, 200])).collect();
        fs::write(root.path().join(name), records).unwrap();
    }
}

fn idx(dimensions: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = (0x0800 + dimensions.len() as u32).to_be_bytes().to_vec();
    file.extend(dimensions.iter().flat_map(|d| d.to_be_bytes()));
    file.extend(bytes);
    file
}

fn gzip(path: &Path, bytes: &[u8]) {
    let mut gz = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap();
}

/// Images of 28 × 28 whose pixels are their number, gzipped; labels not.
fn mnist(root: &TempDir, set: &str, count: u8) {
    let pixels: Vec<u8> = (0..count).flat_map(|i| [i; 784]).collect();
    let images = idx(&[count.into(), 28, 28], &pixels);
    gzip(&root.path().join(format!("{set}-images-idx3-ubyte.gz")), &images);
    let labels: Vec<u8> = (0..count).map(|i| i % 10).collect();
    let labels = idx(&[count.into()], &labels);
    fs::write(root.path().join(format!("{set}-labels-idx1-ubyte")), labels).unwrap();
}

/// Every image of `dataset` with its name.
fn all(dataset: &dyn Dataset) -> Vec<(String, Example)> {
    (0..dataset.len()).map(|i| (dataset.name(i), dataset.load(i, 0).unwrap())).collect()
}

#[test]
fn cifar10_is_interleaved_and_split_officially() {
    let root = folder();
    cifar10(&root, 3);
    let spec = spec(DataKind::Cifar10, &root);
    let splits = open(&spec, shape(32, 3), &options(CACHE)).unwrap();
    assert_eq!((splits.train.len(), splits.validation.len()), (15, 3));
    assert_eq!(splits.train.classes()[9], "truck");
    let example = splits.train.load(5, 0).unwrap();
    assert_eq!(splits.train.name(5), "data_batch_2.bin#2");
    assert_eq!(example.label, 2);
    assert!(example.pixels.chunks_exact(3).all(|p| p == [1, 2, 200]));
    // Smaller and gray models take it too.
    let splits = open(&spec, shape(16, 1), &options(CACHE)).unwrap();
    assert_eq!(splits.validation.load(0, 0).unwrap().pixels, vec![24; 256]);
}

#[test]
fn mnist_is_padded_to_32_and_reduced_to_less() {
    let root = folder();
    mnist(&root, "train", 20);
    let spec = spec(DataKind::Mnist, &root);
    let splits = open(&spec, shape(32, 1), &options(CACHE)).unwrap();
    assert_eq!((splits.train.len(), splits.validation.len()), (18, 2));
    assert_eq!(splits.train.classes().len(), 10);
    for (name, example) in all(&*splits.train).into_iter().chain(all(&*splits.validation)) {
        let number: u8 = name.strip_prefix("train#").unwrap().parse().unwrap();
        assert_eq!(example.label, u32::from(number % 10));
        for (at, &value) in example.pixels.iter().enumerate() {
            let inside = |i: usize| (2..30).contains(&i);
            let wanted = if inside(at / 32) && inside(at % 32) { number } else { 0 };
            assert_eq!(value, wanted, "{name} at {at}");
        }
    }

    mnist(&root, "t10k", 4);
    let [hyphen, dot] =
        ["t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"].map(|name| root.path().join(name));
    fs::rename(hyphen, dot).unwrap();
    let splits = open(&spec, shape(14, 1), &options(CACHE)).unwrap();
    assert_eq!((splits.train.len(), splits.validation.len()), (20, 4));
    assert_eq!(splits.validation.load(3, 0).unwrap().pixels, vec![3; 14 * 14]);
}

#[test]
fn image_folders_are_the_same_cached_and_streamed() {
    let root = folder();
    for i in 0..10u8 {
        let extension = ["png", "jpg", "webp", "bmp", "ppm"][usize::from(i) % 5];
        rgb(&root, &format!("{}/{i}.{extension}", i % 2), 9 + u32::from(i), [20 * i; 3]);
    }
    let spec = spec(DataKind::Images, &root);
    let cached = open(&spec, RGB8, &options(CACHE)).unwrap();
    let streamed = open(&spec, RGB8, &options(STREAM)).unwrap();
    assert_eq!(cached.train.classes(), ["0", "1"]);
    assert_eq!(streamed.train.classes(), ["0", "1"]);
    assert_eq!((cached.train.len(), cached.validation.len()), (9, 1));
    let mut images = all(&*cached.train);
    assert_eq!(images, all(&*streamed.train));
    assert_eq!(all(&*cached.validation), all(&*streamed.validation));
    images.extend(all(&*cached.validation));
    for (name, example) in images {
        let number: u8 = name[2..3].parse().unwrap();
        assert_eq!(example.label, u32::from(number % 2));
        assert!(example.pixels.iter().all(|&v| v.abs_diff(20 * number) <= 1), "{name}");
    }
    assert_eq!(cached.skipped.count(), 0);
}

#[test]
fn celeba_has_no_classes() {
    for images in ["images", "img_align_celeba/img_align_celeba"] {
        let root = folder();
        for i in 0..3 {
            rgb(&root, &format!("{images}/{i}.jpg"), 8, [i; 3]);
        }
        let splits = open(&spec(DataKind::Celeba, &root), RGB8, &options(CACHE)).unwrap();
        assert_eq!((splits.train.len(), splits.validation.len()), (2, 1));
        assert!(splits.train.classes().is_empty());
    }
}

#[test]
fn cameras_orientation_is_applied() {
    // A TIFF header and one entry: orientation (0x0112), a short, 6: turn clockwise to see.
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let root = folder();
    let landscape = RgbImage::from_fn(64, 32, |x, _| Rgb(if x < 32 { [250; 3] } else { [5; 3] }));
    let mut file = std::io::Cursor::new(Vec::new());
    landscape.write_to(&mut file, image::ImageFormat::Jpeg).unwrap();
    let file = file.into_inner();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let turned = [&file[..2], &[0xFF, 0xE1], &length, exif, &file[2..]].concat();
    for name in ["a.jpg", "b.jpg"] {
        fs::write(root.path().join(name), &turned).unwrap();
    }
    // Upright it is 32 wide and 64 high, which fits this model; as stored, it would not.
    let shape = ImageShape { height: 64, width: 32, channels: 3 };
    let splits = open(&spec(DataKind::Images, &root), shape, &options(CACHE)).unwrap();
    let pixels = splits.train.load(0, 0).unwrap().pixels;
    assert!(pixels[0] > 240 && pixels[pixels.len() - 1] < 15);
}

#[test]
fn unusable_images_among_others_are_skipped_and_counted() {
    for cache in [CACHE, STREAM] {
        let root = folder();
        for i in 0..20 {
            rgb(&root, &format!("{i:02}.png"), 8, [i; 3]);
        }
        rgb(&root, "05-small.png", 7, [0; 3]);
        gray(&root, "07-gray.png", 8, 7);
        fs::write(root.path().join("09-text.png"), "not an image").unwrap();
        let jpeg = root.path().join("11-cut.jpg");
        rgb(&root, "11-cut.jpg", 64, [99; 3]);
        let bytes = fs::read(&jpeg).unwrap();
        fs::write(&jpeg, &bytes[..bytes.len() - 20]).unwrap();

        let splits = open(&spec(DataKind::Images, &root), RGB8, &options(cache)).unwrap();
        let images = [all(&*splits.train), all(&*splits.validation)].concat();
        assert!(images.iter().all(|(_, e)| e.pixels.iter().all(|&v| v == e.pixels[0])));
        assert_eq!(splits.skipped.gray(), 1);
        let seen: std::collections::BTreeSet<u8> = images.iter().map(|(_, e)| e.pixels[0]).collect();
        assert!(seen.into_iter().eq(0..20));
        assert_eq!(images.len(), if cache == CACHE { 21 } else { 24 });

        // Once more, which reports nothing twice.
        all(&*splits.train);
        assert_eq!((splits.skipped.count(), splits.skipped.gray()), (3, 1));
        let text = splits.skipped.to_string();
        for wanted in [
            "3 images skipped",
            "05-small.png: is 7×7 pixels, smaller than the model's 8×8",
            "09-text.png: cannot be read as an image",
            "11-cut.jpg: cannot be read as an image: the file ends before the image",
        ] {
            assert!(text.contains(wanted), "{text}");
        }
    }
}

#[test]
fn gray_models_take_every_image() {
    let root = folder();
    rgb(&root, "a.png", 8, [255, 0, 0]);
    gray(&root, "b.png", 8, 50);
    let splits = open(&spec(DataKind::Images, &root), shape(8, 1), &options(CACHE)).unwrap();
    for (name, example) in [all(&*splits.train), all(&*splits.validation)].concat() {
        let wanted = if name == "a.png" { 76 } else { 50 };
        assert_eq!(example.pixels, [wanted; 64]);
    }
}

#[test]
fn folders_of_splits_are_no_classes() {
    let root = folder();
    for (i, name) in
        ["train/cat/1.png", "train/cat/2.png", "train/dog/3.png", "val/dog/4.png"].iter().enumerate()
    {
        rgb(&root, name, 8, [i as u8; 3]);
    }
    rgb(&root, "test/dog/5.png", 8, [9; 3]);
    let spec = spec(DataKind::Images, &root);
    for cache in [CACHE, STREAM] {
        let options = OpenOptions { classes: 2, ..options(cache) };
        let splits = open(&spec, RGB8, &options).unwrap();
        assert!(splits.official);
        assert_eq!((splits.train.classes(), splits.train.len()), (&["cat".into(), "dog".into()][..], 3));
        // The validation folder has no cat: a dog's label is 1 all the same.
        let validation = all(&*splits.validation);
        assert_eq!((validation.len(), &*validation[0].0, validation[0].1.label), (1, "val/dog/4.png", 1));
        let whole = open_all(&spec, RGB8, &options).unwrap();
        assert_eq!(whole.dataset.len(), 4);
    }
    // Two folders to train on leave open which is meant.
    rgb(&root, "train_32x32/cat/1.png", 8, [0; 3]);
    assert!(matches!(open(&spec, RGB8, &options(CACHE)), Err(DataError::Format { .. })));
    // Other folders beside them are classes, as these then are.
    rgb(&root, "cat/1.png", 8, [0; 3]);
    assert_eq!(open(&spec, RGB8, &options(CACHE)).unwrap().train.classes().len(), 5);
}

#[test]
fn labels_follow_the_names_of_classes() {
    let root = folder();
    for (i, name) in ["owl/1.png", "owl/2.png", "cat/3.png", "cat/4.png"].iter().enumerate() {
        rgb(&root, name, 8, [i as u8; 3]);
    }
    let spec = spec(DataKind::Images, &root);
    let named = |names: &[&str]| {
        let class_names = names.iter().map(|name| name.to_string()).collect();
        OpenOptions { classes: names.len(), class_names, ..options(CACHE) }
    };
    for names in [&["cat", "dog", "owl"][..], &["owl", "dog", "cat"], &["cat", "owl"]] {
        let opened = open_all(&spec, RGB8, &named(names)).unwrap();
        for (name, example) in all(&*opened.dataset) {
            assert_eq!(names[example.label as usize], name.split('/').next().unwrap());
        }
        assert_eq!(opened.dataset.classes(), names);
    }
    let error = open(&spec, RGB8, &named(&["cat", "dog"])).unwrap_err();
    assert!(matches!(&error, DataError::Classes { unknown, .. } if unknown == &["owl"]), "{error}");
    // A model without classes takes any.
    assert!(open(&spec, RGB8, &options(CACHE)).is_ok());
    rgb(&root, "loose.png", 8, [0; 3]);
    let error = open_all(&spec, RGB8, &named(&["cat", "owl"])).unwrap_err();
    assert!(matches!(&error, DataError::Classes { unknown, .. } if unknown.is_empty()), "{error}");
}

#[test]
fn another_folder_can_be_named_to_validate_on() {
    let (root, other) = (folder(), folder());
    for i in 0..5 {
        rgb(&root, &format!("{i}.png"), 8, [i; 3]);
    }
    rgb(&other, "9.png", 8, [9; 3]);
    for text in [other.path().display().to_string(), format!("images:{}", other.path().display())] {
        let options = with(Data { validation: text, ..Data::default() });
        let splits = open(&spec(DataKind::Images, &root), RGB8, &options).unwrap();
        assert_eq!((splits.train.len(), splits.validation.len(), splits.official), (5, 1, true));
        assert_eq!(splits.validation.name(0), "9.png");
    }
    let options = with(Data { validation: "images:/nowhere".into(), ..Data::default() });
    assert!(matches!(open(&spec(DataKind::Images, &root), RGB8, &options), Err(DataError::Missing { .. })));
}

#[test]
fn celebas_partition_is_used() {
    let root = folder();
    for i in 0..6 {
        rgb(&root, &format!("img_align_celeba/img_align_celeba/{i}.png"), 8, [i; 3]);
    }
    fs::write(root.path().join("list_attr_celeba.csv"), "image_id,Bald,Young\n".to_string() + &attributes())
        .unwrap();
    fs::write(
        root.path().join("list_eval_partition.txt"),
        "0.jpg 0\n1.jpg 1\n2.jpg 2\n3.jpg 0\n4.jpg 0\n5.jpg 1\n",
    )
    .unwrap();
    let data = Data { attribute: "Young".into(), ..Data::default() };
    let options = OpenOptions { classes: 2, ..with(data) };
    let splits = open(&spec(DataKind::Celeba, &root), RGB8, &options).unwrap();
    let seen = |dataset: &dyn Dataset| -> Vec<(u8, u32)> {
        all(dataset).iter().map(|(_, example)| (example.pixels[0], example.label)).collect()
    };
    assert_eq!(seen(&*splits.train), [(0, 0), (3, 1), (4, 0)]);
    assert_eq!(seen(&*splits.validation), [(1, 1), (5, 1)]);
}

fn attributes() -> String {
    (0..6).map(|i| format!("{i}.jpg,1,{}\n", if i % 2 == 1 { 1 } else { -1 })).collect()
}
