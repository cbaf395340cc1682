//! Folding: everything of a checkpoint that is constant becomes weights of plain convolutions, in
//! float64, rounded to fp32 once at the end.
//!
//! Inside the graphs the channels of a level lie as z1, then channels of ones, then z2; C' counts all of
//! them, H' those of z1 and the ones. With edge bias the first channel of ones takes the place of the
//! border indicator: border = 1 − inside, and a zero-padded convolution sees exactly "inside" in a
//! channel of ones. It costs nothing, as the 1×1 convolution in front gives it as one more output. The
//! others, if any, only make up a number that kernels like, see [`Layout::ones`].
//!
//! A coupling network answers with the *negated* shift and the *negated* raw scale, contiguous halves:
//! scale = sigmoid(raw + 2) = 1 / (1 + exp(r)) with r = −(raw + 2), so that decoding is
//! z2 + z2·exp(r) − shift and the log of the scale −ln(1 + exp(r)); both hold for the smallest scales, where
//! ONNX Runtime's Sigmoid is off by more than its value.
//!
//! | frozen tensor | shape | is |
//! | --- | --- | --- |
//! | `levelL.stepKK.encode.{weight,bias}` | \[C', C', 1, 1\], \[C'\] | actnorm, then permutation |
//! | … of step 00 | \[C', inputs, 2, 2\], \[C'\] | the squeeze in front too, as a stride; in level 0 also x = pixel/2^n_bits − 0.5 |
//! | `levelL.stepKK.decode.{weight,bias}` | \[C', C', 1, 1\], \[C'\] | the inverses of permutation and actnorm |
//! | … of step 00 | \[4·inputs, C', 1, 1\], \[4·inputs\] | the same in front of the un-squeeze |
//! | `levelL.stepKK.coupling.conv1.{weight,bias}` | \[w, H', 3, 3\], \[w\] | first convolution and its actnorm |
//! | `levelL.stepKK.coupling.conv2.{weight,bias}` | \[w, w, 1, 1\], \[w\] | second convolution and its actnorm |
//! | `levelL.stepKK.coupling.conv3.weight` | \[C/2 or C, w, 3, 3\] | −shift; affine: then r |
//! | `levelL.stepKK.coupling.conv3.bias` | \[C/2 or C\] | without edge bias |
//! | `levelL.stepKK.coupling.conv3.border` | \[1, C/2 or C, h, w\] | with edge bias: bias and response to the border, as a map |
//! | `levelL.ones.{weight,bias}` | \[H', C/2, 1, 1\], \[H'\] | of the last level: z1 as it is, and the ones behind it |
//! | `levelL.split.{weight,bias}` | \[C, H', 3, 3\], \[C\] | prior of a split: mean, then log scale |
//! | `top.{mean,scale}` | \[1, C, 1 or h, 1 or w\] | learned top prior |
//! | `top.label.{mean,scale}` | \[classes, C, 1, 1\] | per class: added to the mean, multiplied with the scale |
//! | `log_prob.constant` | \[1\] or \[classes\] | everything in log p(image) that no pixel changes, nats |
//!
//! "inputs" are the image's channels in level 0, else H' of the level before.
mod border;
mod coupling;
mod flow;
mod lu;
mod prior;

use crate::ExportError;
use crate::frozen::Frozen;
use crate::parameters::Parameters;
use glow_models::{Architecture, LOGSCALE_FACTOR, Precision};
use ndarray::{Array1, ArrayView1};
use std::f64::consts::PI;

/// How the channels of one level lie inside the graphs: z1, ones, z2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Channels of the flow.
    pub channels: usize,
    /// Channels of ones: with edge bias at least 1, and as many more as make those of z1 and the ones a
    /// number that [`input_channels`] gives.
    pub ones: usize,
}

/// ONNX Runtime's blocked convolutions on CPUs with AVX-512 take up to 15 input channels as they are, more
/// only in a multiple of 4.
const CHANNEL_MULTIPLE: usize = 4;
const MOST_DIRECT_CHANNELS: usize = 15;
/// The tensor cores of GPUs take half precision in multiples of 8 channels.
const HALF_MULTIPLE: usize = 8;

/// How many input channels the 3×3 convolutions over z1 get that need so many. The WebGPU provider of ONNX
/// Runtime (1.30) computes those wrongly whose input channels are a multiple of 3 and not of 4.
fn input_channels(needed: usize, precision: Precision) -> usize {
    match precision {
        Precision::Fp16 => needed.next_multiple_of(HALF_MULTIPLE),
        _ if needed > MOST_DIRECT_CHANNELS => needed.next_multiple_of(CHANNEL_MULTIPLE),
        _ if needed.is_multiple_of(3) && !needed.is_multiple_of(4) => needed + 1,
        _ => needed,
    }
}

impl Layout {
    /// That of a level of so many channels.
    fn new(architecture: &Architecture, precision: Precision, channels: usize) -> Self {
        let half = channels / 2;
        let needed = half + usize::from(architecture.edge_bias);
        Self { channels, ones: input_channels(needed, precision) - half }
    }

    /// That of a level whose first network was frozen to these input channels.
    pub fn of_frozen(channels: usize, inputs: usize) -> Self {
        Self { channels, ones: inputs - channels / 2 }
    }

    /// Channels of z1, and of z2.
    pub fn half(self) -> usize {
        self.channels / 2
    }

    /// Channels of z1 and the ones.
    pub fn first(self) -> usize {
        self.half() + self.ones
    }

    /// All channels.
    pub fn total(self) -> usize {
        self.channels + self.ones
    }

    /// Where a channel of the flow lies.
    fn position(self, channel: usize) -> usize {
        if channel < self.half() { channel } else { channel + self.ones }
    }
}

/// Folds all parameters into the tensors of the table above. `precision` is what the coupling networks are
/// meant for; all tensors are in fp32 yet.
///
/// # Errors
/// A 1×1 convolution is singular, or a folded value does not fit fp32.
pub(crate) fn fold(parameters: &Parameters, precision: Precision) -> Result<Frozen, ExportError> {
    let architecture = parameters.architecture();
    let mut frozen = Frozen::default();
    let dims = architecture.dims() as f64;
    let mut log_prob = -dims * (f64::from(architecture.bins()).ln() + 0.5 * (2.0 * PI).ln());
    let mut before = None;
    for (level, shape) in architecture.level_shapes().into_iter().enumerate() {
        let layout = Layout::new(architecture, precision, shape.channels);
        let positions = (shape.height * shape.width) as f64;
        for step in 0..architecture.depth {
            let name = Architecture::step_name(level, step);
            let affine = flow::Affine::fold(parameters, &name, shape.channels)?;
            log_prob += positions * affine.log_det;
            let (encode, decode) = match (step, before) {
                (0, None) => affine.at_image(layout, architecture),
                (0, Some(before)) => affine.at_squeeze(layout, before),
                _ => affine.within(layout),
            };
            for (direction, conv) in [("encode", encode), ("decode", decode)] {
                frozen.push(format!("{name}.{direction}.weight"), &conv.weight)?;
                frozen.push(format!("{name}.{direction}.bias"), &conv.bias)?;
            }
            coupling::fold(parameters, &format!("{name}.coupling"), layout, shape, &mut frozen)?;
        }
        if shape.splits {
            prior::fold_split(parameters, &format!("level{level}.split"), layout, &mut frozen)?;
        } else if layout.ones > 0 {
            let ones = flow::append_ones(layout);
            frozen.push(format!("level{level}.ones.weight"), &ones.weight)?;
            frozen.push(format!("level{level}.ones.bias"), &ones.bias)?;
        }
        before = Some(layout);
    }
    let log_scales = prior::fold_top(parameters, &mut frozen)?;
    frozen.push("log_prob.constant".into(), &log_scales.mapv(|sum| log_prob - sum))?;
    Ok(frozen)
}

/// exp(3·logs), the scale that `logs` stands for.
fn scale(logs: ArrayView1<'_, f64>) -> Array1<f64> {
    logs.mapv(|logs| (LOGSCALE_FACTOR * logs).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolutions_get_channels_that_kernels_like() {
        let of = |precision, edge_bias| {
            let architecture = Architecture { edge_bias, ..Default::default() };
            [4, 8, 16, 12, 24, 48, 96, 192]
                .map(|channels| Layout::new(&architecture, precision, channels).first())
        };
        assert_eq!(of(Precision::Fp32, true), [4, 5, 10, 7, 13, 28, 52, 100]);
        assert_eq!(of(Precision::Fp32, false), [2, 4, 8, 7, 12, 24, 48, 96]);
        assert_eq!(of(Precision::Int8, true), of(Precision::Fp32, true));
        assert_eq!(of(Precision::Fp16, true), [8, 8, 16, 8, 16, 32, 56, 104]);
        assert_eq!(of(Precision::Fp16, false), [8, 8, 8, 8, 16, 24, 48, 96]);
    }
}
