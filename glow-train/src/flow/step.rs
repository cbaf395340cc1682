//! One step of flow: actnorm, permutation, coupling (paper, figure 2a).
//!
//! Actnorm and permutation reach it as one map of the channels, see [`mixing`](super::mixing).
use super::Parameters;
use super::actnorm::Actnorm;
use super::coupling::{Coupling, halves};
use super::gradient::Gradients;
use super::mixing::{ByMap, Map};
use super::network::{Activations, Network};
use glow_models::Architecture;
use tch::{Kind, Tensor};

/// One step of flow, but for the map of its channels.
#[derive(Debug)]
pub(super) struct Step {
    name: String,
    actnorm: Actnorm,
    coupling: Coupling,
}

/// What going back through a step needs.
#[derive(Debug)]
pub(super) struct Kept {
    /// The step's input.
    pub(super) x: Tensor,
    y: Tensor,
    /// What the coupling network gave, and how.
    output: Tensor,
    activations: Activations,
}

impl Step {
    pub(super) fn new(
        parameters: &Parameters,
        architecture: &Architecture,
        network: Option<Kind>,
        size: [i64; 2],
        name: &str,
    ) -> Self {
        let network =
            Network::new(parameters, architecture.edge_bias, network, size, &format!("{name}.coupling"));
        Self {
            name: name.into(),
            actnorm: Actnorm::new(parameters, &format!("{name}.actnorm")),
            coupling: Coupling::new(architecture.coupling, network),
        }
    }

    /// Sets the actnorms of the step and of its coupling network from x, what reaches it; what the step then
    /// makes of x. `map` gives the step's map, once its actnorm is set.
    pub(super) fn initialise_actnorm(&self, x: &Tensor, map: impl FnOnce() -> Map) -> Tensor {
        self.actnorm.initialise(x);
        self.coupling.forward(&map().apply(x), true).0
    }

    /// x [N, C, H, W] → y of the same shape; the coupling's log-determinant is added to `log_det` [N].
    pub(super) fn forward(&self, x: &Tensor, map: &Map, log_det: &mut Tensor) -> Tensor {
        let (y, coupling) = self.coupling.forward(&map.apply(x), false);
        if let Some(coupling) = coupling {
            *log_det = &*log_det + coupling;
        }
        y
    }

    /// The inverse of [`Step::forward`], given the inverse of its map.
    pub(super) fn inverse(&self, y: &Tensor, inverse: &Map) -> Tensor {
        inverse.apply(&self.coupling.inverse(y))
    }

    /// The first part whose output for x is not finite, by its name; the step's output where there is none.
    pub(super) fn first_not_finite(&self, x: &Tensor, map: &Map, log_det: &Tensor) -> Result<Tensor, String> {
        let mixed = map.apply(x);
        if !is_finite(&mixed) || !is_finite(log_det) {
            return Err(format!("{}.permutation or its actnorm", self.name));
        }
        let (y, log_det) = self.coupling.forward(&mixed, false);
        if is_finite(&y) && log_det.is_none_or(|log_det| is_finite(&log_det)) {
            return Ok(y);
        }
        Err(format!("{}.coupling", self.name))
    }

    /// [`Step::forward`], and what going back will need. Without a graph.
    pub(super) fn forward_keeping(&self, x: &Tensor, map: &Map, log_det: &mut Tensor) -> (Tensor, Kept) {
        let (z1, z2) = halves(&map.apply(x));
        let (output, activations) = self.coupling.network.forward(&z1, false);
        let (y2, coupling) = self.coupling.couple(&z2, &output);
        if let Some(coupling) = coupling {
            *log_det += coupling;
        }
        let y = Tensor::cat(&[z1, y2], 1);
        (y.shallow_clone(), Kept { x: x.shallow_clone(), y, output, activations })
    }

    /// The same from the step's output: its input is recomputed by the inverse, and one evaluation of the
    /// coupling network serves that and the gradient.
    pub(super) fn invert_keeping(&self, y: &Tensor, inverse: &Map) -> Kept {
        let (z1, y2) = halves(y);
        let (output, activations) = self.coupling.network.forward(&z1, false);
        let z2 = self.coupling.uncouple(&y2, &output);
        let x = inverse.apply(&Tensor::cat(&[z1, z2], 1));
        Kept { x, y: y.shallow_clone(), output, activations }
    }

    /// Back through the step: `g` is the loss's gradient by y, `g_log_det` by each image's log-determinant.
    /// Returns that by x and by the step's map, and stores those by the coupling's parameters.
    pub(super) fn backward(
        &self,
        kept: Kept,
        map: &Map,
        g: &Tensor,
        g_log_det: f64,
        gradients: &mut Gradients,
    ) -> (Tensor, ByMap) {
        let Kept { x, y, output, activations } = kept;
        let (_, y2) = halves(&y);
        let (g1, g2) = halves(g);
        let (by_z2, by_output) = self.coupling.couple_backward(&y2, &output, &g2, g_log_det);
        let by_z1 = self.coupling.network.backward(activations, &by_output, gradients) + g1;
        map.backward(&x, &Tensor::cat(&[by_z1, by_z2], 1))
    }
}

pub(super) fn is_finite(t: &Tensor) -> bool {
    t.isfinite().all().int64_value(&[]) != 0
}
