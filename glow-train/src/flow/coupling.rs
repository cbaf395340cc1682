//! The coupling layer and its network (paper, section 3.3).
use super::network::Network;
use glow_models::Coupling as Kind;
use tch::Tensor;

/// Added to the raw scale: the layer starts near the identity, sigmoid(2) ≈ 0.88 (published code).
const RAW_SCALE_OFFSET: f64 = 2.0;

/// (z1, z2) → (z1, z2 + shift) or (z1, (z2 + shift) · sigmoid(raw + 2)), where shift and raw come from
/// a network on z1; its even output channels are shift, the odd ones raw.
#[derive(Debug)]
pub(super) struct Coupling {
    kind: Kind,
    pub(super) network: Network,
}

impl Coupling {
    pub(super) fn new(kind: Kind, network: Network) -> Self {
        Self { kind, network }
    }

    /// z2 [N, C/2, H, W] as the network's output changes it, and the log-determinant [N] where it is not 0.
    pub(super) fn couple(&self, z2: &Tensor, output: &Tensor) -> (Tensor, Option<Tensor>) {
        match self.kind {
            Kind::Additive => (z2 + output, None),
            Kind::Affine => {
                let (shift, raw) = shift_and_raw(output);
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
                let (shift, raw) = shift_and_raw(output);
                z2 / raw.sigmoid() - shift
            }
        }
    }

    /// The gradients of a loss by z2 and by the network's output, from that by [`Coupling::couple`]'s result
    /// `y2` (`g`) and by each image's log-determinant.
    pub(super) fn couple_backward(
        &self,
        y2: &Tensor,
        output: &Tensor,
        g: &Tensor,
        g_log_det: f64,
    ) -> (Tensor, Tensor) {
        match self.kind {
            Kind::Additive => (g.shallow_clone(), g.shallow_clone()),
            Kind::Affine => {
                let scale = shift_and_raw(output).1.sigmoid();
                let by_shift = g * &scale;
                // d scale / d raw = scale·(1 − scale), d log scale / d raw = 1 − scale.
                let by_raw = (1.0 - scale) * (g * y2 + g_log_det);
                let by_output = Tensor::stack(&[&by_shift, &by_raw], 2).flatten(1, 2);
                (by_shift, by_output)
            }
        }
    }

    /// [N, C, H, W] → the same shape, and the log-determinant [N] where it is not 0.
    pub(super) fn forward(&self, z: &Tensor, initialise: bool) -> (Tensor, Option<Tensor>) {
        let (z1, z2) = halves(z);
        let (z2, log_det) = self.couple(&z2, &self.network.forward(&z1, initialise).0);
        (Tensor::cat(&[z1, z2], 1), log_det)
    }

    /// The inverse of [`Coupling::forward`].
    pub(super) fn inverse(&self, z: &Tensor) -> Tensor {
        let (z1, z2) = halves(z);
        let z2 = self.uncouple(&z2, &self.network.forward(&z1, false).0);
        Tensor::cat(&[z1, z2], 1)
    }
}

/// Shift, and raw scale with its offset.
fn shift_and_raw(output: &Tensor) -> (Tensor, Tensor) {
    (output.slice(1, 0, None, 2), output.slice(1, 1, None, 2) + RAW_SCALE_OFFSET)
}

/// The first and the second half of the channels.
pub(super) fn halves(z: &Tensor) -> (Tensor, Tensor) {
    let half = z.size()[1] / 2;
    (z.narrow(1, 0, half), z.narrow(1, half, half))
}
