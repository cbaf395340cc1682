//! The permutation of the channels as one matrix W a step (paper, section 3.2), for the steps of a level
//! together.
use super::Parameters;
use super::gradients::Slots;
use glow_models::Permutation;
use std::ops::Range;
use tch::{Kind, Tensor};

/// The permutations of K steps over C channels: y = W·x at every pixel.
#[derive(Debug)]
pub(super) struct Permutations {
    form: Form,
    pub(super) slots: Slots,
}

/// How the matrices are parametrised.
#[derive(Debug)]
enum Form {
    /// Fixed matrices of zeros and ones [K, C, C]; log|det| = 0.
    Fixed(Tensor),
    /// W = P·L·(U + diag(sign_s·exp(log_s))); log|det| = Σ log_s. `rows` [K, C] says which row of L·U each
    /// row of W is.
    Lu { rows: Tensor, lower: Vec<Tensor>, upper: Vec<Tensor>, log_s: Vec<Tensor>, sign_s: Tensor },
    /// W itself.
    Plain(Vec<Tensor>),
}

impl Permutations {
    /// Those of the named steps; `like` [C] is one of their tensors.
    pub(super) fn new(
        parameters: &Parameters,
        permutation: Permutation,
        steps: &[String],
        like: &Tensor,
    ) -> Self {
        let name = |step: &String, part: &str| format!("{step}.permutation.{part}");
        let get = |part: &str| -> Vec<Tensor> {
            steps.iter().map(|step| parameters.get(&name(step, part))).collect()
        };
        let identity = Tensor::eye(like.size()[0], (Kind::Double, like.device()));
        let (form, trained): (_, &[&str]) = match permutation {
            Permutation::Reverse => (Form::Fixed(identity.flip([0]).repeat([steps.len() as i64, 1, 1])), &[]),
            Permutation::Shuffle => {
                let indices = get("indices");
                let matrices: Vec<Tensor> =
                    indices.iter().map(|indices| identity.index_select(0, indices)).collect();
                (Form::Fixed(Tensor::stack(&matrices, 0)), &[])
            }
            Permutation::InvconvPlain => (Form::Plain(get("weight")), &["weight"]),
            Permutation::Invconv => {
                let form = Form::Lu {
                    rows: Tensor::stack(&get("rows"), 0),
                    lower: get("lower"),
                    upper: get("upper"),
                    log_s: get("log_s"),
                    sign_s: Tensor::stack(&get("sign_s"), 0).to_kind(Kind::Double),
                };
                (form, &["lower", "upper", "log_s"])
            }
        };
        let names = steps.iter().flat_map(|step| trained.iter().map(move |part| name(step, part)));
        Self { form, slots: Slots::new(parameters, names) }
    }

    /// W of some of the steps [K, C, C] in double, and log|det W| [K], the log-determinant of one pixel.
    pub(super) fn matrices(&self, steps: Range<usize>) -> (Tensor, Tensor) {
        let of = |all: &Tensor| all.narrow(0, steps.start as i64, steps.len() as i64);
        match &self.form {
            Form::Fixed(matrices) => {
                let zeros = Tensor::zeros([steps.len() as i64], (Kind::Double, matrices.device()));
                (of(matrices), zeros)
            }
            Form::Plain(weights) => {
                let weights = stack(&weights[steps]);
                let log_det = Tensor::linalg_slogdet(&weights).1;
                (weights, log_det)
            }
            Form::Lu { rows, lower, upper, log_s, sign_s } => {
                let log_s = stack(&log_s[steps.clone()]); // [K, C]
                let diagonal = (of(sign_s) * log_s.exp()).diag_embed(0, -2, -1); // [K, C, C]
                let unit = log_s.ones_like().diag_embed(0, -2, -1);
                let lower = stack(&lower[steps.clone()]).tril(-1) + unit;
                let upper = stack(&upper[steps.clone()]).triu(1) + diagonal;
                let rows = of(rows).unsqueeze(-1).expand_as(&lower); // [K, C, C]
                let matrices = lower.matmul(&upper).gather(1, &rows, false);
                (matrices, log_s.sum_dim_intlist([1i64].as_slice(), false, Kind::Double))
            }
        }
    }
}

/// One tensor a step as one tensor for all of them, in double.
pub(super) fn stack(of_steps: &[Tensor]) -> Tensor {
    Tensor::stack(of_steps, 0).to_kind(Kind::Double)
}
