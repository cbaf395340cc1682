//! The mixing of channels as one matrix W a step (paper, section 3.2), for the steps of a level together.
use super::Parameters;
use glow_models::Permutation as Kind;
use std::ops::Range;
use tch::{Kind as Element, Tensor};

/// y = W·x at every pixel, in one of four parametrisations; K steps, C channels.
#[derive(Debug)]
pub(super) enum Permutations {
    /// Fixed matrices of zeros and ones [K, C, C]; log|det| = 0.
    Fixed(Tensor),
    /// W = P·L·(U + diag(sign_s·exp(log_s))); log|det| = Σ log_s. `rows` [K, C] says where P takes each row
    /// from.
    Lu { rows: Tensor, lower: Vec<Tensor>, upper: Vec<Tensor>, log_s: Vec<Tensor>, sign_s: Tensor },
    /// W itself.
    Plain(Vec<Tensor>),
}

impl Permutations {
    /// Those of the steps of these names; `like` [C] is one of their tensors.
    pub(super) fn new(parameters: &Parameters, kind: Kind, steps: &[String], like: &Tensor) -> Self {
        let get = |part: &str| -> Vec<Tensor> {
            steps.iter().map(|step| parameters.get(&format!("{step}.permutation.{part}"))).collect()
        };
        let identity = Tensor::eye(like.size()[0], (Element::Double, like.device()));
        match kind {
            Kind::Reverse => Self::Fixed(identity.flip([0]).repeat([steps.len() as i64, 1, 1])),
            Kind::Shuffle => {
                let rows = get("indices");
                let matrices: Vec<Tensor> = rows.iter().map(|rows| identity.index_select(0, rows)).collect();
                Self::Fixed(Tensor::stack(&matrices, 0))
            }
            Kind::InvconvPlain => Self::Plain(get("weight")),
            Kind::Invconv => Self::Lu {
                rows: Tensor::stack(&get("rows"), 0),
                lower: get("lower"),
                upper: get("upper"),
                log_s: get("log_s"),
                sign_s: Tensor::stack(&get("sign_s"), 0).to_kind(Element::Double),
            },
        }
    }

    /// W of some of the steps [K, C, C] in double, and log|det W| [K], the log-determinant of one pixel.
    pub(super) fn matrices(&self, steps: Range<usize>) -> (Tensor, Tensor) {
        let of = |all: &Tensor| all.narrow(0, steps.start as i64, steps.len() as i64);
        match self {
            Self::Fixed(matrices) => {
                let zeros = Tensor::zeros([steps.len() as i64], (Element::Double, matrices.device()));
                (of(matrices), zeros)
            }
            Self::Plain(weights) => {
                let weights = stack(&weights[steps]);
                let log_det = Tensor::linalg_slogdet(&weights).1;
                (weights, log_det)
            }
            Self::Lu { rows, lower, upper, log_s, sign_s } => {
                let log_s = stack(&log_s[steps.clone()]);
                let diagonal = (of(sign_s) * log_s.exp()).diag_embed(0, -2, -1);
                let unit = log_s.ones_like().diag_embed(0, -2, -1);
                let lower = stack(&lower[steps.clone()]).tril(-1) + unit;
                let upper = stack(&upper[steps.clone()]).triu(1) + diagonal;
                let rows = of(rows).unsqueeze(-1).expand_as(&lower);
                let matrices = lower.matmul(&upper).gather(1, &rows, false);
                (matrices, log_s.sum_dim_intlist([1i64].as_slice(), false, Element::Double))
            }
        }
    }
}

/// One tensor a step as one for all of them, in double.
pub(super) fn stack(of_steps: &[Tensor]) -> Tensor {
    Tensor::stack(of_steps, 0).to_kind(Element::Double)
}
