//! The Gaussian priors: of the half that a split hands out, and of the top (paper, section 3.6).
use super::Parameters;
use super::actnorm::scale;
use super::gradients::Slots;
use super::squeeze::halves;
use super::zeros_conv::{ZerosConv, zeros_conv_of_zeros};
use glow_models::Architecture;
use tch::{Kind, Tensor};
use thiserror::Error;

/// A class-conditional model was given no labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the model is conditional on {classes} classes and needs a label for each image")]
pub struct MissingLabels {
    /// The model's classes.
    pub classes: usize,
}

/// N(mean, exp(logs)), element by element.
#[derive(Debug)]
pub(super) struct Gaussian {
    mean: Tensor,
    logs: Tensor,
}

impl Gaussian {
    /// eps = (z − mean) · exp(−logs).
    fn eps(&self, z: &Tensor) -> Tensor {
        (z - &self.mean) * (-&self.logs).exp()
    }

    /// z = mean + eps · exp(logs), the inverse of [`Gaussian::eps`].
    pub(super) fn z(&self, eps: &Tensor) -> Tensor {
        &self.mean + eps * self.logs.exp()
    }

    /// eps of z, and log N(z; mean, exp(logs)) [N].
    pub(super) fn score(&self, z: &Tensor) -> (Tensor, Tensor) {
        let eps = self.eps(z);
        let log_prob = self.log_prob(&eps);
        (eps, log_prob)
    }

    /// [N]: log N(z; mean, exp(logs)) = −½·ln 2π − logs − ½·eps², summed over each image.
    fn log_prob(&self, eps: &Tensor) -> Tensor {
        let each = (eps.square() * -0.5) - &self.logs - 0.5 * (2.0 * std::f64::consts::PI).ln();
        each.sum_dim_intlist([1i64, 2, 3].as_slice(), false, eps.kind())
    }
}

/// The prior of the half of the channels that a split hands out, given the other half.
#[derive(Debug)]
pub(super) struct SplitPrior {
    pub(super) conv: ZerosConv,
}

impl SplitPrior {
    pub(super) fn new(parameters: &Parameters, level: usize) -> Self {
        Self { conv: ZerosConv::new(parameters, &format!("level{level}.split")) }
    }

    /// The prior of z2 given z1, [N, C/2, H, W] each.
    pub(super) fn given(&self, z1: &Tensor) -> Gaussian {
        let (mean, logs) = halves(&self.conv.forward_pairs(z1));
        Gaussian { mean, logs }
    }
}

/// The prior of the last level: standard normal unless learned or conditioned on a class.
#[derive(Debug)]
pub(super) struct TopPrior {
    /// bias, logs [2C] and, with edge bias, edge [2C, 1, 3, 3].
    learned: Option<(Tensor, Tensor, Option<Tensor>)>,
    /// weight [2C, classes], bias, logs [2C].
    label: Option<(Tensor, Tensor, Tensor)>,
    pub(super) slots: Slots,
}

impl TopPrior {
    pub(super) fn new(parameters: &Parameters, architecture: &Architecture) -> Self {
        let mut names = Vec::new();
        let mut get = |name: &str| {
            names.push(format!("top.{name}"));
            parameters.get(&format!("top.{name}"))
        };
        let learned = architecture
            .learn_top
            .then(|| (get("bias"), get("logs"), architecture.edge_bias.then(|| get("edge"))));
        let label =
            (architecture.classes > 0).then(|| (get("label.weight"), get("label.bias"), get("label.logs")));
        Self { learned, label, slots: Slots::new(parameters, names) }
    }

    /// The prior of a top z of the shape of `like` [N, C, H, W]; `labels` [N] int64 where the model has
    /// classes.
    ///
    /// # Errors
    /// The model has classes, and there are no labels.
    pub(super) fn gaussian(&self, like: &Tensor, labels: Option<&Tensor>) -> Result<Gaussian, MissingLabels> {
        let (_, channels, h, w) = like.size4().expect("the flow has four axes");
        let learned = match &self.learned {
            Some((bias, logs, edge)) => zeros_conv_of_zeros(bias, logs, edge.as_ref(), h, w),
            None => Tensor::zeros([1, 2 * channels, h, w], (like.kind(), like.device())),
        }; // [1, 2C, H, W]
        let moments = match &self.label {
            Some((weight, bias, logs)) => {
                let labels = labels.ok_or_else(|| MissingLabels { classes: weight.size()[1] as usize })?;
                let of_class = (weight.transpose(0, 1).index_select(0, labels) + bias) * scale(logs); // [N, 2C]
                learned + of_class.reshape([-1, 2 * channels, 1, 1]) // [N, 2C, H, W]
            }
            None => learned,
        };
        let (mean, logs) = halves(&moments);
        Ok(Gaussian { mean, logs })
    }
}

/// The classifier of a class-conditional model: linear, on the spatial mean of the top z.
#[derive(Debug)]
pub(super) struct Classifier {
    weight: Tensor,
    bias: Tensor,
    logs: Tensor,
    pub(super) slots: Slots,
}

impl Classifier {
    pub(super) fn new(parameters: &Parameters) -> Self {
        let names = ["weight", "bias", "logs"].map(|part| format!("classifier.{part}"));
        let [weight, bias, logs] = names.each_ref().map(|name| parameters.get(name));
        Self { weight, bias, logs, slots: Slots::new(parameters, names) }
    }

    /// [N, classes] from the top z [N, C, H, W].
    pub(super) fn logits(&self, z: &Tensor) -> Tensor {
        let mean = z.mean_dim([2i64, 3].as_slice(), false, z.kind()); // [N, C]
        (mean.matmul(&self.weight.transpose(0, 1)) + &self.bias) * scale(&self.logs)
    }

    /// [N]: −log₂ p(label).
    pub(super) fn cross_entropy_bits(&self, z: &Tensor, labels: &Tensor) -> Tensor {
        let log_p = self.logits(z).log_softmax(1, None::<Kind>);
        -log_p.gather(1, &labels.unsqueeze(1), false).squeeze_dim(1) / std::f64::consts::LN_2
    }
}
