//! Swapped halves and refusals, on random models and an evaluation of their own.
use super::*;
use crate::import::tensors::Entry;
use crate::{Reference, Weights};
use glow_models::{Checkpoint, CheckpointMeta, Config, Group};
use ndarray::{Array1, Array3, Axis, concatenate, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Random tensors of a model of 1×4×4 images by their names.
#[derive(Default)]
struct File(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

const LEVELS: usize = 2;
const STEPS: usize = 2;
const HIDDEN: usize = 3;

impl File {
    fn random(coupling: Coupling) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut file = Self::default();
        let mut put = |name: String, shape: &[usize], scale: f64| {
            let values =
                (0..shape.iter().product()).map(|_| scale * random.random_range(-1.0..1.0)).collect();
            file.0.insert(name, (shape.to_vec(), values));
        };
        for group in 0..LEVELS {
            let channels = 4 * (LEVELS - group);
            let outputs = if coupling == Coupling::Affine { channels } else { channels / 2 };
            for step in 0..STEPS {
                let flow = format!("flows.{group}.{step}.flows");
                for part in ["s", "t"] {
                    put(format!("{flow}.2.{part}"), &[1, channels, 1, 1], 0.3);
                }
                for part in ["L", "U"] {
                    put(format!("{flow}.1.{part}"), &[channels, channels], 0.3);
                }
                for part in ["P", "eye"] {
                    put(format!("{flow}.1.{part}"), &[channels, channels], 0.0);
                }
                put(format!("{flow}.1.log_S"), &[channels], 0.2);
                put(format!("{flow}.1.sign_S"), &[channels], 0.0);
                let net = format!("{flow}.0.flows.1.param_map.net");
                put(format!("{net}.0.weight"), &[HIDDEN, channels / 2, 3, 3], 0.5);
                put(format!("{net}.2.weight"), &[HIDDEN, HIDDEN, 1, 1], 0.5);
                put(format!("{net}.4.weight"), &[outputs, HIDDEN, 3, 3], 0.3);
                for (conv, size) in [(0, HIDDEN), (2, HIDDEN), (4, outputs)] {
                    put(format!("{net}.{conv}.bias"), &[size], 0.3);
                }
            }
            let kept = if group > 0 { channels / 2 } else { channels };
            for part in ["loc", "loc_logs", "log_scale", "log_scale_logs"] {
                put(format!("q0.{group}.{part}"), &[1, kept, 1, 1], 0.3);
            }
        }
        // A permutation of the channels by two places, and signs.
        for (name, (shape, values)) in &mut file.0 {
            let n = shape[0];
            if name.ends_with("1.P") {
                (0..n).for_each(|i| values[i * n + (i + 2) % n] = 1.0);
            } else if name.ends_with("sign_S") {
                (0..n).for_each(|i| values[i] = if i % 3 == 0 { -1.0 } else { 1.0 });
            }
        }
        // Numbers that fp32 holds, as the file would.
        for (_, values) in file.0.values_mut() {
            values.iter_mut().for_each(|value| *value = f64::from(*value as f32));
        }
        file
    }

    fn tensors(&self) -> Tensors {
        let entry = |(name, (shape, values)): (&String, &(Vec<usize>, Vec<f64>))| {
            let values = values.clone();
            (name.clone(), Entry { shape: shape.clone(), read: Box::new(move || Ok(values.clone())) })
        };
        Tensors::new(self.0.iter().map(entry).collect())
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.0[name].1
    }

    fn kernel(&self, name: &str) -> Array4<f64> {
        let (shape, values) = &self.0[name];
        Array4::from_shape_vec([shape[0], shape[1], shape[2], shape[3]], values.clone()).unwrap()
    }

    /// The last flow's answer to what conditions it.
    fn network(&self, net: &str, z: &Array3<f64>) -> Array3<f64> {
        let mut h = z.clone();
        for conv in [0, 2, 4] {
            let weight = self.kernel(&format!("{net}.{conv}.weight"));
            h = convolve(&weight, self.get(&format!("{net}.{conv}.bias")), &h);
            if conv < 4 {
                h.mapv_inplace(|value| value.max(0.0));
            }
        }
        h
    }

    /// ln p of an x in [0, 1), channels first, flow by flow as normflows has them with `channel_inv`: the
    /// second half of the channels conditions the first.
    fn log_prob(&self, x: &Array3<f64>, coupling: Coupling) -> f64 {
        let (mut x, mut log_prob) = (x.clone(), 0.0);
        for group in (0..LEVELS).rev() {
            let (c, h, w) = x.dim();
            x = Array3::from_shape_fn((4 * c, h / 2, w / 2), |(k, i, j)| {
                x[[k / 4, 2 * i + k % 4 / 2, 2 * j + k % 2]]
            });
            let (channels, positions) = (4 * c, (h * w / 4) as f64);
            for step in (0..STEPS).rev() {
                let flow = format!("flows.{group}.{step}.flows");
                let (s, t) = (self.get(&format!("{flow}.2.s")), self.get(&format!("{flow}.2.t")));
                for (k, mut map) in x.outer_iter_mut().enumerate() {
                    map.mapv_inplace(|value| (value - t[k]) * (-s[k]).exp());
                }
                let log_s = self.get(&format!("{flow}.1.log_S"));
                log_prob += positions * (log_s.iter().sum::<f64>() - s.iter().sum::<f64>());
                let w = self.mixing(&format!("{flow}.1"), channels);
                let flat = x.to_shape((channels, (positions) as usize)).unwrap();
                let dim = x.dim();
                x = w.dot(&flat).into_shape_with_order(dim).unwrap();
                let (first, second) = x.view().split_at(Axis(0), channels / 2);
                let answer = self.network(&format!("{flow}.0.flows.1.param_map.net"), &second.to_owned());
                let changed = match coupling {
                    Coupling::Additive => &first - &answer,
                    Coupling::Affine => {
                        let scale =
                            answer.slice(s![1..;2, .., ..]).mapv(|raw| 1.0 / (1.0 + (-raw - 2.0).exp()));
                        log_prob += scale.mapv(f64::ln).sum();
                        (&first - &answer.slice(s![..;2, .., ..])) * scale
                    }
                };
                x = concatenate(Axis(0), &[changed.view(), second]).unwrap();
            }
            let (goes_on, left) = match group {
                0 => (None, x.clone()),
                _ => {
                    let (first, second) = x.view().split_at(Axis(0), channels / 2);
                    (Some(first.to_owned()), second.to_owned())
                }
            };
            let part = |name: &str| self.get(&format!("q0.{group}.{name}"));
            for (k, map) in left.outer_iter().enumerate() {
                let mean = part("loc")[k] * (3.0 * part("loc_logs")[k]).exp();
                let log_scale = part("log_scale")[k] * (3.0 * part("log_scale_logs")[k]).exp();
                for z in map {
                    let eps = (z - mean) * (-log_scale).exp();
                    log_prob -= 0.5 * (eps * eps + (2.0 * std::f64::consts::PI).ln()) + log_scale;
                }
            }
            x = goes_on.unwrap_or(left);
        }
        log_prob
    }

    fn mixing(&self, name: &str, n: usize) -> Array2<f64> {
        let matrix = |part: &str| {
            Array2::from_shape_vec((n, n), self.get(&format!("{name}.{part}")).to_vec()).unwrap()
        };
        let (l, u) = (matrix("L"), matrix("U"));
        let diagonal: Array1<f64> = self
            .get(&format!("{name}.log_S"))
            .iter()
            .zip(self.get(&format!("{name}.sign_S")))
            .map(|(log, sign)| sign * log.exp())
            .collect();
        let l = Array2::from_shape_fn(
            (n, n),
            |(i, j)| if j < i { l[[i, j]] } else { f64::from(u8::from(i == j)) },
        );
        let u = Array2::from_shape_fn((n, n), |(i, j)| match i.cmp(&j) {
            std::cmp::Ordering::Less => u[[i, j]],
            std::cmp::Ordering::Equal => diagonal[i],
            std::cmp::Ordering::Greater => 0.0,
        });
        matrix("P").dot(&l).dot(&u)
    }
}

/// By the definition, zero padding to the same size.
fn convolve(weight: &Array4<f64>, bias: &[f64], x: &Array3<f64>) -> Array3<f64> {
    let (outputs, inputs, size, _) = weight.dim();
    let (_, h, w) = x.dim();
    let pad = size / 2;
    Array3::from_shape_fn((outputs, h, w), |(o, i, j)| {
        let mut sum = bias[o];
        for (k, a, b) in (0..inputs).flat_map(|k| (0..size * size).map(move |t| (k, t / size, t % size))) {
            let (y, z) = (i + a, j + b);
            if y >= pad && y < h + pad && z >= pad && z < w + pad {
                sum += weight[[o, k, a, b]] * x[[k, y - pad, z - pad]];
            }
        }
        sum
    })
}

fn reference(mapped: &Mapped) -> Reference {
    let config = Config { model: mapped.params.architecture().clone(), ..Default::default() };
    let meta = CheckpointMeta { config, actnorm_initialised: true, ..Default::default() };
    let mut bytes = Vec::new();
    Checkpoint::write(&mut bytes, &meta, &[Group::Params], |_, parameter, out| {
        out.write_all(&mapped.params.bytes(parameter))
    })
    .unwrap();
    let checkpoint = Checkpoint::from_bytes(bytes, "imported".as_ref()).unwrap();
    Reference::new(&checkpoint, Weights::Raw).unwrap()
}

#[test]
fn swapped_halves_take_one_more_step_a_level() {
    for coupling in [Coupling::Additive, Coupling::Affine] {
        let file = File::random(coupling);
        let settings = Settings {
            height: Some(4),
            width: Some(4),
            split_mode: Some("channel_inv".into()),
            ..Default::default()
        };
        let mapped = map(&file.tensors(), &settings).unwrap();
        let architecture = mapped.params.architecture().clone();
        assert_eq!((architecture.depth, architecture.coupling), (STEPS + 1, coupling));
        let reference = reference(&mapped);
        for seed in 0..3 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let x = Array3::from_shape_simple_fn((1, 4, 4), || random.random_range(-0.5..0.5));
            let expected = file.log_prob(&x.mapv(|x| x + 0.5), coupling) - 16.0 * 256f64.ln();
            let found = reference.encode(x.view(), None).log_prob;
            assert!(((found - expected) / expected).abs() < 1e-7, "{found} and {expected}");
        }
    }
}

#[test]
fn what_no_coupling_here_computes_is_refused() {
    let file = File::random(Coupling::Affine);
    let size = Settings { height: Some(4), width: Some(4), ..Default::default() };
    for settings in [
        Settings { scale_map: Some("exp".into()), ..size.clone() },
        Settings { split_mode: Some("checkerboard".into()), ..size.clone() },
        Settings { leaky: Some(0.1), ..size.clone() },
    ] {
        assert!(matches!(map(&file.tensors(), &settings), Err(ImportError::Refused { .. })));
    }
    let mut more = File::random(Coupling::Affine);
    more.0.insert("q0.0.temperature".into(), (vec![1], vec![1.0]));
    let unknown = map(&more.tensors(), &size);
    assert!(
        matches!(unknown, Err(ImportError::UnknownTensor { tensor, .. }) if tensor == "q0.0.temperature")
    );
    more.0.remove("q0.0.temperature");
    more.0.remove("flows.0.1.flows.1.U");
    assert!(
        matches!(map(&more.tensors(), &size), Err(ImportError::Tensor { tensor, .. }) if tensor.ends_with("1.U"))
    );
}
