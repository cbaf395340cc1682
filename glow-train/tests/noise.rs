//! Bits/dim of an image is its own: the same in every batch, and the same in every version.
use glow_data::Batch;
use glow_models::{Architecture, Config, Coupling, Training, Weights};
use glow_train::Trainer;
use glow_train::evaluate::bits_per_dim;
use glow_train::flow::Glow;
use tch::Device;

const IMAGES: u64 = 12;

fn glow() -> Glow {
    // Small tensors: threads that wait for each other would only slow the test, beside others badly.
    tch::set_num_threads(1);
    let model = Architecture {
        height: 16,
        width: 16,
        levels: 2,
        depth: 2,
        hidden: 16,
        coupling: Coupling::Affine,
        ..Default::default()
    };
    let training = Training { lr: 1e-3, warmup: None, seed: 5, ..Default::default() };
    let mut trainer =
        Trainer::new(Config { model, training, ..Default::default() }, 100, Device::Cpu).unwrap();
    trainer.initialise_actnorm(&batch(0, IMAGES)).unwrap();
    for step in 0..3 {
        trainer.step(&batch(step * IMAGES, IMAGES)).unwrap();
    }
    trainer.glow(Weights::Raw).unwrap()
}

fn bits(glow: &Glow, batch: &Batch, draw: u64) -> Vec<f64> {
    bits_per_dim(glow, batch, draw, 5, Device::Cpu).unwrap()
}

/// `count` images of triangular waves, from number `first_image` on.
fn batch(first_image: u64, count: u64) -> Batch {
    let pixel = |image: u64, i: u64| {
        let phase = (29 * image + 7 * (i / 48) + (3 + image % 5) * (i / 3 % 16) + 17 * (i % 3)) % 128;
        4 * phase.min(127 - phase) as u8
    };
    let images = (first_image..first_image + count).flat_map(|image| (0..768).map(move |i| pixel(image, i)));
    Batch { images: images.collect(), labels: vec![0; count as usize], count: count as usize, first_image }
}

#[test]
fn bits_per_dim_of_an_image_does_not_depend_on_its_batch() {
    let glow = glow();
    let whole = bits(&glow, &batch(0, IMAGES), 0);
    for size in [1, 2, 5, 10] {
        let firsts = (0..IMAGES).step_by(size as usize);
        let parts = firsts.flat_map(|first| bits(&glow, &batch(first, size.min(IMAGES - first)), 0));
        let parts: Vec<f64> = parts.collect();
        assert_eq!(parts, whole, "batches of {size}");
    }
    assert_ne!(bits(&glow, &batch(0, IMAGES), 1), whole, "another draw is other noise");
}

/// Weights, noise, initialisation and arithmetic together: what a seed gives stays.
#[test]
fn bits_per_dim_of_a_seed_never_changes() {
    let bits = bits(&glow(), &batch(0, 3), 0);
    for (actual, expected) in bits.iter().zip([7.505883, 7.469129, 7.456605]) {
        assert!((actual - expected).abs() < 1e-5, "{bits:?}");
    }
}
