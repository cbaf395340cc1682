//! The coupling layer and its network (paper, section 3.3).
use super::network::CouplingNetwork;
use super::squeeze::halves;
use glow_models::{Coupling, RAW_SCALE_OFFSET};
use tch::Tensor;

/// (z1, z2) → (z1, z2 + shift) or (z1, (z2 + shift) · sigmoid(raw + 2)), where shift and raw come from
/// a network on z1; its even output channels are shift, the odd ones raw.
#[derive(Debug)]
pub(super) struct CouplingLayer {
    coupling: Coupling,
    pub(super) network: CouplingNetwork,
}

impl CouplingLayer {
    pub(super) fn new(coupling: Coupling, network: CouplingNetwork) -> Self {
        Self { coupling, network }
    }

    /// z2 [N, C/2, H, W] transformed by the network's output, and the log-determinant [N] where it is not 0.
    pub(super) fn couple(&self, z2: &Tensor, output: &Tensor) -> (Tensor, Option<Tensor>) {
        match self.coupling {
            Coupling::Additive => (z2 + output, None),
            Coupling::Affine => {
                let (shift, raw) = shift_and_raw(output);
                let log_det = raw.log_sigmoid().sum_dim_intlist([1i64, 2, 3].as_slice(), false, raw.kind());
                ((z2 + shift) * raw.sigmoid(), Some(log_det))
            }
        }
    }

    /// The inverse of [`CouplingLayer::couple`].
    pub(super) fn uncouple(&self, z2: &Tensor, output: &Tensor) -> Tensor {
        match self.coupling {
            Coupling::Additive => z2 - output,
            Coupling::Affine => {
                let (shift, raw) = shift_and_raw(output);
                z2 / raw.sigmoid() - shift
            }
        }
    }

    /// The gradients of a loss by z2 and by the network's output, given its gradient `g` by `y2`, the result
    /// of [`CouplingLayer::couple`], and `g_log_det` by each image's log-determinant.
    pub(super) fn couple_backward(
        &self,
        y2: &Tensor,
        output: &Tensor,
        g: &Tensor,
        g_log_det: f64,
    ) -> (Tensor, Tensor) {
        match self.coupling {
            Coupling::Additive => (g.shallow_clone(), g.shallow_clone()),
            Coupling::Affine => {
                let scale = shift_and_raw(output).1.sigmoid();
                let by_shift = g * &scale;
                // d scale / d raw = scale·(1 − scale), d log scale / d raw = 1 − scale.
                let by_raw = (1.0 - scale) * (g * y2 + g_log_det);
                let by_output = Tensor::stack(&[&by_shift, &by_raw], 2).flatten(1, 2); // [N, C, H, W]
                (by_shift, by_output)
            }
        }
    }

    /// [N, C, H, W] → the same shape, and the log-determinant [N] where it is not 0.
    pub(super) fn forward(&self, z: &Tensor) -> (Tensor, Option<Tensor>) {
        let (z1, z2) = halves(z);
        let (y2, log_det) = self.couple(&z2, &self.network.forward(&z1).0);
        (Tensor::cat(&[z1, y2], 1), log_det)
    }

    /// The inverse of [`CouplingLayer::forward`].
    pub(super) fn inverse(&self, y: &Tensor) -> Tensor {
        let (z1, y2) = halves(y);
        let z2 = self.uncouple(&y2, &self.network.forward(&z1).0);
        Tensor::cat(&[z1, z2], 1)
    }
}

/// Shift and raw scale with its offset, [N, C/2, H, W] each, of the output [N, C, H, W].
fn shift_and_raw(output: &Tensor) -> (Tensor, Tensor) {
    (output.slice(1, 0, None, 2), output.slice(1, 1, None, 2) + RAW_SCALE_OFFSET)
}
