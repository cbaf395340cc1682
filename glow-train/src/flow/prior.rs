//! The Gaussian priors: of what a split hands out, and of the top (paper, section 3.6).
use super::Parameters;
use super::actnorm::LOGSCALE_FACTOR;
use super::conv::{ZerosConv, zeros_conv_of_nothing};
use super::coupling::halves;
use super::gradient::Leaves;
use glow_models::Architecture;
use tch::{Kind, Tensor};

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

/// The prior of the half of the channels that a split hands out, given the half that goes on.
#[derive(Debug)]
pub(super) struct SplitPrior {
    conv: ZerosConv,
    pub(super) leaves: Leaves,
}

impl SplitPrior {
    pub(super) fn new(parameters: &Parameters, level: usize) -> Self {
        let name = format!("level{level}.split");
        Self {
            conv: ZerosConv::new(parameters, &name),
            leaves: Leaves::of(parameters, &[&format!("{name}.")]),
        }
    }

    /// Of z2, given z1 [N, C/2, H, W].
    pub(super) fn given(&self, z1: &Tensor) -> Gaussian {
        let (mean, logs) = halves(&self.conv.forward_pairs(z1));
        Gaussian { mean, logs }
    }
}

/// The prior of the last level: standard normal unless learned or conditioned on a class.
#[derive(Debug)]
pub(super) struct TopPrior {
    /// bias, logs and, with edge bias, edge.
    learned: Option<(Tensor, Tensor, Option<Tensor>)>,
    /// weight [2C, classes], bias, logs.
    label: Option<(Tensor, Tensor, Tensor)>,
}

impl TopPrior {
    pub(super) fn new(parameters: &Parameters, architecture: &Architecture) -> Self {
        let get = |name: &str| parameters.get(&format!("top.{name}"));
        Self {
            learned: architecture
                .learn_top
                .then(|| (get("bias"), get("logs"), architecture.edge_bias.then(|| get("edge")))),
            label: (architecture.classes > 0)
                .then(|| (get("label.weight"), get("label.bias"), get("label.logs"))),
        }
    }

    /// Of a top z of the shape of `like` [N, C, H, W]; `labels` [N] int64 where the model has classes.
    pub(super) fn of(&self, like: &Tensor, labels: Option<&Tensor>) -> Gaussian {
        let (_, channels, h, w) = like.size4().expect("the flow has four axes");
        let learned = match &self.learned {
            Some((bias, logs, edge)) => zeros_conv_of_nothing(bias, logs, edge.as_ref(), h, w),
            None => Tensor::zeros([1, 2 * channels, h, w], (like.kind(), like.device())),
        };
        // One row for each image, where the learned map is one for all.
        let map = match &self.label {
            Some((weight, bias, logs)) => {
                let labels = labels.expect("the model has classes, so its caller gives labels");
                let rows =
                    (weight.transpose(0, 1).index_select(0, labels) + bias) * (logs * LOGSCALE_FACTOR).exp();
                learned + rows.reshape([-1, 2 * channels, 1, 1])
            }
            None => learned,
        };
        Gaussian { mean: map.narrow(1, 0, channels), logs: map.narrow(1, channels, channels) }
    }
}

/// The classifier of a class-conditional model: linear, on the spatial mean of the top z.
#[derive(Debug)]
pub(super) struct Classifier {
    weight: Tensor,
    bias: Tensor,
    logs: Tensor,
}

impl Classifier {
    pub(super) fn new(parameters: &Parameters) -> Self {
        let get = |name: &str| parameters.get(&format!("classifier.{name}"));
        Self { weight: get("weight"), bias: get("bias"), logs: get("logs") }
    }

    /// [N, classes] from the top z [N, C, H, W].
    pub(super) fn logits(&self, z: &Tensor) -> Tensor {
        let mean = z.mean_dim([2i64, 3].as_slice(), false, z.kind());
        (mean.matmul(&self.weight.transpose(0, 1)) + &self.bias) * (&self.logs * LOGSCALE_FACTOR).exp()
    }

    /// [N]: −log₂ p(label).
    pub(super) fn cross_entropy_bits(&self, z: &Tensor, labels: &Tensor) -> Tensor {
        let log_p = self.logits(z).log_softmax(1, None::<Kind>);
        -log_p.gather(1, &labels.unsqueeze(1), false).squeeze_dim(1) / std::f64::consts::LN_2
    }
}
