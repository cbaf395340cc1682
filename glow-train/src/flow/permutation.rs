//! The mixing of channels as one matrix W a step (paper, section 3.2).
use super::Parameters;
use glow_models::Permutation as Kind;
use tch::{Kind as Element, Tensor};

/// y = W·x at every pixel, in one of four parametrisations.
#[derive(Debug)]
pub(super) enum Permutation {
    /// A fixed matrix of zeros and ones; log|det| = 0.
    Fixed(Tensor),
    /// W = P·L·(U + diag(sign_s·exp(log_s))); log|det| = Σ log_s.
    Lu { rows: Tensor, lower: Tensor, upper: Tensor, log_s: Tensor, sign_s: Tensor },
    /// W itself.
    Plain(Tensor),
}

impl Permutation {
    pub(super) fn new(parameters: &Parameters, kind: Kind, name: &str, like: &Tensor) -> Self {
        let get = |part: &str| parameters.get(&format!("{name}.{part}"));
        let identity = || Tensor::eye(like.size()[0], (like.kind(), like.device()));
        match kind {
            Kind::Reverse => Self::Fixed(identity().flip([0])),
            Kind::Shuffle => Self::Fixed(identity().index_select(0, &get("indices"))),
            Kind::InvconvPlain => Self::Plain(get("weight")),
            Kind::Invconv => Self::Lu {
                rows: get("rows"),
                lower: get("lower"),
                upper: get("upper"),
                log_s: get("log_s"),
                sign_s: get("sign_s"),
            },
        }
    }

    /// W [C, C] in double, and log|det W| (a double scalar), the log-determinant of one pixel.
    pub(super) fn matrix(&self) -> (Tensor, Tensor) {
        match self {
            Self::Fixed(matrix) => {
                let zero = Tensor::zeros([], (Element::Double, matrix.device()));
                (matrix.to_kind(Element::Double), zero)
            }
            Self::Plain(weight) => {
                let weight = weight.to_kind(Element::Double);
                let log_det = Tensor::linalg_slogdet(&weight).1;
                (weight, log_det)
            }
            Self::Lu { rows, lower, upper, log_s, sign_s } => {
                let double = |t: &Tensor| t.to_kind(Element::Double);
                let unit = Tensor::eye(rows.size()[0], (Element::Double, rows.device()));
                let log_s = double(log_s);
                let diagonal = (double(sign_s) * log_s.exp()).diag_embed(0, 0, 1);
                let lower = double(lower).tril(-1) + unit;
                let upper = double(upper).triu(1) + diagonal;
                (lower.matmul(&upper).index_select(0, rows), log_s.sum(Element::Double))
            }
        }
    }
}
