//! What holds for every model.
mod support;

use glow_runtime::{EncodeOptions, Glow, Interpolation, Latents, Noise, SampleOptions, ScoreOptions};
use ndarray::{Array4, Axis, s};
use sha2::{Digest, Sha256};
use support::{conditional, load, noise, unconditional};

#[test]
fn a_glow_can_be_shared_among_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Glow>();
    shared::<glow_runtime::Error>();
}

#[test]
fn a_sample_is_the_same_in_every_batch_and_chunk() {
    let glow = load();
    let options = SampleOptions::new().seed(1).temperature(1.0);
    let all = glow.sample(64, &options).unwrap();
    assert_eq!(glow.sample(8, &options).unwrap(), all.slice(s![..8, .., .., ..]));
    let seventh = options.clone().first(7);
    assert_eq!(glow.sample(1, &seventh).unwrap(), all.slice(s![7..8, .., .., ..]));
    for chunk in [1, 3, 64] {
        let chunked = Glow::builder().decoder_only().max_batch(chunk).load(unconditional()).unwrap();
        assert_eq!(chunked.sample(64, &options).unwrap(), all, "chunks of {chunk}");
    }
    let other = options.seed(2);
    assert_ne!(glow.sample(64, &other).unwrap(), all);
}

/// The same hash is asserted from C, Python and the browser.
#[test]
fn a_seed_gives_the_same_pictures_in_every_language() {
    let images = load().sample(6, &SampleOptions::new().seed(1)).unwrap();
    let digest = Sha256::digest(images.as_slice().unwrap());
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = include_str!("../../models/tests/samples.sha256");
    assert_eq!(Some(hash.as_str()), golden.split_whitespace().next());
}

#[test]
fn temperature_scales_the_noise() {
    let glow = load();
    let at = |temperature| glow.sample_latents(3, &SampleOptions::new().temperature(temperature)).unwrap();
    assert_eq!(at(0.0), Latents::zeros(3, &support::shapes()));
    assert_eq!(at(0.5), at(1.0).scale(0.5));
    assert_eq!(at(0.7), glow.sample_latents(3, &SampleOptions::default()).unwrap());
}

#[test]
fn chunks_and_threads_do_not_change_what_is_encoded() {
    let images = noise(17);
    let options = EncodeOptions::new().noise(Noise::Uniform { seed: 3 });
    let reference = load().encode(&images, &options).unwrap();
    for (chunk, threads) in [(1, 1), (5, 2), (17, 1), (64, 2)] {
        let builder = Glow::builder().encoder_only().max_batch(chunk).threads(threads);
        let encoded = builder.load(unconditional()).unwrap().encode(&images, &options).unwrap();
        assert_eq!(encoded, reference, "chunks of {chunk}, {threads} threads");
    }
    let later = options.first(4);
    let part = load().encode(images.slice(s![4.., .., .., ..]), &later).unwrap();
    assert_eq!(part.latents, reference.latents.slice(4..17).unwrap());
    assert_eq!(part.log_prob, reference.log_prob[4..]);
}

#[test]
fn images_come_back_pixel_by_pixel() {
    let (glow, images) = (load(), noise(40));
    assert_eq!(glow.reconstruct(&images, None).unwrap(), images);
    let u = Array4::from_shape_fn(images.dim(), |(n, y, x, c)| (n + y + x + c) as f32 % 7.0 / 8.0);
    let decoded = glow.decode(&glow.encode_with(&images, &u, None).unwrap().latents, None).unwrap();
    for ((x, u), value) in decoded.x.iter().zip(&u).zip(&images) {
        let expected = (f32::from(*value) + u) / 256.0 - 0.5;
        assert!((x - expected).abs() < 1e-4, "{x} {expected}");
    }
}

#[test]
fn the_layout_of_arrays_does_not_matter() {
    let glow = load();
    let images = noise(4);
    let mut turned = images.clone();
    turned.invert_axis(Axis(2));
    let standard = turned.as_standard_layout().into_owned();
    assert!(!turned.is_standard_layout());
    let options = EncodeOptions::default();
    assert_eq!(glow.encode(&turned, &options).unwrap(), glow.encode(&standard, &options).unwrap());
}

#[test]
fn nothing_in_nothing_out() {
    let glow = load();
    let none = noise(0);
    assert_eq!(glow.sample(0, &SampleOptions::default()).unwrap(), none);
    let encoded = glow.encode(&none, &EncodeOptions::default()).unwrap();
    assert_eq!((encoded.latents.batch(), encoded.log_prob.len()), (0, 0));
    assert_eq!(glow.decode(&encoded.latents, None).unwrap().images, none);
    assert!(glow.log_prob(&none, &ScoreOptions::default()).unwrap().is_empty());
}

#[test]
fn likelihoods_are_means_over_the_draws() {
    let (glow, images) = (load(), noise(3));
    let score = |draws| glow.log_prob(&images, &ScoreOptions::new().draws(draws).seed(5)).unwrap();
    let options = EncodeOptions::new().noise(Noise::Uniform { seed: 5 });
    let encoded = glow.encode(&images, &options).unwrap();
    assert_eq!(score(1), encoded.log_prob.iter().map(|&nats| f64::from(nats)).collect::<Vec<_>>());
    assert_ne!(score(1), score(4));
    let bits = glow.bits_per_dim(&images, &ScoreOptions::new().draws(4).seed(5)).unwrap();
    for (bits, nats) in bits.iter().zip(score(4)) {
        assert!((bits + nats / (std::f64::consts::LN_2 * 192.0)).abs() < 1e-12);
    }
    let last = ScoreOptions::new().draws(4).seed(5).first(2);
    assert_eq!(glow.log_prob(images.slice(s![2.., .., .., ..]), &last).unwrap(), score(4)[2..]);
}

#[test]
fn the_standard_error_is_that_of_the_draws() {
    let (glow, images) = (load(), noise(2));
    let score = |draws| glow.score(&images, &ScoreOptions::new().draws(draws)).unwrap();
    assert_eq!(score(1)[0].standard_error, None);
    // The draws of a call are the first ones of a longer call, so that they can be told apart.
    let (one, two) = (score(1)[0].log_prob, score(2)[0]);
    let other = 2.0 * two.log_prob - one;
    let expected = (other - one).abs() / 2.0;
    assert!((two.standard_error.unwrap() - expected).abs() < 1e-6 * expected.max(1.0));
    assert_eq!(two.bits_per_dim, glow.architecture().bits_per_dim(two.log_prob));
}

#[test]
fn truncated_samples_stay_within() {
    let options = SampleOptions::new().temperature(0.5).truncation(Some(0.8)).seed(4);
    let glow = load();
    let latents = glow.sample_latents(9, &options).unwrap();
    assert!(latents.flat().iter().all(|eps| eps.abs() <= 0.4));
    let seventh = options.clone().first(7);
    assert_eq!(glow.sample_latents(1, &seventh).unwrap(), latents.slice(7..8).unwrap());
    let none = options.clone().truncation(Some(f32::INFINITY));
    let without = options.truncation(None);
    assert_eq!(glow.sample(3, &none).unwrap(), glow.sample(3, &without).unwrap());
}

#[test]
fn interpolation_begins_and_ends_at_the_images() {
    let (glow, images) = (load(), noise(4));
    let latents = glow.encode(&images, &EncodeOptions::default()).unwrap().latents;
    let (a, b) = (latents.slice(0..2).unwrap(), latents.slice(2..4).unwrap());
    for way in [Interpolation::Linear, Interpolation::Spherical] {
        let steps = glow.interpolate(&a, &b, 3, way, None).unwrap();
        let expected = images.select(Axis(0), &[0, 2, 1, 3]);
        assert_eq!(steps.select(Axis(0), &[0, 2, 3, 5]), expected, "{way:?}");
    }
}

#[test]
fn concurrent_calls_give_what_single_ones_give() {
    let glow = load();
    let options = |seed| SampleOptions::new().seed(seed).temperature(1.0);
    let single: Vec<_> = (0..4).map(|seed| glow.sample(5, &options(seed)).unwrap()).collect();
    let images = noise(5);
    let encoded = glow.encode(&images, &EncodeOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (glow, single, images, encoded) = (&glow, &single, &images, &encoded);
            scope.spawn(move || {
                for round in 0..20 {
                    let seed = (thread + round) % 4;
                    assert_eq!(glow.sample(5, &options(seed)).unwrap(), single[seed as usize]);
                    assert_eq!(&glow.encode(images, &EncodeOptions::default()).unwrap(), encoded);
                }
            });
        }
    });
}

#[test]
fn a_class_conditions_the_model() {
    let glow = Glow::load(conditional()).unwrap();
    let images = noise(3);
    let encode =
        |labels: [i64; 3]| glow.encode(&images, &EncodeOptions::new().labels(Some(labels.into()))).unwrap();
    let (same, mixed) = (encode([1, 1, 1]), encode([1, 2, 0]));
    assert_eq!(same.log_prob[0], mixed.log_prob[0]);
    assert_ne!(same.log_prob[1..], mixed.log_prob[1..]);
    assert_eq!(glow.decode(&mixed.latents, Some(&[1, 2, 0])).unwrap().images, images);
    assert_eq!(glow.reconstruct(&images, Some(&[2, 2, 0])).unwrap(), images);
    let sample = |label| {
        let labels = Some(vec![label; 40]);
        glow.sample(40, &SampleOptions::new().labels(labels).temperature(1.0)).unwrap()
    };
    assert_ne!(sample(0), sample(1));
    let (a, b) = (mixed.latents.slice(0..1).unwrap(), same.latents.slice(2..3).unwrap());
    assert_eq!(glow.interpolate(&a, &b, 4, Interpolation::Linear, Some(&[1])).unwrap().dim().0, 4);
}
