//! The frozen coupling networks in the very arithmetic of their number format, computed here.
//!
//! A runtime on a CPU may compute half precision in 32 bits, and its result then says nothing about a GPU.
//! This is what the format itself gives:
//!
//! | format | inputs and outputs of each convolution | products are added up in |
//! | --- | --- | --- |
//! | fp16 | rounded to half precision, bias included; beyond 65,504 infinite | f32, as tensor cores do |
//! | int8 | 8-bit steps, as QuantizeLinear and DequantizeLinear define them | integers, held in f64 |
use super::convolution::convolve;
use super::steps::{Grid, Steps};
use super::{coupling_of, networks};
use crate::frozen::{Frozen, Tensor};
use glow_models::{Architecture, Coupling, Precision};
use half::f16;
use ndarray::{Array1, Array3, Array4, ArrayView3, Axis, Ix4, Zip, concatenate, s};
use safetensors::Dtype;
use std::collections::HashMap;

/// The coupling networks of a frozen model of lower precision.
#[derive(Debug)]
pub(crate) struct Emulation {
    coupling: Coupling,
    networks: HashMap<String, Network>,
}

/// What one convolution made of exact inputs, beside the same convolution in fp32.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LayerError {
    /// Σ (rounded − exact)².
    pub error: f64,
    /// Σ (exact − bias)²: what the weights make of the input.
    pub products: f64,
    /// Σ exact².
    pub outputs: f64,
    /// How many outputs.
    pub values: f64,
    /// The largest absolute output, infinite beyond the range of half precision.
    pub largest: f32,
}

#[derive(Debug)]
struct Network {
    name: String,
    layers: [Layer; 3],
    /// The same convolutions in fp32.
    exact: [Layer; 3],
    /// In fp32.
    exact_border: Option<Array4<f32>>,
    /// What each channel of the answer is multiplied with: 1 unless the answer is in steps.
    answer_scale: Option<Array1<f32>>,
    /// What is added to the answer, [1, outputs, 1 or h, 1 or w].
    border: Option<Array4<f32>>,
}

#[derive(Debug)]
enum Layer {
    Float {
        weight: Array4<f32>,
        bias: Array1<f32>,
    },
    Half {
        weight: Array4<f32>,
        bias: Array1<f32>,
    },
    /// The bias is in steps of `scale`, the product of the input's scale and the weights'.
    Integer {
        input: Steps,
        weight: Array4<f64>,
        bias: Array1<f64>,
        scale: Array1<f32>,
    },
}

impl Emulation {
    /// Takes the networks of a frozen model; `None` in fp32, where there is nothing to round.
    pub fn of(
        frozen: &Frozen,
        fp32: &Frozen,
        architecture: &Architecture,
        precision: Precision,
    ) -> Option<Self> {
        if precision == Precision::Fp32 {
            return None;
        }
        let (tensors, exact) = (by_network(frozen), by_network(fp32));
        let network = |name: String| {
            let [tensors, exact] = [&tensors, &exact].map(|all| &all[name.as_str()]);
            let layers = |tensors| [1, 2, 3].map(|n| Layer::of(tensors, &format!("conv{n}")));
            let border = |tensors: &HashMap<_, _>| tensors.get("conv3.border").map(|&map| kernel(map));
            let network = Network {
                name: name.clone(),
                layers: layers(tensors),
                exact: layers(exact),
                exact_border: border(exact),
                answer_scale: tensors.get("conv3.output_scale").map(|&scale| vector(scale)),
                border: border(tensors),
            };
            (name, network)
        };
        Some(Self {
            coupling: architecture.coupling,
            networks: networks(architecture).map(network).collect(),
        })
    }

    /// A step's coupling network of z1, in the form of [`Reference::network`](crate::Reference::network).
    pub fn network(&self, step: &str, z1: ArrayView3<'_, f64>) -> Array3<f64> {
        let answer = self.networks[&format!("{step}.coupling")].answer(z1).mapv(f64::from);
        match self.coupling {
            // The frozen network answers with the negated shift.
            Coupling::Additive => -answer,
            // ... and, behind it, r = −(raw + 2).
            Coupling::Affine => {
                let half = answer.dim().0 / 2;
                let mut h = Array3::zeros(answer.dim());
                h.slice_mut(s![..;2, .., ..]).assign(&answer.slice(s![..half, .., ..]).mapv(|shift| -shift));
                h.slice_mut(s![1..;2, .., ..]).assign(&answer.slice(s![half.., .., ..]).mapv(|r| -r - 2.0));
                h
            }
        }
    }

    /// What each convolution of a step's network makes of z1 and of exact activations, by its name.
    pub fn layer_errors(&self, step: &str, z1: ArrayView3<'_, f64>) -> [(String, LayerError); 3] {
        self.networks[&format!("{step}.coupling")].layer_errors(z1)
    }
}

/// The tensors of each coupling network, by what follows its name.
fn by_network(frozen: &Frozen) -> HashMap<&str, HashMap<&str, &Tensor>> {
    let mut tensors: HashMap<&str, HashMap<&str, &Tensor>> = HashMap::new();
    for tensor in frozen.iter() {
        if let Some(network) = coupling_of(&tensor.name) {
            tensors.entry(network).or_default().insert(&tensor.name[network.len() + 1..], tensor);
        }
    }
    tensors
}

impl Network {
    /// z1 and the channels of ones, [inputs, h, w].
    fn input(&self, z1: ArrayView3<'_, f64>) -> Array3<f32> {
        let (channels, height, width) = z1.dim();
        let ones = Array3::ones((self.layers[0].inputs() - channels, height, width));
        let z1 = z1.mapv(|value| value as f32);
        concatenate(Axis(0), &[z1.view(), ones.view()]).expect("maps of one size")
    }

    fn layer_errors(&self, z1: ArrayView3<'_, f64>) -> [(String, LayerError); 3] {
        let mut h = self.input(z1);
        [0, 1, 2].map(|n| {
            let apply =
                |layer: &Layer| layer.apply(h.clone().insert_axis(Axis(1))).index_axis_move(Axis(1), 0);
            let (mut exact, mut rounded) = (apply(&self.exact[n]), apply(&self.layers[n]));
            let products = exact.outer_iter().zip(self.exact[n].bias()).map(|(channel, &bias)| {
                channel.iter().map(|&value| f64::from(value - bias).powi(2)).sum::<f64>()
            });
            let products = products.sum();
            let largest = rounded.iter().map(|value| value.abs()).fold(0.0, f32::max);
            let finite = rounded.iter().all(|value| value.is_finite());
            if n == 2 {
                rounded = self.finish(rounded);
                exact = add_border(exact, &self.exact_border);
            }
            let error = exact.iter().zip(&rounded).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let layer = LayerError {
                error,
                products,
                outputs: exact.iter().map(|&value| f64::from(value).powi(2)).sum(),
                values: exact.len() as f64,
                largest: if finite { largest } else { f32::INFINITY },
            };
            h = exact.mapv_into(|value| value.max(0.0));
            (format!("{}.conv{}", self.name, n + 1), layer)
        })
    }

    /// [outputs, h, w] of z1 [inputs, h, w].
    fn answer(&self, z1: ArrayView3<'_, f64>) -> Array3<f32> {
        let mut h = self.input(z1);
        for (n, layer) in self.layers.iter().enumerate() {
            if n > 0 {
                h.mapv_inplace(|value| value.max(0.0));
            }
            h = layer.apply(h.insert_axis(Axis(1))).index_axis_move(Axis(1), 0);
        }
        self.finish(h)
    }

    /// The answer in real numbers, with what is added outside of the convolutions.
    fn finish(&self, mut answer: Array3<f32>) -> Array3<f32> {
        if let Some(scale) = &self.answer_scale {
            let scale = scale.to_shape((scale.len(), 1, 1)).expect("one number a channel");
            answer = answer.mapv_into(|value| value.round_ties_even().clamp(0.0, 255.0)) * scale;
        }
        add_border(answer, &self.border)
    }
}

fn add_border(answer: Array3<f32>, border: &Option<Array4<f32>>) -> Array3<f32> {
    match border {
        Some(border) => answer + border.index_axis(Axis(0), 0),
        None => answer,
    }
}

impl Layer {
    fn of(tensors: &HashMap<&str, &Tensor>, conv: &str) -> Self {
        let tensor = |part: &str| tensors.get(format!("{conv}.{part}").as_str()).copied();
        let weight = tensor("weight").expect("every convolution has weights");
        let outputs = weight.shape[0];
        match weight.dtype {
            Dtype::I8 => {
                let steps = weight.bytes.iter().map(|&step| f64::from(step as i8)).collect();
                let shape = (outputs, weight.shape[1], weight.shape[2], weight.shape[3]);
                let input_scale = tensor("input_scale").expect("an integer convolution has steps");
                let zero_point = tensor("input_zero_point").expect("an integer convolution has steps");
                let grid = match zero_point.dtype {
                    Dtype::U8 => Grid::Unsigned { zero_point: zero_point.bytes[0] },
                    _ => Grid::Signed,
                };
                let input = Steps { scale: floats(input_scale)[0], grid };
                let scale =
                    vector(tensor("weight_scale").expect("integer weights have scales")) * input.scale;
                let bias = tensor("bias").expect("an integer convolution has a bias");
                let bias = match bias.dtype {
                    Dtype::I32 => {
                        let steps = bias.bytes.as_chunks().0.iter();
                        steps.map(|&bytes| f64::from(i32::from_le_bytes(bytes))).collect()
                    }
                    _ => {
                        Zip::from(&vector(bias)).and(&scale).map_collect(|&b, &s| f64::from(b) / f64::from(s))
                    }
                };
                Self::Integer {
                    input,
                    weight: Array4::from_shape_vec(shape, steps).expect("as many weights"),
                    bias,
                    scale,
                }
            }
            dtype => {
                let bias = tensor("bias").map_or_else(|| Array1::zeros(outputs), vector);
                let weight = kernel(weight);
                if dtype == Dtype::F16 { Self::Half { weight, bias } } else { Self::Float { weight, bias } }
            }
        }
    }

    /// The bias in real numbers, of a convolution in float.
    fn bias(&self) -> &Array1<f32> {
        match self {
            Self::Float { bias, .. } | Self::Half { bias, .. } => bias,
            Self::Integer { .. } => unreachable!("asked of the exact convolutions alone"),
        }
    }

    fn inputs(&self) -> usize {
        match self {
            Self::Float { weight, .. } | Self::Half { weight, .. } => weight.dim().1,
            Self::Integer { weight, .. } => weight.dim().1,
        }
    }

    /// The convolution of maps [inputs, 1, h, w], with its input rounded and, in half precision, its output;
    /// integers give real numbers, or steps of the answer.
    fn apply(&self, x: Array4<f32>) -> Array4<f32> {
        match self {
            Self::Float { weight, bias } => convolve(weight, &x) + along_channels(bias),
            Self::Half { weight, bias } => {
                (convolve(weight, &x.mapv_into(half)) + along_channels(bias)).mapv_into(half)
            }
            Self::Integer { input, weight, bias, scale } => {
                let steps = x.mapv(|value| f64::from(input.step(value)));
                let mut sums = convolve(weight, &steps);
                for ((mut sums, &bias), &scale) in sums.outer_iter_mut().zip(bias).zip(scale) {
                    sums.mapv_inplace(|sum| (sum + bias) * f64::from(scale));
                }
                sums.mapv(|value| value as f32)
            }
        }
    }
}

fn along_channels(bias: &Array1<f32>) -> Array4<f32> {
    bias.clone().into_shape_with_order((bias.len(), 1, 1, 1)).expect("one number a channel")
}

/// Rounded to half precision; infinite beyond 65,504.
fn half(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}

/// Elements of a tensor of fp32 or fp16.
fn floats(tensor: &Tensor) -> Vec<f32> {
    match tensor.dtype {
        Dtype::F16 => {
            tensor.bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()
        }
        _ => tensor.array().into_iter().collect(),
    }
}

fn vector(tensor: &Tensor) -> Array1<f32> {
    floats(tensor).into()
}

fn kernel(tensor: &Tensor) -> Array4<f32> {
    let array =
        ndarray::ArrayD::from_shape_vec(tensor.shape.clone(), floats(tensor)).expect("as many numbers");
    array.into_dimensionality::<Ix4>().expect("four axes")
}
