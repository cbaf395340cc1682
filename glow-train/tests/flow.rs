//! Properties of the flow: inverse ∘ forward is the identity, the log-determinant is autograd's, the
//! initialisation normalises, in every variant.
mod support;

use glow_models::random::Purpose;
use glow_models::{Architecture, Coupling, Permutation};
use glow_train::flow::{Glow, Parameters, dequantize, uniform_noise};
use support::{labels, perturbed, random_x};
use tch::{Device, Kind, Tensor};

fn tiny() -> Architecture {
    Architecture { height: 4, width: 4, channels: 1, levels: 2, depth: 2, hidden: 6, ..Default::default() }
}

fn variants(base: &Architecture) -> Vec<Architecture> {
    let mut variants = Vec::new();
    for permutation in Permutation::ALL {
        for coupling in Coupling::ALL {
            for (edge_bias, learn_top, classes) in
                [(true, true, 0), (false, true, 3), (true, false, 3), (false, false, 0)]
            {
                variants.push(Architecture {
                    permutation,
                    coupling,
                    edge_bias,
                    learn_top,
                    classes,
                    ..base.clone()
                });
            }
        }
    }
    variants
}

#[test]
fn decoding_undoes_encoding_in_every_variant() {
    for levels in 1..=4 {
        let base = Architecture { height: 16, width: 32, channels: 3, levels, ..tiny() };
        for architecture in variants(&base) {
            let glow = Glow::new(&architecture, &perturbed(&architecture, Kind::Double, 0.2, 0.05));
            let (x, labels) = (random_x(&architecture, 2, Kind::Double), labels(&architecture, 2));
            let encoded = glow.encode(&x, labels.as_ref()).unwrap();
            let back = glow.decode(&encoded.eps, labels.as_ref()).unwrap();
            let error = (&back - &x).abs().max().double_value(&[]);
            assert!(error < 1e-9, "{error} in {architecture:?}");
            let shapes: Vec<Vec<i64>> = encoded.eps.iter().map(Tensor::size).collect();
            let expected: Vec<Vec<i64>> = architecture
                .latent_shapes()
                .iter()
                .map(|s| vec![2, s.channels as i64, s.height as i64, s.width as i64])
                .collect();
            assert_eq!(shapes, expected);
        }
    }
}

/// log p(image) = log N(eps) + log|det ∂eps/∂x| + discretisation, with the Jacobian row by row from
/// autograd.
#[test]
fn log_prob_agrees_with_the_jacobian_of_autograd() {
    for architecture in variants(&tiny()) {
        let glow = Glow::new(&architecture, &perturbed(&architecture, Kind::Double, 0.2, 0.05));
        let labels = labels(&architecture, 1);
        let x = random_x(&architecture, 1, Kind::Double).contiguous().set_requires_grad(true);
        let encoded = glow.encode(&x, labels.as_ref()).unwrap();
        let flat = Tensor::cat(&encoded.eps.iter().map(|eps| eps.reshape([-1])).collect::<Vec<_>>(), 0);
        let dims = architecture.dims() as i64;
        let rows: Vec<Tensor> = (0..dims)
            .map(|i| Tensor::run_backward(&[flat.get(i)], &[&x], true, false).remove(0).reshape([-1]))
            .collect();
        let (_, log_det) = Tensor::linalg_slogdet(&Tensor::stack(&rows, 0));
        let normal = (flat.square() * -0.5 - 0.5 * (2.0 * std::f64::consts::PI).ln()).sum(Kind::Double);
        let discretisation = -f64::from(architecture.bins()).ln() * dims as f64;
        let expected = normal.double_value(&[]) + log_det.double_value(&[]) + discretisation;
        let actual = encoded.log_prob.double_value(&[0]);
        assert!(
            ((actual - expected) / expected).abs() < 1e-10,
            "{actual} for {expected} in {architecture:?}"
        );
    }
}

#[test]
fn initialisation_gives_every_actnorm_mean_0_and_deviation_1() {
    // One step without coupling's influence on its input: eps of a 1-level model is the actnorm's
    // output, mixed by a rotation, since last convolutions are zero.
    let architecture = Architecture {
        levels: 1,
        depth: 1,
        permutation: Permutation::Reverse,
        height: 16,
        width: 16,
        ..tiny()
    };
    let parameters = Parameters::initial(&architecture, 0, Device::Cpu, Kind::Double);
    let glow = Glow::new(&architecture, &parameters);
    let x = random_x(&architecture, 64, Kind::Double) * 0.1 + 0.3;
    glow.initialise_actnorm(&x);
    let eps = glow.encode(&x, None).unwrap().eps.remove(0);
    let axes: &[i64] = &[0, 2, 3];
    assert!(eps.mean_dim(axes, false, Kind::Double).abs().max().double_value(&[]) < 1e-9);
    let deviation = eps.square().mean_dim(axes, false, Kind::Double).sqrt();
    assert!((deviation - 1.0).abs().max().double_value(&[]) < 1e-3);
}

#[test]
fn a_constant_channel_stays_finite() {
    let architecture = tiny();
    let parameters = Parameters::initial(&architecture, 0, Device::Cpu, Kind::Float);
    let glow = Glow::new(&architecture, &parameters);
    let x = Tensor::zeros([8, 4, 4, 1], (Kind::Float, Device::Cpu)).permute([0, 3, 1, 2]);
    glow.initialise_actnorm(&x);
    let encoded = glow.encode(&x, None).unwrap();
    assert_eq!(encoded.log_prob.isfinite().all().int64_value(&[]), 1);
}

#[test]
fn noise_is_a_function_of_seed_and_image_and_lies_in_0_to_1() {
    let architecture = Architecture { height: 8, width: 8, ..Default::default() };
    let noise = |n, seed, first| uniform_noise(&architecture, n, seed, Purpose::TrainingNoise, first);
    let four = noise(4, 5, 3);
    assert_eq!(four, noise(4, 5, 3));
    assert_ne!(four, noise(4, 6, 3));
    // An image has its noise in whatever batch it comes.
    assert_eq!(four.narrow(0, 2, 2), noise(2, 5, 5));
    assert!(four.min().double_value(&[]) >= 0.0 && four.max().double_value(&[]) < 1.0);
}

/// In fp32 at every level count, on image-like input through a perturbed model.
#[test]
fn decoding_undoes_encoding_in_single_precision() {
    for levels in 1..=5 {
        let architecture = Architecture {
            height: 32,
            width: 32,
            channels: 3,
            levels,
            depth: 8,
            hidden: 16,
            coupling: Coupling::Affine,
            ..tiny()
        };
        let parameters = perturbed(&architecture, Kind::Float, 0.02, 0.005);
        let glow = Glow::new(&architecture, &parameters);
        let images = (random_x(&architecture, 4, Kind::Float).permute([0, 2, 3, 1]) + 0.5) * 256;
        let images = images.to_kind(Kind::Uint8);
        let x = dequantize(
            &architecture,
            &images,
            &uniform_noise(&architecture, 4, 1, Purpose::TrainingNoise, 0),
        );
        glow.initialise_actnorm(&x);
        let error = (glow.decode(&glow.encode(&x, None).unwrap().eps, None).unwrap() - &x)
            .abs()
            .max()
            .double_value(&[]);
        assert!(error <= 1e-4, "{error} at {levels} levels");
    }
}
