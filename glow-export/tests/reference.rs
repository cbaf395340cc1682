//! The float64 evaluation is a bijection, and its log-determinant that of its Jacobian.
mod support;

use glow_export::{Reference, Weights};
use glow_models::{Architecture, Checkpoint, Coupling, Permutation};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// 4×4×1, small enough for a Jacobian by differences.
fn tiny() -> Architecture {
    Architecture { height: 4, width: 4, channels: 1, hidden: 4, classes: 2, ..support::small() }
}

fn variants() -> Vec<Architecture> {
    use Permutation::*;
    let mut variants = Vec::new();
    for permutation in [Reverse, Shuffle, Invconv, InvconvPlain] {
        for (coupling, edge_bias) in [(Coupling::Affine, true), (Coupling::Additive, false)] {
            variants.push(Architecture { permutation, coupling, edge_bias, ..tiny() });
        }
    }
    variants
}

fn reference(architecture: &Architecture) -> Reference {
    let (_folder, path) = support::checkpoint(architecture);
    Reference::new(&Checkpoint::open(&path).unwrap(), Weights::Averaged).unwrap()
}

fn random_x() -> Array3<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    Array3::from_shape_simple_fn((1, 4, 4), || random.random_range(-0.5..0.5))
}

#[test]
fn decoding_inverts_encoding() {
    for architecture in variants() {
        let reference = reference(&architecture);
        let x = random_x();
        let back = reference.decode(&reference.encode(x.view(), Some(1)).eps, Some(1));
        let difference = (back - x).iter().fold(0.0, |largest: f64, d| largest.max(d.abs()));
        assert!(difference < 1e-9, "{difference} for {architecture:?}");
    }
}

#[test]
fn the_log_determinant_is_the_jacobians() {
    const H: f64 = 1e-5;
    for architecture in variants() {
        let reference = reference(&architecture);
        let x = random_x();
        let flat_eps = |x: &Array3<f64>| -> Vec<f64> {
            reference.encode(x.view(), Some(0)).eps.into_iter().flatten().collect()
        };
        let n = x.len();
        let mut jacobian = Array2::zeros((n, n));
        for input in 0..n {
            let (mut up, mut down) = (x.clone(), x.clone());
            up.as_slice_mut().unwrap()[input] += H;
            down.as_slice_mut().unwrap()[input] -= H;
            for (output, (up, down)) in flat_eps(&up).into_iter().zip(flat_eps(&down)).enumerate() {
                jacobian[[output, input]] = (up - down) / (2.0 * H);
            }
        }
        let (expected, actual) = (log_abs_det(jacobian), reference.encode(x.view(), Some(0)).log_det);
        assert!((expected - actual).abs() < 1e-6, "{expected} and {actual} for {architecture:?}");
    }
}

/// By Gaussian elimination.
fn log_abs_det(mut m: Array2<f64>) -> f64 {
    let n = m.nrows();
    let mut sum = 0.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|&a, &b| m[[a, k]].abs().total_cmp(&m[[b, k]].abs())).unwrap();
        for j in 0..n {
            m.swap([k, j], [pivot, j]);
        }
        sum += m[[k, k]].abs().ln();
        for i in k + 1..n {
            let factor = m[[i, k]] / m[[k, k]];
            for j in k..n {
                m[[i, j]] -= factor * m[[k, j]];
            }
        }
    }
    sum
}

#[test]
fn log_prob_of_a_model_that_does_nothing_is_that_of_a_standard_normal() {
    let architecture = Architecture { classes: 0, permutation: Permutation::Reverse, ..tiny() };
    let (_folder, path) = support::changed_checkpoint(
        &architecture,
        |_| {},
        |_, name, values| {
            // sigmoid(2 + 1000) is 1.
            values.fill(if name.ends_with("conv3.bias") { 1000.0 } else { 0.0 });
            if name.ends_with("conv3.bias") {
                values.iter_mut().step_by(2).for_each(|shift| *shift = 0.0);
            }
        },
    );
    let reference = Reference::new(&Checkpoint::open(&path).unwrap(), Weights::Averaged).unwrap();
    let x = random_x();
    let squares: f64 = x.iter().map(|x| x * x).sum();
    let expected = -0.5 * squares - 16.0 * (0.5 * (2.0 * std::f64::consts::PI).ln() + 256f64.ln());
    assert!((reference.encode(x.view(), None).log_prob - expected).abs() < 1e-10);
}
