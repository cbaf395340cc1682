//! The coupling layer and its network (paper, section 3.3).
use super::Parameters;
use super::conv::{ActnormConv, ZerosConv};
use glow_models::Coupling as Kind;
use tch::Tensor;

/// Added to the raw scale: the layer starts near the identity, sigmoid(2) ≈ 0.88 (published code).
const RAW_SCALE_OFFSET: f64 = 2.0;

/// (z1, z2) → (z1, z2 + shift) or (z1, (z2 + shift) · sigmoid(raw + 2)), where shift and raw come from
/// a network on z1: conv 3×3, actnorm, ReLU, conv 1×1, actnorm, ReLU, zeros conv 3×3.
#[derive(Debug)]
pub(super) struct Coupling {
    kind: Kind,
    conv1: ActnormConv,
    conv2: ActnormConv,
    conv3: ZerosConv,
}

impl Coupling {
    pub(super) fn new(parameters: &Parameters, kind: Kind, name: &str) -> Self {
        Self {
            kind,
            conv1: ActnormConv::new(parameters, &format!("{name}.conv1")),
            conv2: ActnormConv::new(parameters, &format!("{name}.conv2")),
            conv3: ZerosConv::new(parameters, &format!("{name}.conv3")),
        }
    }

    fn hidden(&self, z1: &Tensor, initialise: bool) -> Tensor {
        let hidden = self.conv1.forward(z1, initialise).relu_();
        self.conv2.forward(&hidden, initialise).relu_()
    }

    /// [N, C, H, W] → the same shape, and the log-determinant [N] where it is not 0.
    pub(super) fn forward(&self, z: &Tensor, initialise: bool) -> (Tensor, Option<Tensor>) {
        let (z1, z2) = halves(z);
        let hidden = self.hidden(&z1, initialise);
        match self.kind {
            Kind::Additive => (Tensor::cat(&[z1, z2 + self.conv3.forward(&hidden)], 1), None),
            Kind::Affine => {
                let (shift, raw) = self.conv3.forward_pair(&hidden);
                let raw = raw + RAW_SCALE_OFFSET;
                let log_det = raw.log_sigmoid().sum_dim_intlist([1i64, 2, 3].as_slice(), false, raw.kind());
                (Tensor::cat(&[z1, (z2 + shift) * raw.sigmoid()], 1), Some(log_det))
            }
        }
    }

    /// The inverse of [`Coupling::forward`].
    pub(super) fn inverse(&self, z: &Tensor) -> Tensor {
        let (z1, z2) = halves(z);
        let hidden = self.hidden(&z1, false);
        let z2 = match self.kind {
            Kind::Additive => z2 - self.conv3.forward(&hidden),
            Kind::Affine => {
                let (shift, raw) = self.conv3.forward_pair(&hidden);
                z2 / (raw + RAW_SCALE_OFFSET).sigmoid() - shift
            }
        };
        Tensor::cat(&[z1, z2], 1)
    }
}

/// The first and the second half of the channels.
pub(super) fn halves(z: &Tensor) -> (Tensor, Tensor) {
    let half = z.size()[1] / 2;
    (z.narrow(1, 0, half), z.narrow(1, half, half))
}
