//! W = P·L·U in float64: the one form of every permutation layer.
use ndarray::{Array2, Axis};

/// A square matrix as P·L·U, with P as (P·M)\[i\] = M\[rows\[i\]\], L unit lower and U upper triangular.
#[derive(Debug)]
pub(crate) struct Plu {
    rows: Vec<usize>,
    lower: Array2<f64>,
    upper: Array2<f64>,
}

impl Plu {
    /// From its factors; only the strict lower part of `lower` and the upper part of `upper` count.
    pub fn new(rows: Vec<usize>, lower: Array2<f64>, upper: Array2<f64>) -> Self {
        Self { rows, lower, upper }
    }

    /// y\[i\] = x\[rows\[i\]\].
    pub fn permutation(rows: Vec<usize>) -> Self {
        let n = rows.len();
        Self { rows, lower: Array2::eye(n), upper: Array2::eye(n) }
    }

    /// Factorises a matrix, with the largest pivot of each column.
    pub fn factorise(mut matrix: Array2<f64>) -> Self {
        let n = matrix.nrows();
        // The row of the matrix that has come to stand in each row of L·U.
        let mut origin: Vec<usize> = (0..n).collect();
        for k in 0..n {
            let pivot = (k..n)
                .max_by(|&a, &b| matrix[[a, k]].abs().total_cmp(&matrix[[b, k]].abs()))
                .expect("k..n is not empty");
            if pivot != k {
                origin.swap(k, pivot);
                let (mut above, mut below) = matrix.view_mut().split_at(Axis(0), pivot);
                ndarray::Zip::from(above.row_mut(k)).and(below.row_mut(0)).for_each(std::mem::swap);
            }
            if matrix[[k, k]] == 0.0 {
                continue; // Singular: `inverse` says so.
            }
            for i in k + 1..n {
                let factor = matrix[[i, k]] / matrix[[k, k]];
                matrix[[i, k]] = factor;
                for j in k + 1..n {
                    matrix[[i, j]] -= factor * matrix[[k, j]];
                }
            }
        }
        let mut rows = vec![0; n];
        for (i, origin) in origin.into_iter().enumerate() {
            rows[origin] = i;
        }
        Self { rows, lower: matrix.clone(), upper: matrix }
    }

    /// W itself.
    pub fn matrix(&self) -> Array2<f64> {
        let n = self.rows.len();
        Array2::from_shape_fn((n, n), |(i, j)| {
            let i = self.rows[i];
            let below: f64 = (0..i.min(j + 1)).map(|k| self.lower[[i, k]] * self.upper[[k, j]]).sum();
            if i <= j { below + self.upper[[i, j]] } else { below }
        })
    }

    /// W⁻¹ by triangular solves; `None` if W is singular to working precision.
    pub fn inverse(&self) -> Option<Array2<f64>> {
        let n = self.rows.len();
        let largest = self.upper.diag().iter().fold(0.0, |largest: f64, d| largest.max(d.abs()));
        let singular = |d: &f64| !d.is_finite() || d.abs() <= largest * n as f64 * f64::EPSILON;
        if self.upper.diag().iter().any(singular) {
            return None;
        }
        // L·U·x = P⁻¹·y for all unit vectors y at once.
        let mut inverse = Array2::zeros((n, n));
        for (i, &row) in self.rows.iter().enumerate() {
            inverse[[row, i]] = 1.0;
        }
        for i in 0..n {
            for k in 0..i {
                subtract_row(&mut inverse, i, self.lower[[i, k]], k);
            }
        }
        for i in (0..n).rev() {
            for k in i + 1..n {
                subtract_row(&mut inverse, i, self.upper[[i, k]], k);
            }
            inverse.row_mut(i).mapv_inplace(|value| value / self.upper[[i, i]]);
        }
        Some(inverse)
    }

    /// log|det W|.
    pub fn log_abs_det(&self) -> f64 {
        self.upper.diag().iter().map(|d| d.abs().ln()).sum()
    }
}

/// Row `i` minus `factor` times row `k`.
fn subtract_row(matrix: &mut Array2<f64>, i: usize, factor: f64, k: usize) {
    let (mut target, source) = matrix.multi_slice_mut((ndarray::s![i, ..], ndarray::s![k, ..]));
    target.scaled_add(-factor, &source);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn largest_difference(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
        (a - b).iter().fold(0.0, |largest, d| d.abs().max(largest))
    }

    #[test]
    fn factors_give_the_matrix_back_and_its_inverse() {
        let w = array![[0.0, 2.0, 1.0], [1.0, -1.0, 3.0], [4.0, 0.5, -2.0]];
        let plu = Plu::factorise(w.clone());
        assert!(largest_difference(&plu.matrix(), &w) < 1e-14);
        assert!(largest_difference(&plu.inverse().unwrap().dot(&w), &Array2::eye(3)) < 1e-14);
        // By hand: −2·(1·−2 − 3·4) + 1·(1·0.5 + 1·4) = 32.5.
        assert!((plu.log_abs_det() - 32.5f64.ln()).abs() < 1e-14);
    }

    #[test]
    fn given_factors_are_composed_as_documented() {
        let (lower, upper) = (array![[7.0, 7.0], [0.5, 7.0]], array![[2.0, 1.0], [7.0, 3.0]]);
        let plu = Plu::new(vec![1, 0], lower, upper);
        assert_eq!(plu.matrix(), array![[1.0, 3.5], [2.0, 1.0]]);
        assert!(largest_difference(&plu.inverse().unwrap().dot(&plu.matrix()), &Array2::eye(2)) < 1e-15);
        assert_eq!(Plu::permutation(vec![1, 0]).matrix(), array![[0.0, 1.0], [1.0, 0.0]]);
    }

    #[test]
    fn a_singular_matrix_has_no_inverse() {
        for w in [array![[1.0, 2.0], [2.0, 4.0]], array![[0.0, 0.0], [0.0, 1.0]]] {
            assert!(Plu::factorise(w).inverse().is_none());
        }
    }
}
