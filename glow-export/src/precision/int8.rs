//! One coupling network in 8-bit integers.
//!
//! A value v stands for scale·(v − zero_point). Each convolution's input has one scale, its weights one
//! for each output channel. In the layout for CPUs ([`Int8Layout::Cpu`]):
//!
//! | frozen tensor of `levelL.stepKK.coupling` | type, shape | is |
//! | --- | --- | --- |
//! | `convN.input_scale`, `convN.input_zero_point` | f32 \[\], u8 \[\] | steps of what the convolution takes |
//! | `convN.weight`, `convN.weight_scale`, `convN.weight_zero_point` | i8 as in fp32, f32 \[outputs\], i8 \[outputs\] | weights; the zero points are 0 |
//! | `convN.bias`, `convN.bias_scale` | i32 \[outputs\], f32 \[outputs\] | bias, in steps of the product of both scales |
//! | `conv3.output_scale` | f32 \[outputs\] | steps of the network's answer, each channel its own |
//! | `conv3.border` | f32 \[1, outputs, 1 or h, 1 or w\] | what is added to it |
//!
//! TensorRT takes neither zero points nor integer biases. In its layout ([`Int8Layout::TensorRt`])
//! `input_zero_point` is an i8 that is 0, `bias` is f32 without a scale, and the answer stays in float: `conv3.border`
//! is that of fp32, if there is one. (NVIDIA, TensorRT developer guide, "Working with Quantized Types".)
//!
//! The answer's channels differ too much in range to share a scale (on CIFAR-10 that costs 0.15
//! bits/dim, scales of their own 0.005). But the output of an integer convolution has one scale for all
//! channels; it is 1, and 1/`output_scale` is in the weights' scales.
use super::convolution::convolve;
use super::steps::{Grid, Steps, round_weights};
use crate::ExportError;
use crate::frozen::{Frozen, Tensor};
use glow_models::Int8Layout;
use ndarray::{Array1, Array3, Array4, Axis, Ix4, s};
use safetensors::Dtype;

/// Positions of a network's maps that are looked at, in squares from as many maps as possible.
const POSITIONS: usize = 2048;
/// Positions from which the range of the answer is taken, which hangs on rare ones.
const ANSWER_POSITIONS: usize = 8 * POSITIONS;
/// Side of a square.
const SIDE: usize = 16;
/// How far beyond the answers seen the answer's steps reach at each end, to their range.
const MARGIN: f32 = 0.05;

/// Quantises the network called `name`, given maps of its input z1.
///
/// Each layer is fitted to what the quantised layers before it give: what rounding adds to an output on
/// average is taken out of its bias.
///
/// # Errors
/// [`ExportError::Overflow`] if a bias does not fit 32 bits.
pub(super) fn quantise(
    frozen: &Frozen,
    name: &str,
    maps: &[Array3<f32>],
    layout: Int8Layout,
) -> Result<Vec<Tensor>, ExportError> {
    let [mut conv1, conv2, conv3] = [1, 2, 3].map(|n| Layer::of(frozen, &format!("{name}.conv{n}")));
    let half = maps[0].dim().0;
    let ones = conv1.weight.dim().1 - half;
    let answer = (layout == Int8Layout::Cpu).then(|| Answer::of(maps, ones, [&conv1, &conv2, &conv3]));
    let mut exact = squares(maps, ones, POSITIONS, 0);
    let z1 = maps.iter().flatten().copied().chain((ones > 0).then_some(1.0));
    let steps = Steps::best(layout, z1);
    let mut rounded = exact.mapv(|value| steps.round(value));
    exact = conv1.apply(&exact);
    if ones > 0 {
        // A one need not be a multiple of a step; what it lacks goes into its weights.
        let one = steps.round(1.0);
        conv1.weight.slice_mut(s![.., half, .., ..]).mapv_inplace(|weight| weight / one);
    }
    let mut tensors = Vec::new();
    rounded = conv1.quantise(steps, None, &rounded, &exact, &mut tensors)?;
    for (layer, last) in [(conv2, false), (conv3, true)] {
        exact.mapv_inplace(|value| value.max(0.0));
        let steps = Steps::best(layout, exact.iter().copied());
        rounded.mapv_inplace(|value| steps.round(value.max(0.0)));
        exact = layer.apply(&exact);
        let answer = answer.as_ref().filter(|_| last);
        rounded = layer.quantise(steps, answer, &rounded, &exact, &mut tensors)?;
    }
    match answer {
        Some(answer) => answer.tensors(frozen, &format!("{name}.conv3"), &mut tensors),
        None => tensors.extend(frozen.get(&format!("{name}.conv3.border")).cloned()),
    }
    Ok(tensors)
}

/// The 8-bit steps of what a network answers: channel by channel, from `lowest` in steps of `scale`.
struct Answer {
    lowest: Array1<f32>,
    scale: Array1<f32>,
}

impl Answer {
    /// The range that the network in float gives, and a margin.
    fn of(maps: &[Array3<f32>], ones: usize, layers: [&Layer; 3]) -> Self {
        let outputs = layers[2].bias.len();
        let (mut lowest, mut highest) = (vec![f32::INFINITY; outputs], vec![f32::NEG_INFINITY; outputs]);
        for part in 0..ANSWER_POSITIONS / POSITIONS {
            let h = layers[0].apply(&squares(maps, ones, POSITIONS, part));
            let h = layers[1].apply(&h.mapv_into(|value| value.max(0.0)));
            let h = layers[2].apply(&h.mapv_into(|value| value.max(0.0)));
            for (output, values) in h.outer_iter().enumerate() {
                lowest[output] = values.iter().copied().fold(lowest[output], f32::min);
                highest[output] = values.iter().copied().fold(highest[output], f32::max);
            }
        }
        let range = |i: usize| (highest[i] - lowest[i]).max(1e-6);
        Self {
            lowest: (0..outputs).map(|i| lowest[i] - MARGIN * range(i)).collect(),
            scale: (0..outputs).map(|i| (1.0 + 2.0 * MARGIN) * range(i) / 255.0).collect(),
        }
    }

    /// The scale, and the map or constant that is added behind it.
    fn tensors(&self, frozen: &Frozen, name: &str, tensors: &mut Vec<Tensor>) {
        let outputs = self.scale.len();
        tensors.push(Tensor::floats(format!("{name}.output_scale"), &[outputs], self.scale.to_vec()));
        let lowest = self.lowest.to_shape((1, outputs, 1, 1)).expect("one number a channel");
        let border = match frozen.get(&format!("{name}.border")) {
            Some(map) => map.array().into_dimensionality::<Ix4>().expect("a map") + lowest,
            None => lowest.to_owned(),
        };
        let shape = border.shape().to_vec();
        tensors.push(Tensor::floats(format!("{name}.border"), &shape, border));
    }
}

/// A convolution in float.
struct Layer {
    name: String,
    /// [outputs, inputs, 3, 3] or [outputs, inputs, 1, 1].
    weight: Array4<f32>,
    bias: Array1<f32>,
}

impl Layer {
    fn of(frozen: &Frozen, name: &str) -> Self {
        let tensor = |part: &str| frozen.get(&format!("{name}.{part}")).map(Tensor::array);
        let weight = tensor("weight").expect("every convolution has weights");
        let weight: Array4<f32> = weight.into_dimensionality().expect("a convolution's");
        let bias = match tensor("bias") {
            Some(bias) => bias.into_dimensionality().expect("one number a channel"),
            None => Array1::zeros(weight.dim().0),
        };
        Self { name: name.into(), weight, bias }
    }

    /// The convolution of maps [inputs, N, h, w].
    fn apply(&self, x: &Array4<f32>) -> Array4<f32> {
        let bias = self.bias.to_shape((self.bias.len(), 1, 1, 1)).expect("one number a channel");
        convolve(&self.weight, x) + bias
    }

    /// Takes in the integer tensors of this layer and gives what it makes of the rounded input, before
    /// a ReLU or the rounding to an answer.
    fn quantise(
        &self,
        input: Steps,
        answer: Option<&Answer>,
        rounded: &Array4<f32>,
        exact: &Array4<f32>,
        tensors: &mut Vec<Tensor>,
    ) -> Result<Array4<f32>, ExportError> {
        let outputs = self.bias.len();
        let float_bias = input.grid == Grid::Signed;
        let (mut scales, mut steps) = (Vec::new(), Vec::new());
        // What stands for 0 in an answer is a part of the bias.
        let stored = |output: usize| self.bias[output] - answer.map_or(0.0, |answer| answer.lowest[output]);
        for (output, filter) in self.weight.outer_iter().enumerate() {
            let filter: Vec<f32> = filter.iter().copied().collect();
            // An integer bias, in steps of both scales, has to fit 32 bits: 2^30 leaves room for its correction.
            let bias = self.bias[output].abs().max(stored(output).abs());
            let least = if float_bias { 0.0 } else { bias / input.scale / (1 << 30) as f32 };
            let (scale, filter) = round_weights(&filter, least);
            scales.push(scale);
            steps.extend(filter);
        }
        let mut weight = Array4::from_shape_vec(self.weight.dim(), steps.clone())
            .expect("as many weights")
            .mapv(f32::from);
        for (mut filter, &scale) in weight.outer_iter_mut().zip(&scales) {
            filter *= scale;
        }
        let layer = Self { name: self.name.clone(), weight, bias: self.bias.clone() };
        let mut y = layer.apply(rounded);
        let mut biases = Vec::new();
        for (output, (mut y, exact)) in y.outer_iter_mut().zip(exact.outer_iter()).enumerate() {
            let excess = (y.sum() - exact.sum()) / exact.len().max(1) as f32;
            y -= excess;
            let bias = stored(output) - excess;
            let steps = (f64::from(bias) / f64::from(input.scale) / f64::from(scales[output])).round();
            if steps.is_nan() || !float_bias && steps.abs() > f64::from(i32::MAX) {
                return Err(ExportError::Overflow { tensor: format!("{}.bias", self.name), format: "int8" });
            }
            match float_bias {
                true => biases.extend(bias.to_le_bytes()),
                false => biases.extend((steps as i32).to_le_bytes()),
            }
        }
        if let Some(answer) = answer {
            scales.iter_mut().zip(&answer.scale).for_each(|(scale, answer)| *scale /= answer);
        }
        let mut push = |part: &str, dtype, shape: &[usize], bytes: Vec<u8>| {
            let name = format!("{}.{part}", self.name);
            tensors.push(Tensor { name, dtype, shape: shape.into(), bytes: bytes.into() });
        };
        let floats = |values: &[f32]| values.iter().copied().flat_map(f32::to_le_bytes).collect();
        push("input_scale", Dtype::F32, &[], floats(&[input.scale]));
        match input.grid {
            Grid::Unsigned { zero_point } => push("input_zero_point", Dtype::U8, &[], vec![zero_point]),
            Grid::Signed => push("input_zero_point", Dtype::I8, &[], vec![0]),
        }
        push(
            "weight",
            Dtype::I8,
            self.weight.shape(),
            steps.iter().flat_map(|step| step.to_le_bytes()).collect(),
        );
        push("weight_scale", Dtype::F32, &[outputs], floats(&scales));
        push("weight_zero_point", Dtype::I8, &[outputs], vec![0; outputs]);
        if float_bias {
            push("bias", Dtype::F32, &[outputs], biases);
            return Ok(y);
        }
        push("bias", Dtype::I32, &[outputs], biases);
        let bias_scales: Vec<f32> = scales.iter().map(|scale| scale * input.scale).collect();
        push("bias_scale", Dtype::F32, &[outputs], floats(&bias_scales));
        Ok(y)
    }
}

/// Squares [channels, N, side, side] of about so many positions, from places all over the maps; each
/// `part` is of other places as far as there are any. Behind them the channels of ones.
fn squares(maps: &[Array3<f32>], ones: usize, positions: usize, part: usize) -> Array4<f32> {
    let (channels, height, width) = maps[0].dim();
    let (rows, columns) = (height.min(SIDE), width.min(SIDE));
    let count = (positions / (rows * columns)).max(1);
    let mut squares = Array4::ones((channels + ones, count, rows, columns));
    for (i, mut square) in squares.axis_iter_mut(Axis(1)).enumerate() {
        let i = part * count + i;
        // Steps of about the golden section, which come by everywhere.
        let (top, left) = (i * 41 % (height - rows + 1), i * 59 % (width - columns + 1));
        let map = maps[i % maps.len()].slice(s![.., top..top + rows, left..left + columns]);
        square.slice_mut(s![..channels, .., ..]).assign(&map);
    }
    squares
}
