//! Ten steps of training, from the initialisation from data on, against an independent implementation in
//! PyTorch, `benches/peers/trajectory.py`, in float64. The file says how to make its values again.
use glow_data::Batch;
use glow_models::random::Purpose;
use glow_models::{Architecture, Config, Coupling, Permutation, Training};
use glow_train::Trainer;
use glow_train::flow::uniform_noise;
use std::path::Path;
use tch::Device;

const STEPS: u64 = 10;
const IMAGES: u64 = 16;

/// A name, a model, and each step's bits/dim and gradient norm.
type Case = (&'static str, Architecture, [(f64, f64); STEPS as usize]);

fn cases() -> [Case; 2] {
    let base = Architecture { height: 8, width: 8, levels: 2, depth: 2, hidden: 8, ..Default::default() };
    let affine = Architecture { coupling: Coupling::Affine, ..base.clone() };
    let additive = Architecture {
        coupling: Coupling::Additive,
        permutation: Permutation::Shuffle,
        edge_bias: false,
        learn_top: false,
        n_bits: 5,
        ..base
    };
    [("additive", additive, [(0.0, 0.0); 10]), ("affine", affine, [(0.0, 0.0); 10])]
}

fn trainer(model: &Architecture) -> Trainer {
    // Small tensors: threads that wait for each other would only slow the test.
    tch::set_num_threads(1);
    let training = Training { lr: 1e-3, beta2: Some(0.99), warmup: None, seed: 7, ..Default::default() };
    let config = Config { model: model.clone(), training, ..Default::default() };
    Trainer::new(config, 1000, Device::Cpu).unwrap()
}

/// The batch of a step: images of triangular waves, another one for every number.
fn batch(model: &Architecture, step: u64) -> Batch {
    let first_image = step * IMAGES;
    let (width, channels) = (model.width as u64, model.channels as u64);
    let pixel = |image: u64, i: u64| {
        let (y, x, c) = (i / channels / width, i / channels % width, i % channels);
        let phase = (29 * image + 9 * y + (3 + image % 5) * x + 17 * c) % 128;
        4 * phase.min(127 - phase) as u8
    };
    let images = (first_image..first_image + IMAGES)
        .flat_map(|image| (0..model.dims() as u64).map(move |i| pixel(image, i)))
        .collect();
    Batch { images, labels: vec![0; IMAGES as usize], count: IMAGES as usize, first_image }
}

#[test]
fn ten_steps_are_those_of_an_independent_implementation() {
    for (name, model, expected) in cases() {
        let mut trainer = trainer(&model);
        trainer.initialise_actnorm(&batch(&model, 0));
        let mut actual = Vec::new();
        for step in 0..STEPS {
            trainer.step(&batch(&model, step)).unwrap();
            let report = trainer.report();
            actual.push((report.bits_per_dim, report.gradient_norm));
        }
        for (step, (actual, expected)) in actual.iter().zip(expected).enumerate() {
            let off = ((actual.0 - expected.0) / expected.0).abs();
            let off_norm = ((actual.1 - expected.1) / expected.1).abs();
            assert!(off < 1e-5 && off_norm < 1e-3, "{name}, step {step}: {actual:?} for {expected:?}");
        }
    }
}

#[test]
#[ignore = "writes what benches/peers/trajectory.py reads, into the folder GLOW_TRAJECTORY"]
fn write_inputs() {
    let folder = std::env::var_os("GLOW_TRAJECTORY").expect("GLOW_TRAJECTORY names a folder");
    for (name, model, _) in cases() {
        let folder = Path::new(&folder).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        trainer(&model).save(&folder.join("checkpoint.safetensors")).unwrap();
        let (mut images, mut noise) = (Vec::new(), Vec::new());
        for step in 0..STEPS {
            let batch = batch(&model, step);
            let u = uniform_noise(&model, batch.count, 7, Purpose::TrainingNoise, batch.first_image);
            let u = Vec::<f32>::try_from(u.flatten(0, -1)).unwrap();
            noise.extend(u.into_iter().flat_map(f32::to_le_bytes));
            images.extend(batch.images);
        }
        std::fs::write(folder.join("images"), images).unwrap();
        std::fs::write(folder.join("noise"), noise).unwrap();
    }
}
