//! From real photographs to a frozen model and back: the trainer, the exporter and the runtime agree.
use glow_data::{Batch, Loader, LoaderOptions, Splits};
use glow_export::ExportOptions;
use glow_models::random::Purpose;
use glow_models::{Architecture, Checkpoint, Config, Precision, Weights};
use glow_runtime::Glow;
use glow_tests::{checkout, faces, run, stdout};
use glow_train::Trainer;
use glow_train::flow::{dequantize, uniform_noise};
use glow_train::run::open_data;
use glow_train::trainer::load_parameters;
use ndarray::{Array4, ArrayView4, Axis};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tch::{Device, Kind, Tensor};

fn config(settings: &[(&str, &str)]) -> Config {
    let mut config = Config::default();
    let data = format!("images:{}", faces().display());
    let base = [
        ("data", data.as_str()),
        ("channels", "1"),
        ("n_bits", "8"),
        ("depth", "2"),
        ("hidden", "16"),
        ("batch_size", "16"),
        ("init_batch", "64"),
        ("warmup_steps", "10"),
        ("optimizer", "adam"),
    ];
    for (name, value) in base.iter().chain(settings) {
        config.set(name, value).unwrap();
    }
    config
}

fn trained(config: Config, steps: usize) -> (Trainer, Splits) {
    let splits = open_data(&config, &[]).unwrap();
    let mut trainer = Trainer::new(config, splits.train.len(), Device::Cpu).unwrap();
    let mut loader =
        Loader::new(splits.train.clone(), &LoaderOptions { batch_size: 64, ..Default::default() }).unwrap();
    trainer.initialise_actnorm(&loader.next().unwrap().unwrap()).unwrap();
    let options = LoaderOptions { batch_size: 16, ..Default::default() };
    for batch in Loader::new(splits.train.clone(), &options).unwrap().take(steps) {
        trainer.step(&batch.unwrap()).unwrap();
    }
    assert_eq!(trainer.skipped(), 0);
    (trainer, splits)
}

/// One trained and frozen model for all tests of this file: RGB is not needed to cross every border.
struct Frozen {
    _folder: tempfile::TempDir,
    checkpoint: PathBuf,
    bundle: PathBuf,
    splits: Splits,
}

fn frozen() -> &'static Frozen {
    static FROZEN: OnceLock<Frozen> = OnceLock::new();
    FROZEN.get_or_init(|| {
        let settings = [("coupling", "affine"), ("levels", "3"), ("depth", "4"), ("hidden", "32")];
        let (trainer, splits) = trained(config(&settings), 60);
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join("checkpoint.safetensors");
        trainer.save(&checkpoint).unwrap();
        let bundle = folder.path().join("bundle");
        glow_export::export(&checkpoint, &bundle, &ExportOptions::default()).unwrap();
        Frozen { _folder: folder, checkpoint, bundle, splits }
    })
}

fn real_images(n: usize) -> Batch {
    let loader = Loader::new(
        frozen().splits.train.clone(),
        &LoaderOptions { batch_size: n, shuffle: false, flip: false, ..Default::default() },
    );
    loader.unwrap().next().unwrap().unwrap()
}

fn array(batch: &Batch) -> Array4<u8> {
    Array4::from_shape_vec((batch.count, 32, 32, 1), batch.images.clone()).unwrap()
}

fn noise(model: &Architecture, n: usize, seed: u64) -> (Tensor, Array4<f32>) {
    let tensor = uniform_noise(model, n, seed, Purpose::Noise { draw: 0 }, 0);
    let values = Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap();
    (tensor, Array4::from_shape_vec((n, 32, 32, 1), values).unwrap())
}

/// In fp32, with a model that has been trained for a while, at every level count.
#[test]
fn decoding_undoes_encoding_on_trained_models() {
    for levels in 1..=5 {
        let (trainer, splits) =
            trained(config(&[("levels", &levels.to_string()), ("coupling", "affine")]), 30);
        let batch = Loader::sequential(splits.validation, 32, 1, 1).unwrap().next().unwrap().unwrap();
        let model = &trainer.config().model;
        let images = Tensor::from_data_size(&batch.images, &[32, 32, 32, 1], Kind::Uint8);
        let x = dequantize(model, &images, &uniform_noise(model, 32, 1, Purpose::Noise { draw: 0 }, 0));
        let glow = trainer.glow(Weights::Raw).unwrap();
        let _guard = tch::no_grad_guard();
        let encoded = glow.encode(&x, None).unwrap();
        let error = (glow.decode(&encoded.eps, None).unwrap() - &x).abs().max().double_value(&[]);
        assert!(error <= 1e-4, "{error} at {levels} levels");
    }
}

#[test]
fn the_frozen_encoder_gives_the_trainers_bits_per_dim() {
    let frozen = frozen();
    let checkpoint = Checkpoint::open(&frozen.checkpoint).unwrap();
    let model = &checkpoint.meta().config.model;
    let parameters = load_parameters(&checkpoint, Weights::Averaged, Device::Cpu).unwrap();
    let trainers = glow_train::flow::Glow::new(model, &parameters);
    let runtime = Glow::load(&frozen.bundle).unwrap();
    let batch = real_images(64);
    let (noise_tensor, noise_array) = noise(model, 64, 9);
    let images = Tensor::from_data_size(&batch.images, &[64, 32, 32, 1], Kind::Uint8);
    let _guard = tch::no_grad_guard();
    let encoded = trainers.encode(&dequantize(model, &images, &noise_tensor), None).unwrap();
    let expected = Vec::<f64>::try_from(encoded.log_prob.to_kind(Kind::Double)).unwrap();
    let actual = runtime.encode_with(array(&batch).view(), noise_array.view(), None).unwrap();
    for (expected, actual) in expected.into_iter().zip(&actual.log_prob) {
        let difference = (model.bits_per_dim(expected) - model.bits_per_dim(f64::from(*actual))).abs();
        assert!(difference < 1e-3, "{difference} bits/dim");
    }
    for (expected, actual) in encoded.eps.iter().zip(actual.latents.levels()) {
        let expected = Vec::<f32>::try_from(expected.contiguous().flatten(0, -1)).unwrap();
        let largest = expected.iter().zip(actual.iter()).map(|(e, a)| (e - a).abs()).fold(0.0f32, f32::max);
        assert!(largest < 1e-2, "eps differ by {largest}");
    }
}

#[test]
fn every_pixel_of_100_real_images_comes_back() {
    let runtime = Glow::load(&frozen().bundle).unwrap();
    let images = array(&real_images(100));
    assert_eq!(runtime.reconstruct(images.view(), None).unwrap(), images);
}

#[test]
fn the_sample_of_a_seed_does_not_hang_on_how_many_are_drawn() {
    let runtime = Glow::load(&frozen().bundle).unwrap();
    let options = glow_runtime::SampleOptions::new().seed(3);
    let few = runtime.sample(3, &options).unwrap();
    let many = runtime.sample(40, &options).unwrap();
    for (few, many) in few.axis_iter(Axis(0)).zip(many.axis_iter(Axis(0))) {
        assert_eq!(few, many);
    }
}

/// A reader of ONNX that is not ours: the checker, strict shape inference, and ONNX Runtime from Python.
#[test]
fn python_reads_bundles_of_every_precision_and_agrees() {
    let frozen = frozen();
    let folder = tempfile::tempdir().unwrap();
    let photographs = glow_data::DataSpec { kind: glow_data::DataKind::Images, path: faces() };
    for (precision, inline) in [
        (Precision::Fp32, false),
        (Precision::Fp16, false),
        (Precision::Int8, false),
        (Precision::Int8, true),
    ] {
        let bundle = folder.path().join("bundle");
        let images = Some(photographs.clone());
        let options = ExportOptions { precision, images, inline, ..Default::default() };
        glow_export::export(&frozen.checkpoint, &bundle, &options).unwrap();
        python_agrees(&bundle, folder.path());
    }
}

fn python_agrees(bundle: &Path, folder: &Path) {
    let runtime = Glow::load(bundle).unwrap();
    let images = array(&real_images(8));
    let (_, noise) = noise(runtime.architecture(), 8, 4);
    let encoded = runtime.encode_with(images.view(), noise.view(), None).unwrap();
    let decoded = runtime.decode(&encoded.latents, None).unwrap();
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.join(name), bytes).unwrap();
    let floats =
        |values: ArrayView4<'_, f32>| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    write("image", images.iter().copied().collect());
    write("noise", floats(noise.view()));
    write("log_prob", encoded.log_prob.iter().flat_map(|v| v.to_le_bytes()).collect());
    for (level, eps) in encoded.latents.levels().iter().enumerate() {
        write(&format!("eps_{level}"), floats(eps.view()));
    }
    write("decoded", decoded.images.iter().copied().collect());
    stdout(python(bundle, folder));
}

fn python(bundle: &Path, folder: &Path) -> std::process::Output {
    let packages = checkout().join(".native/python");
    assert!(packages.is_dir(), "{} is missing: run `make setup` once", packages.display());
    Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()))
        .env("PYTHONPATH", packages)
        .arg(checkout().join("tests/read_bundle.py"))
        .args([bundle, folder])
        .output()
        .expect("python starts")
}

/// `glow` from the shell gives what the library gives.
#[test]
fn the_program_glow_reconstructs_and_scores() {
    let frozen = frozen();
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("reconstruction.png");
    let bundle = frozen.bundle.to_str().unwrap();
    let photographs = faces().join("s1");
    let photographs = photographs.to_str().unwrap();
    stdout(run("glow", ["reconstruct", bundle, photographs, "--strict", "--out", picture.to_str().unwrap()]));
    assert!(image::open(&picture).unwrap().width() > 64);
    let scores = stdout(run("glow", ["score", bundle, photographs, "--seed", "1"]));
    assert_eq!(scores.lines().filter(|line| line.contains(".pgm")).count(), 10, "{scores}");
}
