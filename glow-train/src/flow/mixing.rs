//! Actnorm and permutation, which together are one affine map of the channels a step (paper, sections 3.1
//! and 3.2).
//!
//! The matrices are small and there are tens of them a level, so that each tensor operation here takes all
//! steps of a level at once.
use super::Parameters;
use super::actnorm::LOGSCALE_FACTOR;
use super::gradient::{Gradients, Leaves, backward};
use super::patches::{maps, rows};
use super::permutation::{Permutations, stack};
use glow_models::Architecture;
use std::ops::Range;
use tch::{Kind, Tensor};

/// The actnorms and permutations of a level's steps.
#[derive(Debug)]
pub(super) struct Mixing {
    biases: Vec<Tensor>,
    logs: Vec<Tensor>,
    permutations: Permutations,
    leaves: Leaves,
}

/// What they make of K steps: y = matrix·x + shift at every pixel, in double, as far as it is asked for
/// with its graph.
#[derive(Debug)]
pub(super) struct Maps {
    /// [K, C, C]: W·diag(s), s being the actnorm's scale.
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
pub(super) struct Map {
    transposed: Tensor,
    shift: Tensor,
}

/// The gradient by one step's matrix [C, C] and shift [C].
pub(super) type ByMap = (Tensor, Tensor);

impl Mixing {
    /// That of the steps of these names.
    pub(super) fn new(parameters: &Parameters, architecture: &Architecture, steps: &[String]) -> Self {
        let get = |part: &str| -> Vec<Tensor> {
            steps.iter().map(|step| parameters.get(&format!("{step}.actnorm.{part}"))).collect()
        };
        let biases = get("bias");
        let names = |part: &'static str| steps.iter().map(move |step| format!("{step}.{part}."));
        let names: Vec<String> = names("actnorm").chain(names("permutation")).collect();
        Self {
            logs: get("logs"),
            permutations: Permutations::new(parameters, architecture.permutation, steps, &biases[0]),
            biases,
            leaves: Leaves::of(parameters, &names.iter().map(String::as_str).collect::<Vec<_>>()),
        }
    }

    /// The maps of all steps.
    pub(super) fn maps(&self) -> Maps {
        self.maps_of(0..self.biases.len())
    }

    /// The maps of some of them: W·((x + b)·s) = (W·diag(s))·x + (W·diag(s))·b.
    pub(super) fn maps_of(&self, steps: Range<usize>) -> Maps {
        let (matrix, log_det) = self.permutations.matrices(steps.clone());
        let bias = stack(&self.biases[steps.clone()]);
        let log_scale = stack(&self.logs[steps]) * LOGSCALE_FACTOR;
        let matrix = matrix * log_scale.exp().unsqueeze(1);
        let shift = matrix.matmul(&bias.unsqueeze(-1)).squeeze_dim(-1);
        let log_det = log_det + log_scale.sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        Maps { matrix, shift, bias, log_det }
    }

    /// Stores the gradient by the parameters, from that by each step's map and that by the log-determinant
    /// of one pixel, which is the same for all.
    pub(super) fn backward(&self, maps: &Maps, by: &[ByMap], by_log_det: f64, gradients: &mut Gradients) {
        let (by_matrix, by_shift): (Vec<&Tensor>, Vec<&Tensor>) = by.iter().map(|(m, s)| (m, s)).unzip();
        let double = |all: &[&Tensor]| Tensor::stack(all, 0).to_kind(Kind::Double);
        let loss = (&maps.matrix * double(&by_matrix)).sum(Kind::Double)
            + (&maps.shift * double(&by_shift)).sum(Kind::Double)
            + maps.log_det.sum(Kind::Double) * by_log_det;
        let [] = backward(&loss, [], &[&self.leaves], gradients);
    }
}

impl Maps {
    /// Each step's map, in an element type.
    pub(super) fn forward(&self, kind: Kind) -> Vec<Map> {
        unstack(&self.matrix.transpose(1, 2), &self.shift, kind)
    }

    /// Their inverses: x = matrix⁻¹·y − b.
    pub(super) fn inverse(&self, kind: Kind) -> Vec<Map> {
        // Unchecked, since a check would wait for the device: a singular matrix shows in the log-determinant.
        let (inverse, _) = Tensor::linalg_inv_ex(&self.matrix, false);
        unstack(&inverse.transpose(1, 2), &-&self.bias, kind)
    }
}

fn unstack(transposed: &Tensor, shift: &Tensor, kind: Kind) -> Vec<Map> {
    let of_steps = |t: &Tensor| t.to_kind(kind).unbind(0).into_iter();
    of_steps(transposed).zip(of_steps(shift)).map(|(transposed, shift)| Map { transposed, shift }).collect()
}

impl Map {
    /// matrix·x + shift at every pixel of x [N, C, H, W].
    pub(super) fn apply(&self, x: &Tensor) -> Tensor {
        maps(&self.shift.addmm(&rows(x), &self.transposed), pixels(x))
    }

    /// From the gradient by the map's output to that by its input x, and by the map.
    pub(super) fn backward(&self, x: &Tensor, g: &Tensor) -> (Tensor, ByMap) {
        let g = rows(g);
        let by_x = maps(&g.mm(&self.transposed.transpose(0, 1)), pixels(x));
        let by_matrix = g.transpose(0, 1).mm(&rows(x));
        (by_x, (by_matrix, g.sum_dim_intlist([0i64].as_slice(), false, g.kind())))
    }
}

/// N, H and W of x [N, C, H, W].
fn pixels(x: &Tensor) -> [i64; 3] {
    let (n, _, h, w) = x.size4().expect("the flow has four axes");
    [n, h, w]
}
