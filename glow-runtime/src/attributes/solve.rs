//! The numbers behind a fit: sums over rows and two iterative solvers. The matrices, n × d or d × d, are
//! never formed or copied; every step passes once over the rows.
use ndarray::ArrayView2;

/// Parts in which rows are summed, one thread each. A fixed number, so that the sum is the same on every
/// machine.
const PARTS: usize = 8;

/// ⟨a, b⟩ in float64, of several partial sums so that the processor need not wait for each.
pub fn dot<A: Copy + Into<f64>, B: Copy + Into<f64>>(a: &[A], b: &[B]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, rest_of_a) = a.as_chunks::<8>();
    let (b, rest_of_b) = b.as_chunks::<8>();
    for (a, b) in a.iter().zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a.into() * b.into();
        }
    }
    let rest: f64 = rest_of_a.iter().zip(rest_of_b).map(|(&a, &b)| a.into() * b.into()).sum();
    sums.iter().sum::<f64>() + rest
}

/// `to` + factor · x.
pub fn add_scaled<X: Copy + Into<f64>>(to: &mut [f64], factor: f64, x: &[X]) {
    to.iter_mut().zip(x).for_each(|(to, &x)| *to += factor * x.into());
}

/// Some of the rows of a matrix.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// [n, d], in standard layout.
    pub matrix: ArrayView2<'a, f32>,
    /// The rows that count.
    pub chosen: &'a [usize],
}

impl Rows<'_> {
    pub fn columns(&self) -> usize {
        self.matrix.ncols()
    }

    /// Σ f(place, ⟨x, v⟩) · x over the chosen rows x, and what f gives for each; `place` counts the chosen.
    pub fn sum(&self, v: &[f64], f: impl Fn(usize, f64) -> f64 + Sync) -> (Vec<f64>, Vec<f64>) {
        let size = self.chosen.len().div_ceil(PARTS).max(1);
        let part = |begin: usize, rows: &[usize]| {
            let (mut sum, mut factors) = (vec![0.0; self.columns()], Vec::with_capacity(rows.len()));
            for (place, &row) in (begin..).zip(rows) {
                let x = self.matrix.row(row);
                let x = x.to_slice().expect("standard layout");
                let factor = f(place, dot(x, v));
                add_scaled(&mut sum, factor, x);
                factors.push(factor);
            }
            (sum, factors)
        };
        let parts: Vec<_> = std::thread::scope(|scope| {
            let begun: Vec<_> = (0..)
                .step_by(size)
                .zip(self.chosen.chunks(size))
                .map(|(begin, rows)| scope.spawn(move || part(begin, rows)))
                .collect();
            begun.into_iter().map(|part| part.join().expect("sums do not panic")).collect()
        });
        let (mut sum, mut factors) = (vec![0.0; self.columns()], Vec::with_capacity(self.chosen.len()));
        for (part, of_part) in parts {
            add_scaled(&mut sum, 1.0, &part);
            factors.extend(of_part);
        }
        (sum, factors)
    }
}

/// Solves A·x = b for a symmetric, positive definite A, given the product with it, by conjugate gradients;
/// stops when the residual is `tolerance` · |b|. Gives x and the number of steps, or nothing if `limit`
/// steps do not suffice.
pub fn conjugate_gradients(
    product: impl Fn(&[f64]) -> Vec<f64>,
    b: &[f64],
    tolerance: f64,
    limit: usize,
) -> Option<(Vec<f64>, usize)> {
    let (mut x, mut residual) = (vec![0.0; b.len()], b.to_vec());
    let mut direction = residual.clone();
    let mut square = dot(&residual, &residual);
    let goal = square * tolerance * tolerance;
    for step in 0..limit {
        if square <= goal {
            return Some((x, step));
        }
        let image = product(&direction);
        let length = square / dot(&direction, &image);
        add_scaled(&mut x, length, &direction);
        add_scaled(&mut residual, -length, &image);
        let next = dot(&residual, &residual);
        let keep = next / square;
        square = next;
        direction.iter_mut().zip(&residual).for_each(|(d, &r)| *d = r + keep * *d);
    }
    (square <= goal).then_some((x, limit))
}

/// The part of v that is orthogonal to each of `others`, by Gram–Schmidt, twice
/// against rounding.
pub fn orthogonal_part(v: &[f64], others: impl IntoIterator<Item = Vec<f64>>) -> Vec<f64> {
    let mut basis: Vec<Vec<f64>> = Vec::new();
    let reduce = |v: &mut Vec<f64>, basis: &[Vec<f64>]| {
        for _ in 0..2 {
            basis.iter().for_each(|q| {
                let along = dot(q, v);
                add_scaled(v, -along, q);
            });
        }
    };
    for mut other in others {
        let before = dot(&other, &other);
        reduce(&mut other, &basis);
        let after = dot(&other, &other);
        // One that depends on those before it adds nothing but noise.
        if after > 1e-12 * before {
            other.iter_mut().for_each(|value| *value /= after.sqrt());
            basis.push(other);
        }
    }
    let mut part = v.to_vec();
    reduce(&mut part, &basis);
    part
}
