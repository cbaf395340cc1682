//! One step of flow: actnorm, permutation, coupling (paper, figure 2a).
use super::Parameters;
use super::actnorm::Actnorm;
use super::coupling::{Coupling, halves};
use super::gradient::{Gradients, Leaves, backward};
use super::network::{Activations, Network};
use super::permutation::Permutation;
use glow_models::Architecture;
use tch::{Kind, Tensor};

/// One step of flow. Actnorm and permutation are one affine map of the channels, the mixing.
#[derive(Debug)]
pub(super) struct Step {
    name: String,
    actnorm: Actnorm,
    permutation: Permutation,
    coupling: Coupling,
    mixing_leaves: Leaves,
}

/// What going back through a step needs.
#[derive(Debug)]
pub(super) struct Kept {
    /// The step's input.
    pub(super) x: Tensor,
    y: Tensor,
    /// With its graph.
    mixing: Mixing,
    /// What the coupling network gave, and how.
    output: Tensor,
    activations: Activations,
}

/// y = matrix·x + shift at every pixel, in double, and its log-determinant at one pixel.
#[derive(Debug)]
struct Mixing {
    matrix: Tensor,
    shift: Tensor,
    log_det: Tensor,
}

impl Step {
    pub(super) fn new(
        parameters: &Parameters,
        architecture: &Architecture,
        network: Option<Kind>,
        size: [i64; 2],
        name: &str,
    ) -> Self {
        let actnorm = Actnorm::new(parameters, &format!("{name}.actnorm"));
        let permutation = Permutation::new(
            parameters,
            architecture.permutation,
            &format!("{name}.permutation"),
            actnorm.bias(),
        );
        let network =
            Network::new(parameters, architecture.edge_bias, network, size, &format!("{name}.coupling"));
        let coupling = Coupling::new(architecture.coupling, network);
        Self {
            name: name.into(),
            actnorm,
            permutation,
            coupling,
            mixing_leaves: Leaves::of(
                parameters,
                &[&format!("{name}.actnorm."), &format!("{name}.permutation.")],
            ),
        }
    }

    /// W·((x + b)·s) = (W·diag(s))·x + (W·diag(s))·b.
    fn mixing(&self) -> Mixing {
        let (matrix, log_det) = self.permutation.matrix();
        let matrix = matrix * self.actnorm.scale().to_kind(Kind::Double);
        let shift = matrix.matmul(&self.actnorm.bias().to_kind(Kind::Double));
        let log_det = self.actnorm.log_det_per_pixel() + log_det.to_kind(self.actnorm.bias().kind());
        Mixing { matrix, shift, log_det }
    }

    /// x [N, C, H, W] → y of the same shape; the log-determinant is added to `log_det` [N].
    pub(super) fn forward(&self, x: &Tensor, log_det: &mut Tensor, initialise: bool) -> Tensor {
        if initialise {
            self.actnorm.initialise(x);
        }
        let mixing = self.mixing();
        let mixed = mix(x, &mixing.matrix, &mixing.shift);
        let (y, coupling) = self.coupling.forward(&mixed, initialise);
        *log_det = &*log_det + mixing.log_det * pixels(x);
        if let Some(coupling) = coupling {
            *log_det = &*log_det + coupling;
        }
        y
    }

    pub(super) fn inverse(&self, y: &Tensor) -> Tensor {
        self.unmix(&self.coupling.inverse(y), &self.mixing())
    }

    fn unmix(&self, mixed: &Tensor, mixing: &Mixing) -> Tensor {
        let shift = -self.actnorm.bias().to_kind(Kind::Double);
        // Unchecked, since a check would wait for the device: a singular matrix shows in the log-determinant.
        let (inverse, _) = Tensor::linalg_inv_ex(&mixing.matrix, false);
        mix(mixed, &inverse, &shift)
    }

    /// The first part whose output for x is not finite, by its name; the step's output where there is none.
    pub(super) fn first_not_finite(&self, x: &Tensor) -> Result<Tensor, String> {
        let mixing = self.mixing();
        let mixed = mix(x, &mixing.matrix, &mixing.shift);
        if !is_finite(&mixed) || !is_finite(&mixing.log_det) {
            return Err(format!("{}.permutation or its actnorm", self.name));
        }
        let (y, log_det) = self.coupling.forward(&mixed, false);
        if is_finite(&y) && log_det.is_none_or(|log_det| is_finite(&log_det)) {
            return Ok(y);
        }
        Err(format!("{}.coupling", self.name))
    }

    /// [`Step::forward`] without a graph, and what going back will need.
    pub(super) fn forward_keeping(&self, x: &Tensor, log_det: &mut Tensor) -> (Tensor, Kept) {
        let mixing = tch::with_grad(|| self.mixing());
        tch::no_grad(|| {
            let (z1, z2) = halves(&mix(x, &mixing.matrix, &mixing.shift));
            let (output, activations) = self.coupling.network.forward(&z1, false);
            let (y2, coupling) = self.coupling.couple(&z2, &output);
            *log_det = &*log_det + &mixing.log_det * pixels(x);
            if let Some(coupling) = coupling {
                *log_det = &*log_det + coupling;
            }
            let y = Tensor::cat(&[z1, y2], 1);
            (y.shallow_clone(), Kept { x: x.shallow_clone(), y, mixing, output, activations })
        })
    }

    /// The same from the step's output: its input is recomputed by the inverse, and one evaluation of the
    /// coupling network serves that and the gradient.
    pub(super) fn invert_keeping(&self, y: &Tensor) -> Kept {
        let mixing = tch::with_grad(|| self.mixing());
        tch::no_grad(|| {
            let (z1, y2) = halves(y);
            let (output, activations) = self.coupling.network.forward(&z1, false);
            let z2 = self.coupling.uncouple(&y2, &output);
            let x = self.unmix(&Tensor::cat(&[z1, z2], 1), &mixing);
            Kept { x, y: y.shallow_clone(), mixing, output, activations }
        })
    }

    /// Back through the step: `g` is the loss's gradient by y, `g_log_det` by each image's log-determinant.
    /// Returns that by x and stores those by the step's parameters.
    pub(super) fn backward(
        &self,
        kept: Kept,
        g: &Tensor,
        g_log_det: f64,
        gradients: &mut Gradients,
    ) -> Tensor {
        let Kept { x, y, mixing, output, activations } = kept;
        let (by_x, by_matrix, by_shift) = tch::no_grad(|| {
            let (_, y2) = halves(&y);
            let (g1, g2) = halves(g);
            let (by_z2, by_output) = self.coupling.couple_backward(&y2, &output, &g2, g_log_det);
            let by_z1 = self.coupling.network.backward(activations, &by_output, gradients) + g1;
            let g = rows(&Tensor::cat(&[by_z1, by_z2], 1));
            let by_x = unrows(&g.matmul(&mixing.matrix.to_kind(y.kind())), &x);
            let by_matrix = g.transpose(0, 1).matmul(&rows(&x));
            (by_x, by_matrix, g.sum_dim_intlist([0i64].as_slice(), false, y.kind()))
        });
        let loss = (&mixing.matrix * by_matrix.to_kind(Kind::Double)).sum(Kind::Double)
            + (&mixing.shift * by_shift.to_kind(Kind::Double)).sum(Kind::Double)
            + mixing.log_det.to_kind(Kind::Double) * (pixels(&x) * x.size()[0] as f64 * g_log_det);
        let [] = backward(&loss, [], &[&self.mixing_leaves], gradients);
        by_x
    }
}

fn pixels(x: &Tensor) -> f64 {
    let (_, _, h, w) = x.size4().expect("the flow has four axes");
    (h * w) as f64
}

pub(super) fn is_finite(t: &Tensor) -> bool {
    t.isfinite().all().int64_value(&[]) != 0
}

/// [N, C, H, W] → [N·H·W, C]: a view in channels-last memory.
fn rows(x: &Tensor) -> Tensor {
    let (n, c, h, w) = x.size4().expect("the flow has four axes");
    x.permute([0, 2, 3, 1]).reshape([n * h * w, c])
}

/// The inverse of [`rows`], for the shape of `like`.
fn unrows(rows: &Tensor, like: &Tensor) -> Tensor {
    let (n, c, h, w) = like.size4().expect("the flow has four axes");
    rows.reshape([n, h, w, c]).permute([0, 3, 1, 2])
}

/// matrix·x + shift at every pixel; both given in double.
fn mix(x: &Tensor, matrix: &Tensor, shift: &Tensor) -> Tensor {
    let matrix = matrix.to_kind(x.kind()).transpose(0, 1);
    unrows(&shift.to_kind(x.kind()).addmm(&rows(x), &matrix), x)
}
