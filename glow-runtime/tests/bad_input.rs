//! Everything that comes from outside may be wrong; each error says what is, and what would be right.
mod support;

use glow_models::{Bundle, DECODER_FILE, ENCODER_FILE, MANIFEST_FILE, WEIGHTS_FILE};
use glow_runtime::{
    EncodeOptions, Error, Glow, Interpolation, Job, Latents, SampleOptions, Scheduler, SchedulerOptions,
    ScoreOptions,
};
use ndarray::{Array4, Axis};
use std::path::Path;
use support::{conditional, copy, load, noise, shapes, unconditional};

/// The error and its causes.
fn text(error: Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn expect<T>(cases: impl IntoIterator<Item = (Result<T, Error>, &'static str)>) {
    for (result, expected) in cases {
        let error = text(result.err().unwrap_or_else(|| panic!("no error where {expected:?} is expected")));
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
}

#[test]
fn arguments_of_another_shape() {
    let glow = load();
    let images = |shape| glow.encode(&Array4::zeros(shape), &EncodeOptions::default()).map(drop);
    let with_noise = |u: Array4<f32>| glow.encode_with(&noise(2), &u, None).map(drop);
    let decode = |latents: Latents| glow.decode(&latents, None).map(drop);
    let u = |value| Array4::from_elem((2, 8, 8, 3), value);
    expect([
        (images((2, 3, 8, 8)), "images has shape [2, 3, 8, 8], expected [N, 8, 8, 3]"),
        (images((0, 8, 8, 1)), "expected [N, 8, 8, 3]"),
        (with_noise(Array4::zeros((1, 8, 8, 3))), "noise has shape [1, 8, 8, 3], expected [2, 8, 8, 3]"),
        (with_noise(u(1.0)), "noise = 1 is out of range: 0 or more, below 1"),
        (with_noise(u(-0.1)), "noise = -0.1"),
        (with_noise(u(f32::NAN)), "noise = NaN"),
        (decode(Latents::zeros(1, &shapes()[..1])), "latents has shape [1], expected 2 levels"),
        (
            decode(Latents::zeros(1, &[shapes()[1], shapes()[0]])),
            "eps_0 has shape [1, 24, 2, 2], expected [N, 6, 4, 4]",
        ),
        (glow.log_prob(&Array4::zeros((1, 9, 8, 3)), &ScoreOptions::default()).map(drop), "[N, 8, 8, 3]"),
        (glow.reconstruct(&Array4::zeros((1, 8, 9, 3)), None).map(drop), "[N, 8, 8, 3]"),
    ]);
}

#[test]
fn numbers_out_of_range() {
    let glow = load();
    let temperature = |temperature| glow.sample(1, &SampleOptions::new().temperature(temperature)).map(drop);
    let zeros = Latents::zeros(1, &shapes());
    expect([
        (temperature(-0.5), "temperature = -0.5 is out of range: a finite number, at least 0"),
        (temperature(f32::NAN), "temperature = NaN"),
        (temperature(f32::INFINITY), "temperature = inf"),
        (
            glow.sample(1, &SampleOptions::new().truncation(Some(f32::NAN))).map(drop),
            "truncation = NaN is out of range: at least 0.01, or none",
        ),
        (
            glow.sample(usize::MAX, &SampleOptions::default()).map(drop),
            "is out of range: what memory can hold",
        ),
        (
            glow.log_prob(&noise(1), &ScoreOptions::new().draws(0)).map(drop),
            "draws = 0 is out of range: at least 1",
        ),
        (glow.interpolate(&zeros, &zeros, 1, Interpolation::Linear, None).map(drop), "steps = 1"),
        (Glow::builder().threads(0).load(unconditional()).map(drop), "threads = 0"),
        (Glow::builder().sessions(0).load(unconditional()).map(drop), "sessions = 0"),
        (Glow::builder().sessions(usize::MAX).load(unconditional()).map(drop), "sessions = 1844"),
        (Glow::builder().warm_up([1, 0]).load(unconditional()).map(drop), "warm_up = 0"),
        (Glow::builder().max_batch(0).load(unconditional()).map(drop), "max_batch = 0"),
    ]);
}

#[test]
fn the_last_number_of_a_stream_is_a_number() {
    let (glow, first) = (load(), u64::MAX);
    glow.sample(2, &SampleOptions::new().first(first)).unwrap();
    glow.log_prob(&noise(2), &ScoreOptions::new().first(first)).unwrap();
}

#[test]
fn numbers_that_are_none() {
    let glow = load();
    let mut levels = Latents::zeros(3, &shapes()).into_levels();
    levels[1][[2, 0, 0, 0]] = f32::NAN;
    let given = glow.decode(&Latents::from_levels(levels).unwrap(), None).map(drop);
    let far = glow.sample_latents(2, &SampleOptions::new().temperature(1e30)).unwrap();
    expect([
        (given, "the given latent of image 2 is NaN or infinite"),
        (
            glow.decode(&far, None).map(drop),
            "the decoded value of images 0, 1 is NaN or infinite: too far out",
        ),
    ]);
}

#[test]
fn one_image_that_fails_leaves_the_others() {
    let glow = load();
    let mut levels = glow.sample_latents(5, &SampleOptions::new()).unwrap().into_levels();
    let whole = glow.decode(&Latents::from_levels(levels.clone()).unwrap(), None).unwrap();
    levels[0].index_axis_mut(Axis(0), 2).fill(1e38);
    let latents = Latents::from_levels(levels).unwrap();
    let partial = glow.decode_partial(&latents, None).unwrap();
    assert_eq!(partial.non_finite, [2]);
    for i in [0, 1, 3, 4] {
        let [actual, expected] = [&partial.value, &whole].map(|decoded| {
            (decoded.images.index_axis(Axis(0), i).to_owned(), decoded.x.index_axis(Axis(0), i).to_owned())
        });
        assert_eq!(actual, expected, "image {i}");
    }
    assert!(partial.value.images.index_axis(Axis(0), 2).iter().all(|&value| value == 0));
    let whole = glow.decode(&latents, None);
    assert!(matches!(whole, Err(Error::NonFinite { ref images, .. }) if *images == [2]), "{whole:?}");

    // Samples, and through a scheduler, whatever they are merged with.
    let far = SampleOptions::new().temperature(1e30);
    assert_eq!(glow.sample_partial(2, &far).unwrap().non_finite, [0, 1]);
    let near = SampleOptions::new();
    assert_eq!(glow.sample_partial(2, &near).unwrap().value, glow.sample(2, &near).unwrap());
    let scheduler = Scheduler::new(load(), SchedulerOptions::new()).unwrap();
    let [far, near] = [far, near].map(|options| scheduler.submit(Job::sample_partial(3, options)).unwrap());
    assert_eq!(far.wait().unwrap().non_finite, [0, 1, 2]);
    assert_eq!(near.wait().unwrap(), glow.sample_partial(3, &SampleOptions::new()).unwrap());
}

#[test]
fn labels_that_do_not_fit() {
    let sample = |glow: &Glow, labels: Option<Vec<i64>>| {
        glow.sample(2, &SampleOptions::new().labels(labels)).map(drop)
    };
    let (without, with) = (load(), Glow::load(conditional()).unwrap());
    expect([
        (sample(&without, Some(vec![0, 0])), "this model is unconditional and takes none"),
        (sample(&with, None), "this model is conditional on 3 classes and needs a label for each image"),
        (sample(&with, Some(vec![0])), "there are 1 for 2 images"),
        (sample(&with, Some(vec![0, 3])), "3 is not one of the 3 classes 0 to 2"),
        (sample(&with, Some(vec![-1, 0])), "-1 is not one of"),
        (with.encode(&noise(1), &EncodeOptions::default()).map(drop), "needs a label"),
        (with.decode(&Latents::zeros(1, &shapes()), Some(&[9])).map(drop), "9 is not one of"),
    ]);
}

#[test]
fn a_graph_that_was_left_out() {
    let encoder = Glow::builder().encoder_only().load(unconditional()).unwrap();
    let decoder = Glow::builder().decoder_only().load(unconditional()).unwrap();
    expect([
        (
            encoder.sample(1, &SampleOptions::default()).map(drop),
            "needs the decoder, which was not loaded: load the bundle without `encoder_only()`",
        ),
        (encoder.reconstruct(&noise(1), None).map(drop), "needs the decoder"),
        (
            decoder.encode(&noise(1), &EncodeOptions::default()).map(drop),
            "needs the encoder, which was not loaded: load the bundle without `decoder_only()`",
        ),
        (decoder.log_prob(&noise(1), &ScoreOptions::default()).map(drop), "needs the encoder"),
    ]);
    assert_eq!(encoder.encode(&noise(1), &EncodeOptions::default()).unwrap().log_prob.len(), 1);
    assert_eq!(decoder.sample(1, &SampleOptions::default()).unwrap().dim(), (1, 8, 8, 3));
}

/// Seals the folder again, so that only what is inside the files is wrong.
fn reseal(folder: &Path) {
    let manifest = Bundle::open(folder).unwrap().manifest().clone();
    Bundle::seal(folder, manifest).unwrap();
}

fn change(folder: &Path, file: &str, change: fn(&mut Vec<u8>)) {
    let path = folder.join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Every occurrence; the length stays.
fn replace_all(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|&at| bytes[at..at + to.len()].copy_from_slice(to));
}

#[test]
fn bundles_that_are_broken() {
    type Damage = fn(&Path);
    let cases: &[(&str, Damage)] = &[
        ("model.json is missing", |f| std::fs::remove_file(f.join(MANIFEST_FILE)).unwrap()),
        ("encoder.onnx is missing", |f| std::fs::remove_file(f.join(ENCODER_FILE)).unwrap()),
        ("decoder.onnx is missing", |f| std::fs::remove_file(f.join(DECODER_FILE)).unwrap()),
        ("model.safetensors is missing", |f| std::fs::remove_file(f.join(WEIGHTS_FILE)).unwrap()),
        ("model.safetensors is damaged", |f| change(f, WEIGHTS_FILE, |b| *b.last_mut().unwrap() ^= 1)),
        ("bytes where model.json says", |f| change(f, WEIGHTS_FILE, |b| b.truncate(b.len() / 2))),
        ("decoder.onnx is damaged", |f| change(f, DECODER_FILE, |b| b[100] ^= 1)),
        ("decoder.onnx cannot be trusted: it is not a complete ONNX file", |f| {
            change(f, DECODER_FILE, |b| b.truncate(b.len() / 2));
            reseal(f);
        }),
        ("leaves model.safetensors of", |f| {
            change(f, WEIGHTS_FILE, |b| b.truncate(b.len() / 2));
            reseal(f);
        }),
        ("decoder.onnx cannot be trusted: it points to \"../../../secret.b\"", |f| {
            change(f, DECODER_FILE, |b| replace_all(b, b"model.safetensors", b"../../../secret.b"));
            reseal(f);
        }),
        // Sound to us, senseless to ONNX Runtime.
        ("cannot load", |f| {
            change(f, DECODER_FILE, |b| replace_all(b, b"Conv", b"Vnoc"));
            reseal(f);
        }),
        ("encoder.onnx is not the graph that model.json describes: it has no input image", |f| {
            std::fs::copy(f.join(DECODER_FILE), f.join(ENCODER_FILE)).unwrap();
            reseal(f);
        }),
        ("encoder.onnx is not the graph that model.json describes: it has an unknown input label", |f| {
            std::fs::copy(conditional().join(ENCODER_FILE), f.join(ENCODER_FILE)).unwrap();
            std::fs::copy(conditional().join(WEIGHTS_FILE), f.join(WEIGHTS_FILE)).unwrap();
            reseal(f);
        }),
        ("its input image has shape [-1, 8, 8, 3], expected [N, 16, 8, 3]", |f| {
            let mut manifest = Bundle::open(f).unwrap().manifest().clone();
            manifest.architecture.height = 16;
            manifest.latent_shapes = manifest.architecture.latent_shapes();
            Bundle::seal(f, manifest).unwrap();
        }),
    ];
    for (expected, damage) in cases {
        let folder = copy(&unconditional());
        damage(folder.path());
        expect([(Glow::load(folder.path()).map(drop), *expected)]);
    }
}

#[test]
fn only_what_is_loaded_need_be_whole() {
    let folder = copy(&unconditional());
    std::fs::remove_file(folder.path().join(ENCODER_FILE)).unwrap();
    Glow::builder().decoder_only().load(folder.path()).unwrap();
    // Unverified, a changed weight is a changed model, and no more.
    change(folder.path(), WEIGHTS_FILE, |bytes| *bytes.last_mut().unwrap() ^= 1);
    assert!(Glow::builder().decoder_only().load(folder.path()).is_err());
    Glow::builder().decoder_only().verify(false).load(folder.path()).unwrap();
}

#[test]
fn a_process_uses_one_library() {
    let first = load();
    let same = Glow::builder().onnxruntime(&first.onnxruntime().path).load(unconditional()).unwrap();
    assert_eq!(same.onnxruntime(), first.onnxruntime());
    let folder = first.onnxruntime().path.parent().unwrap();
    Glow::builder().onnxruntime(folder).load(unconditional()).unwrap();
    expect([(
        Glow::builder().onnxruntime("/elsewhere/libonnxruntime.so").load(unconditional()).map(drop),
        "/elsewhere/libonnxruntime.so was asked for, but this process already uses",
    )]);
}
