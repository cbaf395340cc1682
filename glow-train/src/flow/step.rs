//! One step of flow: actnorm, permutation, coupling (paper, figure 2a).
//!
//! Actnorm and permutation reach it as one affine map of the channels, see [`linear`](super::linear).
use super::Parameters;
use super::coupling::CouplingLayer;
use super::gradients::Gradients;
use super::linear::{LinearMap, LinearMapGradient};
use super::network::{Activations, CouplingNetwork};
use super::rows::ConstantColumns;
use super::squeeze::halves;
use glow_models::{Architecture, NetworkPrecision};
use tch::Tensor;

/// One step of flow, but for its affine map of the channels.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) coupling: CouplingLayer,
}

/// What the backward pass of a step needs.
#[derive(Debug)]
pub(super) struct StepCache {
    /// The step's input.
    pub(super) x: Tensor,
    /// The step's output.
    y: Tensor,
    /// Output of the coupling network and its activations.
    output: Tensor,
    activations: Activations,
}

impl Step {
    /// The step `name`, whose network computes in a precision.
    pub(super) fn new(
        parameters: &Parameters,
        architecture: &Architecture,
        precision: NetworkPrecision,
        constants: ConstantColumns,
        name: String,
    ) -> Self {
        let network = CouplingNetwork::new(parameters, &format!("{name}.coupling"), precision, constants);
        Self { name, coupling: CouplingLayer::new(architecture.coupling, network) }
    }

    /// x [N, C, H, W] → y of the same shape, and the coupling's log-determinant [N] where it is not 0.
    pub(super) fn forward(&self, x: &Tensor, map: &LinearMap) -> (Tensor, Option<Tensor>, StepCache) {
        let (z1, z2) = halves(&map.apply(x));
        let (output, activations) = self.coupling.network.forward(&z1);
        let (y2, log_det) = self.coupling.couple(&z2, &output);
        let y = Tensor::cat(&[z1, y2], 1);
        let cache = StepCache { x: x.shallow_clone(), y: y.shallow_clone(), output, activations };
        (y, log_det, cache)
    }

    /// The inverse of [`Step::forward`], given the inverse of its map.
    pub(super) fn inverse(&self, y: &Tensor, inverse: &LinearMap) -> Tensor {
        inverse.apply(&self.coupling.inverse(y))
    }

    /// What [`Step::forward`] leaves for the backward pass, from the step's output: the input is recomputed
    /// by the inverse, and one evaluation of the coupling network serves that and the gradient.
    pub(super) fn recompute(&self, y: &Tensor, inverse: &LinearMap) -> StepCache {
        let (z1, y2) = halves(y);
        let (output, activations) = self.coupling.network.forward(&z1);
        let z2 = self.coupling.uncouple(&y2, &output);
        let x = inverse.apply(&Tensor::cat(&[z1, z2], 1));
        StepCache { x, y: y.shallow_clone(), output, activations }
    }

    /// Back through the step: `g` is the loss's gradient by y, `g_log_det` by each image's log-determinant.
    /// Returns the gradients by x and by the step's map, and stores those by the coupling's parameters.
    pub(super) fn backward(
        &self,
        cache: StepCache,
        map: &LinearMap,
        g: &Tensor,
        g_log_det: f64,
        gradients: &mut Gradients,
    ) -> (Tensor, LinearMapGradient) {
        let StepCache { x, y, output, activations } = cache;
        let (_, y2) = halves(&y);
        let (g1, g2) = halves(g);
        let (by_z2, by_output) = self.coupling.couple_backward(&y2, &output, &g2, g_log_det);
        let by_z1 = self.coupling.network.backward(activations, &by_output, gradients) + g1;
        map.backward(&x, &Tensor::cat(&[by_z1, by_z2], 1))
    }
}
