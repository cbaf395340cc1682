//! A table of what the outside gets wrong, and what each is told.

use super::*;

/// A way to break a data set, and parts of the message that tells it.
struct Case {
    name: &'static str,
    kind: DataKind,
    shape: ImageShape,
    write: fn(&TempDir),
    message: &'static [&'static str],
}

const SHAPE32: ImageShape = ImageShape { height: 32, width: 32, channels: 3 };
const GRAY32: ImageShape = ImageShape { height: 32, width: 32, channels: 1 };

fn write(root: &TempDir, name: &str, bytes: &[u8]) {
    fs::write(root.path().join(name), bytes).unwrap();
}

const CASES: &[Case] = &[
    Case {
        name: "no folder",
        kind: DataKind::Images,
        shape: RGB8,
        write: |root| fs::remove_dir(root.path()).unwrap(),
        message: &["not found", "give an existing folder"],
    },
    Case {
        name: "a file for a folder",
        kind: DataKind::Mnist,
        shape: RGB8,
        write: |root| {
            fs::remove_dir(root.path()).unwrap();
            fs::write(root.path(), "").unwrap();
        },
        message: &["is not a folder"],
    },
    Case {
        name: "no images",
        kind: DataKind::Images,
        shape: RGB8,
        write: |root| write(root, "readme.txt", b""),
        message: &["no images here", "png, jpg, jpeg,"],
    },
    Case {
        name: "one image",
        kind: DataKind::Images,
        shape: RGB8,
        write: |root| rgb(root, "a.png", 8, [0; 3]),
        message: &["one usable image is too few"],
    },
    Case {
        name: "all images too small",
        kind: DataKind::Images,
        shape: RGB8,
        write: |root| (0..4).for_each(|i| rgb(root, &format!("{i}.png"), 4 + i, [0; 3])),
        message: &["0.png: 4×4 pixels, smaller than the model's 8×8, as are all 4 images"],
    },
    Case {
        name: "all images gray",
        kind: DataKind::Images,
        shape: RGB8,
        write: |root| (0..3).for_each(|i| gray(root, &format!("{i}.pgm"), 8, 1)),
        message: &["0.pgm: grayscale, as are all 3 images", "(--channels 1)"],
    },
    Case {
        name: "all images broken in various ways",
        kind: DataKind::Images,
        shape: RGB8,
        write: |root| {
            write(root, "a.png", b"\x89PNG\r\n\x1A\n cut");
            gray(root, "b.png", 7, 1);
        },
        message: &["none of the 2 images can be used", "a.png, cannot be read as an image"],
    },
    Case {
        name: "images that declare to be huge",
        kind: DataKind::Images,
        shape: RGB8,
        write: |root| {
            write(root, "a.ppm", b"P6 60000 60000 255\n");
            write(root, "b.ppm", b"P6 4000000000 4000000000 255\n");
        },
        message: &["none of the 2 images can be used"],
    },
    Case {
        name: "celeba without its images",
        kind: DataKind::Celeba,
        shape: RGB8,
        write: |root| write(root, "list_attr_celeba.txt", b"0\n"),
        message: &["images: not found", "`img_align_celeba`"],
    },
    Case {
        name: "a missing CIFAR-10 file",
        kind: DataKind::Cifar10,
        shape: SHAPE32,
        write: |root| {
            cifar10(root, 1);
            fs::remove_file(root.path().join("data_batch_4.bin")).unwrap();
        },
        message: &["data_batch_4.bin: not found", "binary version"],
    },
    Case {
        name: "a truncated CIFAR-10 file",
        kind: DataKind::Cifar10,
        shape: SHAPE32,
        write: |root| {
            cifar10(root, 1);
            write(root, "test_batch.bin", &[0; 3000]);
        },
        message: &["test_batch.bin: 3000 bytes are not a whole number of records of 3073 bytes"],
    },
    Case {
        name: "an empty CIFAR-10 file",
        kind: DataKind::Cifar10,
        shape: SHAPE32,
        write: |root| {
            cifar10(root, 1);
            write(root, "test_batch.bin", b"");
        },
        message: &["test_batch.bin: 0 bytes are not a whole number of records"],
    },
    Case {
        name: "a CIFAR-10 label out of range",
        kind: DataKind::Cifar10,
        shape: SHAPE32,
        write: |root| {
            cifar10(root, 1);
            write(root, "data_batch_1.bin", &[record(3, [0; 3]), record(10, [0; 3])].concat());
        },
        message: &["data_batch_1.bin: record 1 has the label 10"],
    },
    Case {
        name: "a model larger than CIFAR-10",
        kind: DataKind::Cifar10,
        shape: ImageShape { height: 64, width: 64, channels: 3 },
        write: |root| cifar10(root, 2),
        message: &["data_batch_1.bin: 32×32 pixels, smaller than the model's 64×64"],
    },
    Case {
        name: "MNIST files missing",
        kind: DataKind::Mnist,
        shape: GRAY32,
        write: |_| {},
        message: &["train-images-idx3-ubyte: not found", "(.gz)"],
    },
    Case {
        name: "half a MNIST test set",
        kind: DataKind::Mnist,
        shape: GRAY32,
        write: |root| {
            mnist(root, "train", 4);
            write(root, "t10k-labels-idx1-ubyte", &idx(&[0], b""));
        },
        message: &["t10k-images-idx3-ubyte: not found", "or neither"],
    },
    Case {
        name: "an RGB model for MNIST",
        kind: DataKind::Mnist,
        shape: SHAPE32,
        write: |root| mnist(root, "train", 4),
        message: &["grayscale, as are all 4 images", "(--channels 1)"],
    },
    Case {
        name: "a model larger than MNIST",
        kind: DataKind::Mnist,
        shape: ImageShape { height: 64, width: 64, channels: 1 },
        write: |root| mnist(root, "train", 4),
        message: &["28×28 pixels, smaller than the model's 64×64"],
    },
    Case {
        name: "another file than idx",
        kind: DataKind::Mnist,
        shape: GRAY32,
        write: |root| {
            mnist(root, "train", 4);
            write(root, "train-labels-idx1-ubyte", &idx(&[1, 1], b"x"));
        },
        message: &["train-labels-idx1-ubyte: starts with 0x00000802 in place of 0x00000801"],
    },
    Case {
        name: "an idx header cut short",
        kind: DataKind::Mnist,
        shape: GRAY32,
        write: |root| {
            mnist(root, "train", 4);
            write(root, "train-labels-idx1-ubyte", &[0, 0, 8, 1, 0]);
        },
        message: &["train-labels-idx1-ubyte: the file ends within its header"],
    },
    Case {
        name: "idx data cut short",
        kind: DataKind::Mnist,
        shape: GRAY32,
        write: |root| {
            mnist(root, "train", 4);
            write(root, "train-labels-idx1-ubyte", &idx(&[4], b"abc"));
        },
        message: &["declares 4 bytes of data and holds only 3"],
    },
    Case {
        name: "more idx data than declared",
        kind: DataKind::Mnist,
        shape: GRAY32,
        write: |root| {
            mnist(root, "train", 4);
            write(root, "train-labels-idx1-ubyte", &idx(&[4], b"abcde"));
        },
        message: &["declares 4 bytes of data and holds more"],
    },
    Case {
        name: "an idx file that declares far more than it holds",
        kind: DataKind::Mnist,
        shape: GRAY32,
        write: |root| {
            mnist(root, "train", 4);
            write(root, "train-images-idx3-ubyte", &idx(&[u32::MAX, 1, 1], b"x"));
        },
        message: &["declares 4294967295 bytes of data and holds only 1"],
    },
    Case {
        name: "idx dimensions that overflow",
        kind: DataKind::Mnist,
        shape: GRAY32,
        write: |root| {
            mnist(root, "train", 4);
            write(root, "train-images-idx3-ubyte", &idx(&[u32::MAX; 3], b"x"));
        },
        message: &["train-images-idx3-ubyte: declares", "cannot be right"],
    },
    Case {
        name: "idx images without extent",
        kind: DataKind::Mnist,
        shape: GRAY32,
        write: |root| {
            mnist(root, "train", 4);
            write(root, "train-images-idx3-ubyte", &idx(&[4, 0, 28], b""));
        },
        message: &["28×0 pixels, smaller than the model's 32×32"],
    },
    Case {
        name: "fewer labels than images",
        kind: DataKind::Mnist,
        shape: GRAY32,
        write: |root| {
            mnist(root, "train", 4);
            write(root, "train-labels-idx1-ubyte", &idx(&[3], b"abc"));
        },
        message: &["holds 4 images", "holds 3 labels"],
    },
    Case {
        name: "a gzip file cut short",
        kind: DataKind::Mnist,
        shape: GRAY32,
        write: |root| {
            mnist(root, "train", 4);
            let gz = fs::read(root.path().join("train-images-idx3-ubyte.gz")).unwrap();
            write(root, "train-images-idx3-ubyte.gz", &gz[..gz.len() - 12]);
        },
        message: &["cannot read", "train-images-idx3-ubyte.gz"],
    },
    Case {
        name: "two channels",
        kind: DataKind::Images,
        shape: ImageShape { height: 8, width: 8, channels: 2 },
        write: |_| {},
        message: &["2 channels: give 1 for gray or 3 for RGB"],
    },
    Case {
        name: "a model without extent",
        kind: DataKind::Images,
        shape: ImageShape { height: 0, width: 8, channels: 3 },
        write: |_| {},
        message: &["the image size 8×0"],
    },
];

#[test]
fn every_problem_is_told() {
    for case in CASES {
        for cache in [CACHE, STREAM] {
            let root = folder();
            (case.write)(&root);
            let error = match open(&spec(case.kind, &root), case.shape, &options(cache)) {
                Ok(splits) => panic!("{}: opened as {splits:?}", case.name),
                Err(error) => error.to_string(),
            };
            for part in case.message {
                assert!(error.contains(part), "{}: {error}", case.name);
            }
            if root.path().is_file() {
                fs::remove_file(root.path()).unwrap();
            }
        }
    }
}

#[test]
fn options_that_a_kind_would_ignore_are_refused() {
    let root = folder();
    cifar10(&root, 1);
    let smiling = with(Data { attribute: "Smiling".into(), ..Data::default() });
    let crop = with(Data { random_crop: 40, ..Data::default() });
    for (kind, shape, options, message) in [
        (DataKind::Images, RGB8, &smiling, "--attribute Smiling: only celeba: has attributes, not images:"),
        (DataKind::Cifar10, SHAPE32, &crop, "--random-crop 40: images of cifar10: have their size already"),
        (DataKind::Images, shape(64, 3), &crop, "--random-crop 40: the model takes 64×64 pixels"),
    ] {
        let error = open(&spec(kind, &root), shape, options).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn senseless_fractions_are_refused() {
    let root = folder();
    for fraction in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        let options = with(Data { validation_fraction: fraction, ..Data::default() });
        let error = open(&spec(DataKind::Images, &root), RGB8, &options).unwrap_err();
        assert!(error.to_string().contains("validation fraction"), "{error}");
    }
}

#[test]
fn every_truncation_of_an_image_is_skipped_and_none_panics() {
    for extension in ["png", "jpg", "webp", "bmp", "ppm"] {
        let root = folder();
        let noise = RgbImage::from_fn(12, 10, |x, y| Rgb([(x * 20) as u8, (y * 25) as u8, 7]));
        let path = root.path().join(format!("whole.{extension}"));
        noise.save(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        // Formats end in a checksum or padding that decoders need not see.
        let end = bytes.len() - 20;
        for length in (0..end).step_by(7) {
            write(&root, &format!("{length}.{extension}"), &bytes[..length]);
        }
        write(&root, &format!("whole2.{extension}"), &bytes);
        let splits = open(&spec(DataKind::Images, &root), RGB8, &options(CACHE)).unwrap();
        let usable = splits.train.len() + splits.validation.len();
        assert_eq!(usable, 2, "{extension}: {}", splits.skipped);
    }
}
