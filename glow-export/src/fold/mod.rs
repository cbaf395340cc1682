//! Folding: everything of a checkpoint that is constant becomes weights of plain convolutions, in
//! float64, rounded to fp32 once at the end.
//!
//! Inside the graphs the channels of a level lie as z1, then (with edge bias) channels of ones, then z2; C'
//! counts all of them, H' those of z1 and the ones. The first channel of ones takes the place of the
//! border indicator: border = 1 − inside, and a zero-padded convolution sees exactly "inside" in a
//! channel of ones. It costs nothing, as the 1×1 convolution in front gives it as one more output. The
//! others, if any, only make up a number that kernels like, see [`Layout::ones`].
//!
//! A coupling network answers with the *negated* shift and the *negated* raw scale, contiguous halves:
//! scale = sigmoid(raw + 2) = 1 / (1 + exp(r)) with r = −(raw + 2), so that decoding is
//! z2 + z2·exp(r) − shift and the log of the scale −softplus(r); both hold for the smallest scales, where
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
use glow_models::{Architecture, LOGSCALE_FACTOR};
use ndarray::{Array1, ArrayView1};
use std::f64::consts::PI;

/// How the channels of one level lie inside the graphs: z1, ones, z2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Channels of the flow.
    pub channels: usize,
    /// Channels of ones: with edge bias 1, or as many as make those of z1 and the ones a multiple of
    /// [`CHANNEL_MULTIPLE`]; else 0.
    pub ones: usize,
}

/// ONNX Runtime's blocked convolutions on CPUs with AVX-512 take up to 15 input channels as they are, more
/// only in a multiple of 4.
const CHANNEL_MULTIPLE: usize = 4;
const MOST_DIRECT_CHANNELS: usize = 15;

impl Layout {
    pub fn new(architecture: &Architecture, channels: usize) -> Self {
        let half = channels / 2;
        let ones = match architecture.edge_bias {
            false => 0,
            true if half < MOST_DIRECT_CHANNELS => 1,
            true => (half + 1).next_multiple_of(CHANNEL_MULTIPLE) - half,
        };
        Self { channels, ones }
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

/// Folds all parameters into the tensors of the table above.
///
/// # Errors
/// A 1×1 convolution is singular, or a folded value does not fit fp32.
pub(crate) fn fold(parameters: &Parameters) -> Result<Frozen, ExportError> {
    let architecture = parameters.architecture();
    let mut frozen = Frozen::default();
    let dims = architecture.dims() as f64;
    let mut log_prob = -dims * (f64::from(architecture.bins()).ln() + 0.5 * (2.0 * PI).ln());
    let mut before = None;
    for (level, shape) in architecture.level_shapes().into_iter().enumerate() {
        let layout = Layout::new(architecture, shape.channels);
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
