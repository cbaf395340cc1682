//! Actnorm: a scale and a shift a channel, initialised from data (paper, section 3.1).
use super::Parameters;
use tch::{Kind, Tensor};

/// The stored log scale is multiplied by this, which raises its learning rate (published code).
pub(super) const LOGSCALE_FACTOR: f64 = 3.0;
/// Added to the standard deviation in the initialisation: a constant channel stays finite.
const STD_EPSILON: f64 = 1e-6;

/// y = (x + bias) · exp(3·logs), a channel.
#[derive(Debug)]
pub(super) struct Actnorm {
    bias: Tensor,
    logs: Tensor,
}

impl Actnorm {
    pub(super) fn new(parameters: &Parameters, name: &str) -> Self {
        Self { bias: parameters.get(&format!("{name}.bias")), logs: parameters.get(&format!("{name}.logs")) }
    }

    /// Sets bias and scale so that this layer's output for `x` [N, C, H, W] has mean 0 and standard
    /// deviation 1 a channel: bias = −mean, exp(3·logs) = 1/(std + 1e-6).
    pub(super) fn initialise(&self, x: &Tensor) {
        tch::no_grad(|| {
            // Sums over a large batch in double, whatever the type of the flow.
            let x = x.to_kind(Kind::Double);
            let axes: &[i64] = &[0, 2, 3];
            let mean = x.mean_dim(axes, true, Kind::Double);
            let std = (&x - &mean).square().mean_dim(axes, false, Kind::Double).sqrt();
            self.bias.shallow_clone().copy_(&(-mean.flatten(0, -1)));
            self.logs.shallow_clone().copy_(&(-(std + STD_EPSILON).log() / LOGSCALE_FACTOR));
        });
    }
}
