//! One step of flow: actnorm, permutation, coupling (paper, figure 2a).
use super::Parameters;
use super::actnorm::Actnorm;
use super::coupling::{Coupling, halves};
use super::gradient::{Gradients, Leaves, backward};
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
    coupling_leaves: Leaves,
}

/// y = matrix·x + shift at every pixel, in double, and its log-determinant at one pixel.
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
        name: &str,
    ) -> Self {
        let actnorm = Actnorm::new(parameters, &format!("{name}.actnorm"));
        let permutation = Permutation::new(
            parameters,
            architecture.permutation,
            &format!("{name}.permutation"),
            actnorm.bias(),
        );
        let coupling = Coupling::new(parameters, architecture.coupling, network, &format!("{name}.coupling"));
        Self {
            name: name.into(),
            actnorm,
            permutation,
            coupling,
            mixing_leaves: Leaves::of(
                parameters,
                &[&format!("{name}.actnorm."), &format!("{name}.permutation.")],
            ),
            coupling_leaves: Leaves::of(parameters, &[&format!("{name}.coupling.")]),
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
        mix(mixed, &Tensor::linalg_inv(&mixing.matrix), &shift)
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

    /// Back through the step from its input: runs forward again to know the gradient.
    ///
    /// `g` is the loss's gradient by y, `g_log_det` by each image's log-determinant. Returns that by x.
    pub(super) fn backward_from_input(
        &self,
        x: &Tensor,
        g: &Tensor,
        g_log_det: f64,
        gradients: &mut Gradients,
    ) -> Tensor {
        let x = x.detach().set_requires_grad(true);
        let mut log_det = Tensor::zeros([x.size()[0]], (x.kind(), x.device()));
        let y = self.forward(&x, &mut log_det, false);
        let loss = (y * g).sum(x.kind()) + log_det.sum(x.kind()) * g_log_det;
        let [g] = backward(&loss, [&x], &[&self.mixing_leaves, &self.coupling_leaves], gradients);
        g
    }

    /// Back through the step from its output: the input is recomputed by the inverse, and one evaluation of
    /// the coupling network serves the inverse and the gradient. Returns x and the loss's gradient by it.
    pub(super) fn backward_from_output(
        &self,
        y: &Tensor,
        g: &Tensor,
        g_log_det: f64,
        gradients: &mut Gradients,
    ) -> (Tensor, Tensor) {
        let ((y1, y2), (g1, g2)) = (halves(y), halves(g));
        let z1 = y1.detach().set_requires_grad(true);
        let output = self.coupling.network(&z1, false);
        let z2 = tch::no_grad(|| self.coupling.uncouple(&y2, &output)).set_requires_grad(true);
        let (coupled, log_det) = self.coupling.couple(&z2, &output);
        let mut loss = (coupled * g2).sum(y.kind());
        if let Some(log_det) = log_det {
            loss += log_det.sum(y.kind()) * g_log_det;
        }
        let [by_z1, by_z2] = backward(&loss, [&z1, &z2], &[&self.coupling_leaves], gradients);

        let mixing = self.mixing();
        let (x, by_x, by_matrix, by_shift) = tch::no_grad(|| {
            let x = self.unmix(&Tensor::cat(&[z1, z2], 1), &mixing);
            let g = rows(&Tensor::cat(&[by_z1 + g1, by_z2], 1));
            let by_x = unrows(&g.matmul(&mixing.matrix.to_kind(y.kind())), &x);
            let by_matrix = g.transpose(0, 1).matmul(&rows(&x));
            (x, by_x, by_matrix, g.sum_dim_intlist([0i64].as_slice(), false, y.kind()))
        });
        let loss = (&mixing.matrix * by_matrix.to_kind(Kind::Double)).sum(Kind::Double)
            + (&mixing.shift * by_shift.to_kind(Kind::Double)).sum(Kind::Double)
            + mixing.log_det.to_kind(Kind::Double) * (pixels(&x) * x.size()[0] as f64 * g_log_det);
        let [] = backward(&loss, [], &[&self.mixing_leaves], gradients);
        (x, by_x)
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
