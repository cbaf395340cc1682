//! Actnorm and permutation of a step as one affine map of the channels.
//!
//! The matrices of all steps of a level are computed together: they are small, and one batched operation
//! is much faster than as many single ones. They are differentiated by libtorch from the gradient by the
//! maps.
use super::Parameters;
use super::actnorm::Actnorm;
use super::gradients::{Gradients, Slots, differentiate};
use super::permutation::{Permutations, stack};
use super::rows::{from_rows, pixels, to_rows};
use glow_models::{Architecture, LOGSCALE_FACTOR};
use std::ops::Range;
use tch::{Kind, Tensor};

/// The actnorms and permutations of a level's K steps.
#[derive(Debug)]
pub(super) struct LevelLinear {
    pub(super) actnorms: Vec<Actnorm>,
    permutations: Permutations,
    /// Of the actnorms' parameters.
    slots: Slots,
}

/// The affine maps of K steps, y = matrix·x + shift at every pixel, in double; they carry autograd history
/// if gradients are enabled.
#[derive(Debug)]
pub(super) struct LinearMaps {
    /// [K, C, C]: W·diag(s), where s is the actnorm's scale.
    matrix: Tensor,
    /// [K, C]: matrix·b.
    shift: Tensor,
    /// [K, C]: the actnorm's b.
    bias: Tensor,
    /// [K]: the log-determinant of one pixel.
    pub(super) log_det: Tensor,
}

/// One step's map, or its inverse, in the flow's element type.
#[derive(Debug)]
pub(super) struct LinearMap {
    /// [C, C]: the matrix, transposed.
    transposed: Tensor,
    /// [C].
    shift: Tensor,
}

/// The gradient by one step's map.
#[derive(Debug)]
pub(super) struct LinearMapGradient {
    /// [C, C]: by the matrix.
    matrix: Tensor,
    /// [C]: by the shift.
    shift: Tensor,
}

impl LevelLinear {
    /// That of the named steps.
    pub(super) fn new(parameters: &Parameters, architecture: &Architecture, steps: &[String]) -> Self {
        let actnorms: Vec<Actnorm> =
            steps.iter().map(|step| Actnorm::new(parameters, &format!("{step}.actnorm"))).collect();
        let names =
            steps.iter().flat_map(|step| ["bias", "logs"].map(|part| format!("{step}.actnorm.{part}")));
        let permutations = Permutations::new(parameters, architecture.permutation, steps, &actnorms[0].bias);
        Self { permutations, slots: Slots::new(parameters, names), actnorms }
    }

    /// The maps of all steps.
    pub(super) fn maps(&self) -> LinearMaps {
        self.maps_of(0..self.actnorms.len())
    }

    /// The maps of some of the steps: W·((x + b)·s) = (W·diag(s))·x + (W·diag(s))·b.
    pub(super) fn maps_of(&self, steps: Range<usize>) -> LinearMaps {
        let (matrix, log_det) = self.permutations.matrices(steps.clone());
        let of_steps = |part: fn(&Actnorm) -> &Tensor| -> Vec<Tensor> {
            self.actnorms[steps.clone()].iter().map(|actnorm| part(actnorm).shallow_clone()).collect()
        };
        let bias = stack(&of_steps(|actnorm| &actnorm.bias)); // [K, C]
        let log_scale = stack(&of_steps(|actnorm| &actnorm.logs)) * LOGSCALE_FACTOR; // [K, C]
        let matrix = matrix * log_scale.exp().unsqueeze(1); // [K, C, C]
        let shift = matrix.matmul(&bias.unsqueeze(-1)).squeeze_dim(-1); // [K, C]
        let log_det = log_det + log_scale.sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        LinearMaps { matrix, shift, bias, log_det }
    }

    /// Stores the gradient by the parameters, given the gradient by each step's map and by the
    /// log-determinant of one pixel, which is the same for all.
    pub(super) fn backward(
        &self,
        maps: &LinearMaps,
        by_maps: &[LinearMapGradient],
        by_log_det: f64,
        gradients: &mut Gradients,
    ) {
        let stacked = |part: fn(&LinearMapGradient) -> &Tensor| {
            Tensor::stack(&by_maps.iter().map(part).collect::<Vec<_>>(), 0).to_kind(Kind::Double)
        };
        let loss = (&maps.matrix * stacked(|by| &by.matrix)).sum(Kind::Double)
            + (&maps.shift * stacked(|by| &by.shift)).sum(Kind::Double)
            + maps.log_det.sum(Kind::Double) * by_log_det;
        let [] = differentiate(&loss, [], &[&self.slots, &self.permutations.slots], gradients);
    }
}

impl LinearMaps {
    /// Each step's map, in an element type.
    pub(super) fn forward(&self, kind: Kind) -> Vec<LinearMap> {
        unstack(&self.matrix.transpose(1, 2), &self.shift, kind)
    }

    /// The inverses: x = matrix⁻¹·y − b.
    pub(super) fn inverse(&self, kind: Kind) -> Vec<LinearMap> {
        // Unchecked, since a check would wait for the device: a singular matrix shows in the log-determinant.
        let (inverse, _) = Tensor::linalg_inv_ex(&self.matrix, false);
        unstack(&inverse.transpose(1, 2), &-&self.bias, kind)
    }
}

/// [K, C, C] and [K, C] as K maps.
fn unstack(transposed: &Tensor, shift: &Tensor, kind: Kind) -> Vec<LinearMap> {
    let of_steps = |t: &Tensor| t.to_kind(kind).unbind(0).into_iter();
    let pairs = of_steps(transposed).zip(of_steps(shift));
    pairs.map(|(transposed, shift)| LinearMap { transposed, shift }).collect()
}

impl LinearMap {
    /// matrix·x + shift at every pixel of x [N, C, H, W].
    pub(super) fn apply(&self, x: &Tensor) -> Tensor {
        from_rows(&self.shift.addmm(&to_rows(x), &self.transposed), pixels(x))
    }

    /// From the gradient by the map's output to the gradients by its input x [N, C, H, W] and by the map.
    pub(super) fn backward(&self, x: &Tensor, g: &Tensor) -> (Tensor, LinearMapGradient) {
        let g = to_rows(g); // [M, C]
        let by_x = from_rows(&g.mm(&self.transposed.transpose(0, 1)), pixels(x));
        let matrix = g.transpose(0, 1).mm(&to_rows(x));
        let shift = g.sum_dim_intlist([0i64].as_slice(), false, g.kind());
        (by_x, LinearMapGradient { matrix, shift })
    }
}
