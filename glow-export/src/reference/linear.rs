//! The permutation layers as plain matrices.
use crate::parameters::Parameters;
use glow_models::Permutation;
use ndarray::{Array2, Array3, Axis, concatenate, s};

/// W, its inverse and log|det W|.
#[derive(Debug)]
pub(super) struct Mixing {
    matrix: Array2<f64>,
    inverse: Array2<f64>,
    pub log_det: f64,
}

impl Mixing {
    /// `None` if W is singular.
    pub fn new(parameters: &Parameters, layer: &str, channels: usize) -> Option<Self> {
        let matrix = compose(parameters, layer, channels);
        let (inverse, log_det) = invert(&matrix)?;
        Some(Self { matrix, inverse, log_det })
    }

    /// W·x at every position.
    pub fn encode(&self, x: &Array3<f64>) -> Array3<f64> {
        apply(&self.matrix, x)
    }

    /// W⁻¹·x at every position.
    pub fn decode(&self, x: &Array3<f64>) -> Array3<f64> {
        apply(&self.inverse, x)
    }
}

fn apply(matrix: &Array2<f64>, x: &Array3<f64>) -> Array3<f64> {
    let (channels, height, width) = x.dim();
    let flat = x.to_shape((channels, height * width)).expect("as many numbers");
    matrix.dot(&flat).into_shape_with_order((channels, height, width)).expect("as many numbers")
}

/// W by its definition, P a matrix like the others.
fn compose(parameters: &Parameters, layer: &str, channels: usize) -> Array2<f64> {
    let part = |part: &str| format!("{layer}.{part}");
    let permutation = |rows: &[usize]| {
        Array2::from_shape_fn((channels, channels), |(i, j)| f64::from(u8::from(rows[i] == j)))
    };
    match parameters.architecture().permutation {
        Permutation::Reverse => permutation(&(0..channels).rev().collect::<Vec<_>>()),
        Permutation::Shuffle => permutation(parameters.permutation(&part("indices"))),
        Permutation::Invconv => {
            let keep = |matrix: Array2<f64>, kept: fn(usize, usize) -> bool| {
                Array2::from_shape_fn(matrix.dim(), |(i, j)| if kept(i, j) { matrix[[i, j]] } else { 0.0 })
            };
            let lower = keep(parameters.matrix(&part("lower")), |i, j| j < i) + Array2::<f64>::eye(channels);
            let diagonal = parameters.vector(&part("sign_s")) * parameters.vector(&part("log_s")).exp();
            let upper = keep(parameters.matrix(&part("upper")), |i, j| i < j) + Array2::from_diag(&diagonal);
            permutation(parameters.permutation(&part("rows"))).dot(&lower).dot(&upper)
        }
        Permutation::InvconvPlain => parameters.matrix(&part("weight")),
    }
}

/// Gauss-Jordan elimination with the largest pivot: inverse and log|det|.
fn invert(matrix: &Array2<f64>) -> Option<(Array2<f64>, f64)> {
    let n = matrix.nrows();
    let mut both = concatenate(Axis(1), &[matrix.view(), Array2::eye(n).view()]).expect("as many rows");
    let mut log_det = 0.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|&a, &b| both[[a, k]].abs().total_cmp(&both[[b, k]].abs()))?;
        let value = both[[pivot, k]];
        if value == 0.0 || !value.is_finite() {
            return None;
        }
        log_det += value.abs().ln();
        let row = both.row(pivot).mapv(|entry| entry / value);
        let displaced = both.row(k).to_owned();
        both.row_mut(pivot).assign(&displaced);
        both.row_mut(k).assign(&row);
        for i in (0..n).filter(|&i| i != k) {
            let factor = both[[i, k]];
            both.row_mut(i).scaled_add(-factor, &row);
        }
    }
    Some((both.slice(s![.., n..]).to_owned(), log_det))
}
