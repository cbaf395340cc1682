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

/// Bits/dim of the batch before a step, and the gradient's Euclidean norm.
type Trajectory = [(f64, f64); STEPS as usize];

const ADDITIVE: Trajectory = [
    (5.251174513, 1.230103976),
    (5.261056030, 1.323830544),
    (5.249142983, 1.253506326),
    (5.238913075, 1.244350767),
    (5.243758822, 1.282520415),
    (5.222202326, 1.248169129),
    (5.225540369, 1.267459356),
    (5.209347585, 1.238973513),
    (5.197507354, 1.258855590),
    (5.191735780, 1.240266776),
];
const AFFINE: Trajectory = [
    (7.428369058, 3.788051060),
    (7.433423622, 3.877762554),
    (7.410578678, 3.632690365),
    (7.391493470, 3.418794775),
    (7.381089745, 3.326182345),
    (7.357320946, 3.148313432),
    (7.342225196, 3.051670694),
    (7.319764270, 2.830148511),
    (7.297946741, 2.648789845),
    (7.279246823, 2.531570035),
];

type Case = (&'static str, Architecture, Trajectory);

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
    [("additive", additive, ADDITIVE), ("affine", affine, AFFINE)]
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
        trainer.initialise_actnorm(&batch(&model, 0)).unwrap();
        let mut actual = Vec::new();
        for step in 0..STEPS {
            trainer.step(&batch(&model, step)).unwrap();
            let report = trainer.report().unwrap();
            actual.push((report.bits_per_dim, report.gradient_norm));
        }
        for (step, (actual, expected)) in actual.iter().zip(expected).enumerate() {
            let off = ((actual.0 - expected.0) / expected.0).abs();
            let off_norm = ((actual.1 - expected.1) / expected.1).abs();
            // What fp32 makes of it: 2e-6 and 2e-4, in PyTorch as well.
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
