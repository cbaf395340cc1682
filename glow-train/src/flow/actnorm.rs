//! Actnorm: a scale and a shift a channel (paper, section 3.1).
use super::Parameters;
use glow_models::LOGSCALE_FACTOR;
use tch::Tensor;

/// y = (x + bias) · exp(3·logs), a channel: bias [C] and logs [C].
#[derive(Debug)]
pub(super) struct Actnorm {
    pub(super) bias: Tensor,
    pub(super) logs: Tensor,
}

impl Actnorm {
    pub(super) fn new(parameters: &Parameters, name: &str) -> Self {
        Self { bias: parameters.get(&format!("{name}.bias")), logs: parameters.get(&format!("{name}.logs")) }
    }

    /// [C]: exp(3·logs).
    pub(super) fn scale(&self) -> Tensor {
        scale(&self.logs)
    }
}

/// exp(3·logs), the scale that a stored log scale stands for.
pub(super) fn scale(logs: &Tensor) -> Tensor {
    (logs * LOGSCALE_FACTOR).exp()
}
