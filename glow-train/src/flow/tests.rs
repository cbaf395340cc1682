//! Every layer over all its options, in double: the inverse, the log-determinant against the determinant of
//! autograd's Jacobian, and the gradient against autograd's.
use super::coupling::CouplingLayer;
use super::gradients::{Gradients, Slots, differentiate};
use super::linear::LevelLinear;
use super::network::CouplingNetwork;
use super::prior::{SplitPrior, TopPrior};
use super::rows::ConstantColumns;
use super::squeeze::{squeeze, unsqueeze};
use super::step::Step;
use super::{Glow, Parameters};
use crate::torch::no_grad;
use glow_models::random::{self, Purpose};
use glow_models::{Architecture, Coupling, NetworkPrecision, Permutation};
use tch::{Device, Kind, Tensor};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);
const STEP: &str = "level0.step00";

/// Standard normal numbers in double, other ones for every number. Not from libtorch's generator, which all
/// tests of a process share.
pub(super) fn normal(shape: &[i64], number: u64) -> Tensor {
    let count = shape.iter().product::<i64>() as usize;
    let values: Vec<f32> = random::normal(0, Purpose::Latents, number, None).take(count).collect();
    Tensor::from_slice(&values).reshape(shape).to_kind(Kind::Double)
}

/// Parameters in double as training might leave them: nothing is at its initial zero.
pub(super) fn perturbed(architecture: &Architecture, noise: f64) -> Parameters {
    // Small tensors: threads that wait for each other would only slow the test, beside others badly.
    tch::set_num_threads(1);
    let parameters = Parameters::initial(architecture, 3, Device::Cpu, Kind::Double);
    for (number, (_, mut tensor)) in (1000..).zip(parameters.trained()) {
        tensor.copy_(&(tensor.copy() + normal(&tensor.size(), number) * noise));
    }
    parameters
}

/// One level of one step over 4×6 images of `channels`, and the step's two halves.
fn architecture(permutation: Permutation, coupling: Coupling, edge_bias: bool) -> Architecture {
    Architecture {
        height: 4,
        width: 8,
        channels: 1,
        levels: 1,
        depth: 1,
        hidden: 5,
        permutation,
        coupling,
        edge_bias,
        ..Default::default()
    }
}

/// Every combination of permutation, coupling and edge bias.
fn architectures() -> Vec<Architecture> {
    let mut all = Vec::new();
    for permutation in Permutation::ALL {
        for coupling in Coupling::ALL {
            all.extend([false, true].map(|edge_bias| architecture(permutation, coupling, edge_bias)));
        }
    }
    all
}

fn linear(architecture: &Architecture, parameters: &Parameters) -> LevelLinear {
    LevelLinear::new(parameters, architecture, &[STEP.to_string()])
}

fn constants(architecture: &Architecture) -> ConstantColumns {
    ConstantColumns::new([2, 4], architecture.edge_bias, DOUBLE, None)
}

fn coupling(architecture: &Architecture, parameters: &Parameters) -> CouplingLayer {
    let name = format!("{STEP}.coupling");
    let network = CouplingNetwork::new(parameters, &name, NetworkPrecision::Fp32, constants(architecture));
    CouplingLayer::new(architecture.coupling, network)
}

fn step(architecture: &Architecture, parameters: &Parameters) -> Step {
    Step::new(parameters, architecture, NetworkPrecision::Fp32, constants(architecture), STEP.into())
}

/// z [N, C, H, W] → y and the log-determinants [N].
type Forward = Box<dyn Fn(&Tensor) -> (Tensor, Tensor)>;

/// A layer: z [N, C, H, W] to y and the log-determinants [N], and back.
struct Layer {
    name: String,
    forward: Forward,
    inverse: Box<dyn Fn(&Tensor) -> Tensor>,
}

fn zeros(z: &Tensor) -> Tensor {
    Tensor::zeros([z.size()[0]], DOUBLE)
}

fn layers() -> Vec<Layer> {
    let mut layers = vec![Layer {
        name: "squeeze".into(),
        forward: Box::new(|z| (squeeze(z), zeros(z))),
        inverse: Box::new(unsqueeze),
    }];
    for a in architectures() {
        let parameters = perturbed(&a, 0.2);
        let name =
            |layer: &str| format!("{layer} of {:?}, {:?}, edge {}", a.permutation, a.coupling, a.edge_bias);
        let (map, pixels) = (linear(&a, &parameters), 8.0);
        let back = linear(&a, &parameters);
        layers.push(Layer {
            name: name("actnorm and permutation"),
            forward: Box::new(move |z| {
                let maps = map.maps();
                let log_det = maps.log_det.sum(Kind::Double) * pixels + zeros(z);
                (maps.forward(Kind::Double)[0].apply(z), log_det)
            }),
            inverse: Box::new(move |y| back.maps().inverse(Kind::Double)[0].apply(y)),
        });
        let (layer, back) = (coupling(&a, &parameters), coupling(&a, &parameters));
        layers.push(Layer {
            name: name("coupling"),
            forward: Box::new(move |z| {
                let (y, log_det) = layer.forward(z);
                (y, log_det.unwrap_or_else(|| zeros(z)))
            }),
            inverse: Box::new(move |y| back.inverse(y)),
        });
        let (whole, map) = (step(&a, &parameters), linear(&a, &parameters));
        let (back, map_back) = (step(&a, &parameters), linear(&a, &parameters));
        layers.push(Layer {
            name: name("step"),
            forward: Box::new(move |z| {
                let maps = map.maps();
                let (y, log_det, _) = whole.forward(z, &maps.forward(Kind::Double)[0]);
                let linear = maps.log_det.sum(Kind::Double) * pixels + zeros(z);
                (y, log_det.map_or(linear.shallow_clone(), |log_det| linear + log_det))
            }),
            inverse: Box::new(move |y| back.inverse(y, &map_back.maps().inverse(Kind::Double)[0])),
        });
    }
    layers
}

/// log|det ∂y/∂x| of one image, row by row from autograd.
fn log_det_of_jacobian(y: &Tensor, x: &Tensor) -> f64 {
    let flat = y.reshape([-1]);
    let row = |i: i64| {
        let row = Tensor::run_backward(&[flat.get(i)], &[x], true, false).remove(0);
        if row.defined() { row.reshape([-1]) } else { x.zeros_like().reshape([-1]) }
    };
    let rows: Vec<Tensor> = (0..flat.size()[0]).map(row).collect();
    Tensor::linalg_slogdet(&Tensor::stack(&rows, 0)).1.double_value(&[])
}

fn close(a: &Tensor, b: &Tensor, what: &str) {
    assert_eq!(a.size(), b.size(), "{what}");
    let off = (a - b).abs().max().double_value(&[]) / b.abs().max().double_value(&[]).max(1.0);
    assert!(off < 1e-9, "{what}: {off} off");
}

#[test]
fn every_layer_has_its_inverse_and_its_log_determinant() {
    for Layer { name, forward, inverse } in layers() {
        let x = normal(&[2, 4, 2, 4], 1);
        let (y, log_det) = forward(&x);
        close(&inverse(&y), &x, &name);
        for image in 0..2 {
            let x = x.narrow(0, image, 1).contiguous().set_requires_grad(true);
            let (of_one, log_det_of_one) = forward(&x);
            close(&of_one, &y.narrow(0, image, 1), &format!("{name}, one image alone"));
            close(&log_det_of_one, &log_det.narrow(0, image, 1), &format!("{name}, one image alone"));
            let off = log_det_of_jacobian(&of_one, &x) - log_det_of_one.double_value(&[0]);
            assert!(off.abs() < 1e-9, "{name}: log-determinant {off} off");
        }
    }
}

/// log N(z; mean, scale) = log N(eps; 0, 1) + log|det ∂eps/∂z|, and z comes back from eps.
#[test]
fn every_prior_has_its_inverse_and_its_density() {
    let check = |name: &str,
                 score: &dyn Fn(&Tensor) -> (Tensor, Tensor),
                 back: &dyn Fn(&Tensor) -> Tensor,
                 shape: &[i64]| {
        let z = normal(shape, 2).set_requires_grad(true);
        let (eps, log_density) = score(&z);
        close(&back(&eps), &z, name);
        let normal = (eps.square() * -0.5 - 0.5 * (2.0 * std::f64::consts::PI).ln()).sum(Kind::Double);
        let expected = normal.double_value(&[]) + log_det_of_jacobian(&eps, &z);
        let off = log_density.double_value(&[0]) - expected;
        assert!(off.abs() < 1e-9, "{name}: {off} nats off");
    };
    for (edge_bias, learn_top, classes) in
        (0..8).map(|i| (i & 1 == 1, i & 2 == 2, if i & 4 == 4 { 3 } else { 0 }))
    {
        let base = architecture(Permutation::Reverse, Coupling::Additive, edge_bias);
        let a = Architecture { learn_top, classes, levels: 2, ..base };
        let parameters = perturbed(&a, 0.2);
        let label = (classes > 0).then(|| Tensor::from_slice(&[2i64]));
        let top = TopPrior::new(&parameters, &a);
        // Level 1 squeezes 2 channels of 2×4 pixels into 8 of 1×2.
        let gaussian = |like: &Tensor| top.gaussian(like, label.as_ref()).unwrap();
        let name = format!("top prior, edge {edge_bias}, learned {learn_top}, {classes} classes");
        check(&name, &|z| gaussian(z).score(z), &|eps| gaussian(eps).z(eps), &[1, 8, 1, 2]);
        assert_eq!(top.gaussian(&normal(&[1, 8, 1, 2], 3), None).is_err(), classes > 0);
        let split = SplitPrior::new(&parameters, 0);
        let z1 = normal(&[1, 2, 2, 4], 4);
        let name = format!("split prior, edge {edge_bias}");
        check(&name, &|z| split.given(&z1).score(z), &|eps| split.given(&z1).z(eps), &[1, 2, 2, 4]);
    }
}

/// The hand-written backward passes of network, coupling, affine maps and step.
#[test]
fn every_step_s_gradient_is_autograd_s() {
    for a in architectures() {
        let parameters = perturbed(&a, 0.2);
        parameters.require_grad();
        let name = format!("{:?}, {:?}, edge {}", a.permutation, a.coupling, a.edge_bias);
        let (step, linear) = (step(&a, &parameters), linear(&a, &parameters));
        let x = normal(&[3, 4, 2, 4], 5).set_requires_grad(true);
        let (g, g_log_det) = (normal(&[3, 4, 2, 4], 6), 0.7);

        let maps = linear.maps();
        let (y, log_det, _) = step.forward(&x, &maps.forward(Kind::Double)[0]);
        let mut loss = (&y * &g).sum(Kind::Double) + maps.log_det.sum(Kind::Double) * (g_log_det * 8.0 * 3.0);
        if let Some(log_det) = log_det {
            loss += log_det.sum(Kind::Double) * g_log_det;
        }
        let all = Slots::new(&parameters, parameters.trained().map(|(parameter, _)| &parameter.name));
        let mut expected = Gradients::zeros(&parameters);
        let [expected_by_x] = differentiate(&loss, [&x], &[&all], &mut expected);

        let mut actual = Gradients::zeros(&parameters);
        let maps = linear.maps();
        let (by_x, by_map) = no_grad(|| {
            let map = maps.forward(Kind::Double).remove(0);
            let (_, _, cache) = step.forward(&x, &map);
            step.backward(cache, &map, &g, g_log_det, &mut actual)
        });
        linear.backward(&maps, &[by_map], g_log_det * 8.0 * 3.0, &mut actual);
        close(&by_x, &expected_by_x, &format!("{name}, by x"));
        for ((parameter, _), (actual, expected)) in
            parameters.trained().zip(actual.iter().zip(expected.iter()))
        {
            close(actual, expected, &format!("{name}, by {}", parameter.name));
        }
    }
}

/// What the reversible backward pass recomputes from a step's output is what the forward pass had.
#[test]
fn every_step_s_input_is_recomputed() {
    for a in architectures() {
        let parameters = perturbed(&a, 0.2);
        let (step, maps) = (step(&a, &parameters), linear(&a, &parameters).maps());
        let x = normal(&[2, 4, 2, 4], 7);
        let (y, _, _) = step.forward(&x, &maps.forward(Kind::Double)[0]);
        let cache = step.recompute(&y, &maps.inverse(Kind::Double)[0]);
        close(&cache.x, &x, "the input");
    }
}

#[test]
fn labels_that_are_missing_are_an_error_in_every_direction() {
    let a = Architecture { classes: 3, ..architecture(Permutation::Invconv, Coupling::Affine, true) };
    let parameters = perturbed(&a, 0.1);
    let glow = Glow::new(&a, &parameters);
    let x = normal(&[1, 1, 4, 8], 8);
    let missing = super::MissingLabels { classes: 3 };
    assert_eq!(glow.encode(&x, None).unwrap_err(), missing);
    let eps = glow.latents(0..1, 1.0, 0, DOUBLE);
    assert_eq!(glow.decode(&eps, None).unwrap_err(), missing);
}
