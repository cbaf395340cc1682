//! The coupling layer and its network (paper, section 3.3).
use super::Parameters;
use super::conv::{ActnormConv, ZerosConv};
use glow_models::Coupling as Kind;
use tch::{Kind as Element, Tensor};

/// Added to the raw scale: the layer starts near the identity, sigmoid(2) ≈ 0.88 (published code).
const RAW_SCALE_OFFSET: f64 = 2.0;

/// (z1, z2) → (z1, z2 + shift) or (z1, (z2 + shift) · sigmoid(raw + 2)), where shift and raw come from
/// a network on z1: conv 3×3, actnorm, ReLU, conv 1×1, actnorm, ReLU, zeros conv 3×3.
#[derive(Debug)]
pub(super) struct Coupling {
    kind: Kind,
    /// The network's element type, where it is not the flow's.
    network: Option<Element>,
    conv1: ActnormConv,
    conv2: ActnormConv,
    conv3: ZerosConv,
}

impl Coupling {
    pub(super) fn new(parameters: &Parameters, kind: Kind, network: Option<Element>, name: &str) -> Self {
        Self {
            kind,
            network,
            conv1: ActnormConv::new(parameters, &format!("{name}.conv1")),
            conv2: ActnormConv::new(parameters, &format!("{name}.conv2")),
            conv3: ZerosConv::new(parameters, &format!("{name}.conv3")),
        }
    }

    /// z1 [N, C/2, H, W] → the shift [N, C/2, H, W], or shift and raw scale one behind the other
    /// [N, C, H, W], in the element type of the flow. With `initialise`, its actnorms are first set.
    pub(super) fn network(&self, z1: &Tensor, initialise: bool) -> Tensor {
        let x = match self.network {
            Some(element) if !initialise => z1.to_kind(element),
            _ => z1.shallow_clone(),
        };
        let hidden = self.conv1.forward(&x, initialise).relu_();
        let hidden = self.conv2.forward(&hidden, initialise).relu_();
        match self.kind {
            Kind::Additive => self.conv3.forward(&hidden),
            Kind::Affine => self.conv3.forward_pairs(&hidden),
        }
    }

    /// z2 [N, C/2, H, W] as the network's output changes it, and the log-determinant [N] where it is not 0.
    pub(super) fn couple(&self, z2: &Tensor, output: &Tensor) -> (Tensor, Option<Tensor>) {
        match self.kind {
            Kind::Additive => (z2 + output, None),
            Kind::Affine => {
                let (shift, raw) = halves(output);
                let raw = raw + RAW_SCALE_OFFSET;
                let log_det = raw.log_sigmoid().sum_dim_intlist([1i64, 2, 3].as_slice(), false, raw.kind());
                ((z2 + shift) * raw.sigmoid(), Some(log_det))
            }
        }
    }

    /// The inverse of [`Coupling::couple`].
    pub(super) fn uncouple(&self, z2: &Tensor, output: &Tensor) -> Tensor {
        match self.kind {
            Kind::Additive => z2 - output,
            Kind::Affine => {
                let (shift, raw) = halves(output);
                z2 / (raw + RAW_SCALE_OFFSET).sigmoid() - shift
            }
        }
    }

    /// [N, C, H, W] → the same shape, and the log-determinant [N] where it is not 0.
    pub(super) fn forward(&self, z: &Tensor, initialise: bool) -> (Tensor, Option<Tensor>) {
        let (z1, z2) = halves(z);
        let (z2, log_det) = self.couple(&z2, &self.network(&z1, initialise));
        (Tensor::cat(&[z1, z2], 1), log_det)
    }

    /// The inverse of [`Coupling::forward`].
    pub(super) fn inverse(&self, z: &Tensor) -> Tensor {
        let (z1, z2) = halves(z);
        let z2 = self.uncouple(&z2, &self.network(&z1, false));
        Tensor::cat(&[z1, z2], 1)
    }
}

/// The first and the second half of the channels.
pub(super) fn halves(z: &Tensor) -> (Tensor, Tensor) {
    let half = z.size()[1] / 2;
    (z.narrow(1, 0, half), z.narrow(1, half, half))
}
