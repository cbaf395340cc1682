//! The three convolutions of a coupling network.
use super::{Layout, border, scale};
use crate::ExportError;
use crate::frozen::Frozen;
use crate::parameters::Parameters;
use glow_models::{Coupling, LevelShape, RAW_SCALE_OFFSET};
use ndarray::{Array1, Array4, Axis, concatenate, s};

/// Folds the network called `name` (such as `level0.step00.coupling`).
pub(super) fn fold(
    parameters: &Parameters,
    name: &str,
    layout: Layout,
    shape: LevelShape,
    frozen: &mut Frozen,
) -> Result<(), ExportError> {
    let (weight, bias) = with_actnorm(parameters, &format!("{name}.conv1"));
    let (weight, bias) = first_layer(weight, bias, layout);
    frozen.push(format!("{name}.conv1.weight"), &weight)?;
    frozen.push(format!("{name}.conv1.bias"), &bias)?;
    let (weight, bias) = with_actnorm(parameters, &format!("{name}.conv2"));
    frozen.push(format!("{name}.conv2.weight"), &weight)?;
    frozen.push(format!("{name}.conv2.bias"), &bias)?;
    let (mut weight, mut bias) = zeros_conv(parameters, &format!("{name}.conv3"));
    if parameters.architecture().coupling == Coupling::Affine {
        // Even channels are shift, odd ones raw scale, of which sigmoid(raw + 2) is taken.
        (weight, bias) = (deinterleave(&weight), deinterleave(&bias));
        bias.slice_mut(s![layout.half()..]).mapv_inplace(|raw| raw + RAW_SCALE_OFFSET);
    }
    (weight, bias) = (-weight, -bias);
    if !parameters.architecture().edge_bias {
        frozen.push(format!("{name}.conv3.bias"), &bias)?;
    } else {
        // Its output is small, so the border's part is added as a map; a channel of ones in its input
        // would have to go through the two wide layers in front.
        let inputs = weight.dim().1 - 1;
        let edge = weight.slice(s![.., inputs.., .., ..]);
        let map = border::response(edge, shape.height, shape.width)
            + bias.to_shape((1, bias.len(), 1, 1)).expect("one number a channel");
        frozen.push(format!("{name}.conv3.border"), &map)?;
        weight = weight.slice(s![.., ..inputs, .., ..]).to_owned();
    }
    frozen.push(format!("{name}.conv3.weight"), &weight)
}

/// A convolution and the actnorm behind it: weight·s and s·b.
fn with_actnorm(parameters: &Parameters, conv: &str) -> (Array4<f64>, Array1<f64>) {
    let scale = scale(parameters.vector(&format!("{conv}.actnorm.logs")).view());
    let bias = parameters.vector(&format!("{conv}.actnorm.bias")) * &scale;
    (scaled(parameters.kernel(&format!("{conv}.weight")), &scale), bias)
}

/// A "zeros" convolution, whose output, bias included, is multiplied by s.
pub(super) fn zeros_conv(parameters: &Parameters, conv: &str) -> (Array4<f64>, Array1<f64>) {
    let scale = scale(parameters.vector(&format!("{conv}.logs")).view());
    let bias = parameters.vector(&format!("{conv}.bias")) * &scale;
    (scaled(parameters.kernel(&format!("{conv}.weight")), &scale), bias)
}

fn scaled(mut weight: Array4<f64>, scale: &Array1<f64>) -> Array4<f64> {
    for (mut filter, &scale) in weight.outer_iter_mut().zip(scale) {
        filter *= scale;
    }
    weight
}

/// Turns the border channel, if there is one, the last, of a convolution over z1 into the first channel of
/// ones; the others get zeros.
pub(super) fn first_layer(
    mut weight: Array4<f64>,
    mut bias: Array1<f64>,
    layout: Layout,
) -> (Array4<f64>, Array1<f64>) {
    let (outputs, inputs, height, width) = weight.dim();
    if inputs > layout.half() {
        let (ones, extra) = border::as_ones(weight.slice(s![.., layout.half().., .., ..]));
        weight.slice_mut(s![.., layout.half(), .., ..]).assign(&ones);
        bias += &extra;
    }
    let others = Array4::zeros((outputs, layout.first() - inputs, height, width));
    (concatenate(Axis(1), &[weight.view(), others.view()]).expect("equal but for the channels"), bias)
}

/// Even outputs first, then the odd ones.
pub(super) fn deinterleave<D: ndarray::RemoveAxis>(array: &ndarray::Array<f64, D>) -> ndarray::Array<f64, D> {
    let every_second = |first: isize| array.slice_axis(Axis(0), ndarray::Slice::new(first, None, 2));
    concatenate(Axis(0), &[every_second(0), every_second(1)]).expect("halves of one array")
}
