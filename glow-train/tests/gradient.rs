//! Gradients agree with autograd however much of the forward pass is kept; bfloat16 networks stay
//! invertible.
mod support;

use glow_models::{Architecture, Coupling, Memory, NetworkPrecision, Permutation};
use glow_train::flow::{Differentiated, Encoded, Glow, Gradients, LossWeights, Parameters};
use support::{labels, perturbed, random_x};
use tch::{Kind, Tensor};

const WEIGHTS: LossWeights = LossWeights { log_prob: -1e-3, label_bits: 0.2 };

/// Parameters away from their initial zeros, as far as training takes them where `noise` is 0.02.
fn parameters(architecture: &Architecture, kind: Kind, noise: f64) -> Parameters {
    let parameters = perturbed(architecture, kind, noise, noise / 3.0);
    // Activations of the size that they have in training.
    Glow::new(architecture, &parameters).initialise_actnorm(&random_x(architecture, 16, kind));
    parameters.require_grad();
    parameters
}

fn input(architecture: &Architecture, n: usize, kind: Kind) -> (Tensor, Option<Tensor>) {
    (random_x(architecture, n, kind), labels(architecture, n))
}

/// ‖a − b‖ / ‖b‖ over all parameters together, and the same parameter by parameter at its worst.
fn difference(a: &[Tensor], b: &[Tensor]) -> (f64, f64) {
    let norm = |t: &Tensor| t.norm().double_value(&[]);
    let squares = |of: &dyn Fn(usize) -> f64| (0..a.len()).map(|i| of(i).powi(2)).sum::<f64>().sqrt();
    let whole = squares(&|i| norm(&(&a[i] - &b[i]))) / squares(&|i| norm(&b[i]));
    let worst = (0..a.len())
        .map(|i| norm(&(&a[i] - &b[i])) / norm(&b[i]).max(1e-3 * squares(&|i| norm(&b[i]))))
        .fold(0.0, f64::max);
    (whole, worst)
}

fn gradient(
    glow: &Glow,
    parameters: &Parameters,
    x: &Tensor,
    labels: Option<&Tensor>,
    memory: Memory,
) -> (Differentiated, Vec<Tensor>) {
    let mut gradients = Gradients::zeros(parameters);
    let differentiated = glow.gradient_into(x, labels, WEIGHTS, memory, &mut gradients).unwrap();
    (differentiated, gradients.iter().map(Tensor::copy).collect())
}

/// libtorch's automatic differentiation of the encoding: nothing of the trainer's own backward pass. The
/// encoding, the gradient by x, and the gradients by the parameters.
fn by_autograd(
    architecture: &Architecture,
    parameters: &Parameters,
    x: &Tensor,
    labels: Option<&Tensor>,
) -> (Encoded, Tensor, Vec<Tensor>) {
    let x = x.detach().set_requires_grad(true);
    let encoded = Glow::new(architecture, parameters).encode(&x, labels).unwrap();
    let mut loss = encoded.log_prob.sum(x.kind()) * WEIGHTS.log_prob;
    if let Some(bits) = &encoded.label_bits {
        loss += bits.sum(x.kind()) * WEIGHTS.label_bits;
    }
    let leaves: Vec<Tensor> = [x].into_iter().chain(parameters.trained().map(|(_, leaf)| leaf)).collect();
    let gradients = Tensor::run_backward(&[loss], &leaves, false, false);
    let defined = |(gradient, leaf): (Tensor, &Tensor)| {
        if gradient.defined() { gradient } else { leaf.zeros_like().detach() }
    };
    let mut gradients = gradients.into_iter().zip(&leaves).map(defined);
    let by_x = gradients.next().expect("the first is by x");
    (encoded, by_x, gradients.collect())
}

fn same_gradient(architecture: &Architecture, kind: Kind, noise: f64, tolerance: f64) {
    let parameters = parameters(architecture, kind, noise);
    let glow = Glow::new(architecture, &parameters);
    let (x, labels) = input(architecture, 4, kind);
    let (expected, by_x, by_autograd) = by_autograd(architecture, &parameters, &x, labels.as_ref());
    assert!(by_autograd.iter().any(|g| g.norm().double_value(&[]) > 0.0));
    for memory in [Memory::Autograd, Memory::Checkpoint, Memory::Reversible] {
        let (Differentiated { encoded, by_x: actual_by_x, drift }, gradients) =
            gradient(&glow, &parameters, &x, labels.as_ref(), memory);
        let (off_by_x, _) = difference(&[actual_by_x], &[by_x.shallow_clone()]);
        assert!(off_by_x < tolerance, "{memory:?}: gradient by x {off_by_x} off");
        assert_eq!(drift.is_some(), memory == Memory::Reversible);
        assert!(drift.is_none_or(|drift| drift.double_value(&[]) < 10.0 * tolerance));
        let (whole, worst) = difference(&gradients, &by_autograd);
        assert!(whole < tolerance && worst < 10.0 * tolerance, "{memory:?} {whole} {worst} {architecture:?}");
        let nats = (encoded.log_prob - &expected.log_prob).abs().max().double_value(&[]);
        let scale = expected.log_prob.abs().max().double_value(&[]);
        assert!(nats < tolerance * scale, "{memory:?}: {nats} of {scale} nats");
        for (eps, expected) in encoded.eps.iter().zip(&expected.eps) {
            assert!((eps - expected).abs().max().double_value(&[]) < 10.0 * tolerance);
        }
    }
}

#[test]
fn gradients_agree_with_autograd_in_every_variant_in_double() {
    let base = Architecture { height: 8, width: 16, levels: 3, depth: 2, hidden: 6, ..Default::default() };
    for permutation in Permutation::ALL {
        for coupling in Coupling::ALL {
            for (levels, edge_bias, learn_top, classes) in
                [(3, true, true, 3), (2, false, false, 3), (1, true, false, 0), (2, false, true, 0)]
            {
                let base = base.clone();
                let architecture =
                    Architecture { permutation, coupling, levels, edge_bias, learn_top, classes, ..base };
                same_gradient(&architecture, Kind::Double, 0.1, 1e-9);
            }
        }
    }
}

/// With other draws, about one time in twenty, a ReLU's input is so near 0 that rounding takes it to the
/// other side; in a model as small as this, that one unit is worth 1e-3 of the gradient.
#[test]
fn gradients_agree_with_autograd_in_fp32() {
    for coupling in Coupling::ALL {
        let base = Architecture { height: 16, width: 16, depth: 8, hidden: 32, ..Default::default() };
        same_gradient(&Architecture { coupling, ..base }, Kind::Float, 0.02, 1e-4);
    }
}

#[test]
fn levels_and_discretisation_make_up_log_prob() {
    let architecture = Architecture {
        height: 16,
        width: 16,
        levels: 3,
        depth: 2,
        hidden: 8,
        n_bits: 5,
        ..Default::default()
    };
    let glow = Glow::new(&architecture, &parameters(&architecture, Kind::Double, 0.1));
    let encoded = glow.encode(&input(&architecture, 3, Kind::Double).0, None).unwrap();
    assert_eq!(encoded.level_log_prob.len(), 3);
    let sum: Tensor = encoded.level_log_prob.iter().sum();
    let discretisation = -5.0 * std::f64::consts::LN_2 * architecture.dims() as f64;
    assert!((sum + discretisation - encoded.log_prob).abs().max().double_value(&[]) < 1e-9);
}

/// The network may be as coarse as it likes: both directions evaluate the same one.
#[test]
fn networks_in_bf16_decode_what_they_encoded_and_give_nearly_the_same_likelihood() {
    for coupling in Coupling::ALL {
        let architecture =
            Architecture { height: 16, width: 16, depth: 4, hidden: 32, coupling, ..Default::default() };
        let parameters = parameters(&architecture, Kind::Float, 0.02);
        let (x, _) = input(&architecture, 4, Kind::Float);
        let fp32 = Glow::new(&architecture, &parameters);
        let bf16 = Glow::in_precision(&architecture, &parameters, NetworkPrecision::Bf16);
        let encoded = bf16.encode(&x, None).unwrap();
        let back = (bf16.decode(&encoded.eps, None).unwrap() - &x).abs().mean(Kind::Float).double_value(&[]);
        // A rounding of the flow may take a number to the other side of a bfloat16 step, 2⁻⁸ of it.
        assert!(back < 5e-4, "mean error {back}");
        let exact = fp32.encode(&x, None).unwrap().log_prob;
        let bits = (encoded.log_prob - &exact) / (architecture.dims() as f64 * std::f64::consts::LN_2);
        let bits = bits.abs().max().double_value(&[]);
        assert!(bits > 0.0 && bits < 0.02, "{bits} bits/dim apart");

        let (_, _, expected) = by_autograd(&architecture, &parameters, &x, None);
        for memory in [Memory::Autograd, Memory::Checkpoint, Memory::Reversible] {
            let (whole, _) = difference(&gradient(&bf16, &parameters, &x, None, memory).1, &expected);
            assert!(whole < 0.05, "{memory:?}: gradient {whole} off");
        }
    }
}
