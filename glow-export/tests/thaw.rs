//! A thawed bundle computes what the checkpoint did that it was frozen from.
#[path = "support/evaluated.rs"]
mod evaluated;
mod support;

use evaluated::evaluated;
use glow_export::{DataKind, DataSpec, ExportOptions, Precision, Reference, Weights, export};
use glow_models::{Architecture, Bundle, Checkpoint, Coupling, Dtype, Permutation, Role, ThawError, thaw};
use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::path::Path;

/// Every permutation, coupling, edge bias, prior, number of classes and of levels.
fn combinations() -> Vec<Architecture> {
    use Permutation::*;
    let mut all = Vec::new();
    for index in 0..4 * 2 * 2 * 2 * 2 * 3 {
        let bit = |stride: usize, count: usize| index / stride % count;
        all.push(Architecture {
            permutation: [Reverse, Shuffle, Invconv, InvconvPlain][bit(1, 4)],
            coupling: [Coupling::Additive, Coupling::Affine][bit(4, 2)],
            edge_bias: bit(8, 2) == 1,
            learn_top: bit(16, 2) == 1,
            classes: [0, 3][bit(32, 2)],
            // A top map of 4×8, 2×4 and 1×2 positions.
            levels: 1 + bit(64, 3),
            height: 8,
            width: 16,
            n_bits: 5,
            ..support::small()
        });
    }
    all
}

/// Freezes a checkpoint of random parameters without proof.
fn frozen(architecture: &Architecture, options: ExportOptions, folder: &Path) -> (Reference, Bundle) {
    frozen_of(architecture, options, folder, |_, _| {})
}

/// The same, with changes to the values of float tensors.
fn frozen_of(
    architecture: &Architecture,
    options: ExportOptions,
    folder: &Path,
    mut change: impl FnMut(&str, &mut [f32]),
) -> (Reference, Bundle) {
    let checkpoint = folder.join("random.safetensors");
    support::write_checkpoint(&checkpoint, architecture, |_| {}, |_, name, values| change(name, values));
    let reference = Reference::new(&Checkpoint::open(&checkpoint).unwrap(), Weights::Averaged).unwrap();
    let bundle = folder.join("bundle");
    export(&checkpoint, &bundle, &options).unwrap();
    (reference, Bundle::open(&bundle).unwrap())
}

/// The largest difference, to the size of the largest number or to 1.
fn largest<'a>(a: &'a Array3<f64>, b: &'a Array3<f64>) -> f64 {
    let size = a.iter().fold(1.0, |size: f64, a| size.max(a.abs()));
    a.iter().zip(b).fold(0.0, |largest, (a, b)| worse(largest, (a - b).abs() / size))
}

/// The larger of two; what is no number is the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::INFINITY } else { a.max(b) }
}

/// The largest differences of log p(image), of latents and of decoded x, relative.
fn differences(a: &Reference, b: &Reference) -> [f64; 3] {
    let architecture = a.architecture();
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let shape = (architecture.channels, architecture.height, architecture.width);
    let mut worst = [0.0f64; 3];
    for label in 0..architecture.classes.max(1) {
        let label = (architecture.classes > 0).then_some(label);
        let x = Array3::from_shape_simple_fn(shape, || random.random_range(-0.5..0.5));
        let (one, other) = (a.encode(x.view(), label), b.encode(x.view(), label));
        let eps: Vec<_> = architecture
            .latent_shapes()
            .iter()
            .map(|s| {
                Array3::from_shape_simple_fn((s.channels, s.height, s.width), || {
                    StandardNormal.sample(&mut random)
                })
            })
            .collect();
        let differences = [
            ((one.log_prob - other.log_prob) / one.log_prob).abs(),
            one.eps.iter().zip(&other.eps).map(|(a, b)| largest(a, b)).fold(0.0, worse),
            largest(&a.decode(&eps, label), &b.decode(&eps, label)),
        ];
        worst.iter_mut().zip(differences).for_each(|(worst, difference)| *worst = worse(*worst, difference));
    }
    worst
}

#[test]
fn every_option_thaws_to_the_same_model() {
    let mut worst = [0.0f64; 3];
    for architecture in combinations() {
        let folder = tempfile::tempdir().unwrap();
        let options = ExportOptions { verify: false, ..Default::default() };
        let (reference, bundle) = frozen(&architecture, options, folder.path());
        let thawed = thaw(&bundle).unwrap();
        let plain = match architecture.permutation {
            Permutation::Invconv => Permutation::InvconvPlain,
            other => other,
        };
        let expected = Architecture { permutation: plain, ..architecture.clone() };
        assert_eq!(*thawed.architecture(), expected);
        let found = differences(&reference, &evaluated(&thawed));
        assert!(found[0] < 1e-6 && found[1] < 1e-6 && found[2] < 1e-6, "{found:?} for {architecture:?}");
        worst.iter_mut().zip(found).for_each(|(worst, found)| *worst = worse(*worst, found));
    }
    println!("log_prob {:.1e} relative, latents {:.1e}, x {:.1e}", worst[0], worst[1], worst[2]);
}

#[test]
fn a_single_file_graph_and_channels_of_ones_thaw_too() {
    // 24 channels in the second level: three channels of ones make up a multiple of four.
    let architecture = Architecture { levels: 3, height: 16, width: 16, classes: 3, ..support::small() };
    let mut thawed = Vec::new();
    for inline in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let options = ExportOptions { verify: false, inline, ..Default::default() };
        let (reference, bundle) = frozen(&architecture, options, folder.path());
        thawed.push(thaw(&bundle).unwrap());
        let found = differences(&reference, &evaluated(&thawed[thawed.len() - 1]));
        assert!(found[0] < 1e-6, "{found:?}");
    }
    assert_eq!(thawed[0], thawed[1]);
}

/// Of the presets' depth: what rounding does does not grow out of hand.
#[test]
fn a_deep_model_thaws_to_the_same() {
    let architecture = Architecture { height: 16, width: 16, levels: 3, depth: 32, ..support::small() };
    let folder = tempfile::tempdir().unwrap();
    let options = ExportOptions { verify: false, ..Default::default() };
    // Matrices near the unit matrix, as those of trained models are near orthogonal ones: 32 of any others
    // together would be as good as singular.
    let (reference, bundle) = frozen_of(&architecture, options, folder.path(), |name, values| {
        let near_unit = ["lower", "upper", "log_s"].iter().any(|part| name.ends_with(part));
        if near_unit || name.ends_with("actnorm.logs") {
            values.iter_mut().for_each(|value| *value *= 0.1);
        }
        if name.ends_with("conv3.bias") {
            // Scales near 1.
            values.iter_mut().skip(1).step_by(2).for_each(|raw| *raw += 3.0);
        }
    });
    let found = differences(&reference, &evaluated(&thaw(&bundle).unwrap()));
    println!("log_prob {:.1e} relative, latents {:.1e}, x {:.1e}", found[0], found[1], found[2]);
    assert!(found[0] < 1e-6 && found[1] < 1e-4 && found[2] < 1e-4, "{found:?}");
}

/// Rounded weights are what a narrower bundle thaws to: near the model, and nearer the finer the format.
#[test]
fn narrower_formats_thaw_to_their_rounded_weights() {
    for (edge_bias, coupling) in [(true, Coupling::Affine), (false, Coupling::Additive)] {
        let architecture = Architecture { edge_bias, coupling, ..support::small() };
        let cost = |precision: Precision| {
            let folder = tempfile::tempdir().unwrap();
            let photos = folder.path().join("photos");
            support::write_images(&photos, &architecture, 12);
            let images = Some(DataSpec { kind: DataKind::Images, path: photos });
            let options = ExportOptions { precision, images, verify: false, ..Default::default() };
            let (reference, bundle) = frozen(&architecture, options, folder.path());
            differences(&reference, &evaluated(&thaw(&bundle).unwrap()))
        };
        let [fp32, fp16, int8] = [Precision::Fp32, Precision::Fp16, Precision::Int8].map(cost);
        println!("x: fp32 {:.1e}, fp16 {:.1e}, int8 {:.1e}", fp32[2], fp16[2], int8[2]);
        assert!(fp32[2] < 1e-6 && fp16[2] < 2e-4 && int8[2] < 2e-3, "{fp32:?} {fp16:?} {int8:?}");
        assert!(fp16[0] < 1e-5 && int8[0] < 1e-4, "{fp16:?} {int8:?}");
    }
}

#[test]
fn thawed_parameters_are_folded() {
    let folder = tempfile::tempdir().unwrap();
    let options = ExportOptions { verify: false, ..Default::default() };
    let (_, bundle) = frozen(&support::small(), options, folder.path());
    let thawed = thaw(&bundle).unwrap();
    for parameter in thawed.architecture().parameters() {
        assert_eq!((parameter.role, parameter.dtype), (Role::Trained, Dtype::F32), "{}", parameter.name);
        if parameter.name.ends_with("logs") {
            assert!(thawed.bytes(&parameter).iter().all(|&byte| byte == 0), "{}", parameter.name);
        }
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = ExportOptions { verify: false, ..Default::default() };
    let (_, bundle) = frozen(&support::small(), options, folder.path());
    let weights = bundle.path("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, &changed).unwrap();
    assert!(matches!(thaw(&bundle), Err(ThawError::Bundle(_))));

    // Somebody's own weights under a manifest that is made to fit: another first step's mixing.
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let tensors = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let first = tensors.tensor("level0.step00.encode.weight").unwrap();
    let at = first.data().as_ptr() as usize - whole.as_ptr() as usize;
    assert!(at >= header);
    let mut changed = whole.clone();
    for bytes in changed[at..at + first.data().len()].chunks_mut(4) {
        let value = f32::from_le_bytes(bytes.try_into().unwrap());
        bytes.copy_from_slice(&(1.5 * value).to_le_bytes());
    }
    std::fs::write(&weights, &changed).unwrap();
    let sealed = Bundle::seal(bundle.folder().unwrap(), bundle.manifest().clone()).unwrap();
    assert!(matches!(thaw(&sealed), Err(ThawError::Constant { .. })));
}
