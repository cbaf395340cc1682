//! The priors: of a split, a convolution; of the top, constants.
use super::coupling::{deinterleave, first_layer, zeros_conv};
use super::{Layout, border, scale};
use crate::ExportError;
use crate::frozen::Frozen;
use crate::parameters::Parameters;
use ndarray::{Array1, Array4, Axis, s};

/// Folds the prior of a split: even outputs are mean, odd ones log scale.
pub(super) fn fold_split(
    parameters: &Parameters,
    name: &str,
    layout: Layout,
    frozen: &mut Frozen,
) -> Result<(), ExportError> {
    let (weight, bias) = zeros_conv(parameters, name);
    let (weight, bias) = first_layer(deinterleave(&weight), deinterleave(&bias), layout);
    frozen.push(format!("{name}.weight"), &weight)?;
    frozen.push(format!("{name}.bias"), &bias)
}

/// Folds the top prior, if it is anything but a standard normal. Gives the sum of its log scales over
/// all positions, one number or one for each class.
pub(super) fn fold_top(parameters: &Parameters, frozen: &mut Frozen) -> Result<Array1<f64>, ExportError> {
    let architecture = parameters.architecture();
    let top = *architecture.level_shapes().last().expect("at least one level");
    let positions = (top.height * top.width) as f64;
    let mut learned = architecture.learn_top.then(|| learned(parameters, top.height, top.width));
    let mut log_scales = Array1::zeros(1);
    if let Some(map) = &learned {
        let (_, logs) = halves(map);
        let maps = positions / (logs.dim().2 * logs.dim().3) as f64;
        log_scales.fill(maps * logs.sum());
    }
    if architecture.classes > 0 {
        let mut table = label_table(parameters);
        let (_, logs) = halves(&table);
        log_scales = log_scales + positions * logs.sum_axis(Axis(3)).sum_axis(Axis(2)).sum_axis(Axis(1));
        // Without a border the learned prior is the same everywhere, and the table takes it in.
        if let Some(map) = learned.take_if(|map| map.dim().2 * map.dim().3 == 1) {
            table += &map;
        }
        push(frozen, "top.label", &table)?;
    }
    if let Some(map) = learned {
        push(frozen, "top", &map)?;
    }
    Ok(log_scales)
}

/// [1, 2C, h, w], or [1, 2C, 1, 1] without edge bias: the zeros convolution of a zero map.
fn learned(parameters: &Parameters, height: usize, width: usize) -> Array4<f64> {
    let scale = channels_of(scale(parameters.vector("top.logs").view()));
    let bias = channels_of(parameters.vector("top.bias"));
    if parameters.architecture().edge_bias {
        (border::response(parameters.kernel("top.edge").view(), height, width) + bias) * scale
    } else {
        bias * scale
    }
}

/// [classes, 2C, 1, 1]: the linear map of each one-hot label.
fn label_table(parameters: &Parameters) -> Array4<f64> {
    let scale = scale(parameters.vector("top.label.logs").view());
    let table =
        (parameters.matrix("top.label.weight").reversed_axes() + parameters.vector("top.label.bias")) * scale;
    table.insert_axis(Axis(2)).insert_axis(Axis(3))
}

fn channels_of(vector: Array1<f64>) -> Array4<f64> {
    vector.insert_axis(Axis(0)).insert_axis(Axis(2)).insert_axis(Axis(3))
}

/// Mean and log scale: the two halves of the channels.
fn halves(map: &Array4<f64>) -> (ndarray::ArrayView4<'_, f64>, ndarray::ArrayView4<'_, f64>) {
    let half = map.dim().1 / 2;
    (map.slice(s![.., ..half, .., ..]), map.slice(s![.., half.., .., ..]))
}

fn push(frozen: &mut Frozen, name: &str, map: &Array4<f64>) -> Result<(), ExportError> {
    let (mean, logs) = halves(map);
    frozen.push(format!("{name}.mean"), &mean.to_owned())?;
    frozen.push(format!("{name}.scale"), &logs.exp())
}
