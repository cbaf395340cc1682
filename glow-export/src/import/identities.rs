//! The identities by which another implementation's layers become ours, each exact.
//!
//! Our actnorm is y = (x + bias)·exp(3·logs); convolution weights are [outputs, inputs, rows, columns].
use ndarray::{Array2, Array4, Axis, concatenate, s};

/// Bias and logs of an actnorm, or of a convolution's output (conv + bias)·exp(3·logs).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Actnorm {
    pub bias: Vec<f64>,
    pub logs: Vec<f64>,
}

impl Actnorm {
    /// (x + bias)·exp(logs), without the factor 3.
    pub fn of_log_scale(bias: Vec<f64>, logs: Vec<f64>) -> Self {
        Self { bias, logs: thirds(logs) }
    }

    /// scale·(x + loc), with the signs of the scale apart: they belong in front of the matrix that follows.
    /// `None` if a scale is 0.
    pub fn of_scale(loc: Vec<f64>, scale: &[f64]) -> Option<(Self, Vec<f64>)> {
        if scale.contains(&0.0) {
            return None;
        }
        let logs = scale.iter().map(|scale| scale.abs().ln() / 3.0).collect();
        Some((Self { bias: loc, logs }, scale.iter().map(|scale| scale.signum()).collect()))
    }

    /// exp(s)·x + t.
    pub fn of_affine(s: Vec<f64>, t: &[f64]) -> Self {
        let bias = t.iter().zip(&s).map(|(t, s)| t * (-s).exp()).collect();
        Self { bias, logs: thirds(s) }
    }

    /// The inverse of exp(s)·x + t: (x − t)·exp(−s).
    pub fn of_inverse(s: &[f64], t: &[f64]) -> Self {
        let negated = |values: &[f64]| values.iter().map(|value| -value).collect::<Vec<_>>();
        Self { bias: negated(t), logs: thirds(negated(s)) }
    }

    /// A convolution's bias where no actnorm follows.
    pub fn of_bias(bias: Vec<f64>) -> Self {
        let logs = vec![0.0; bias.len()];
        Self { bias, logs }
    }

    /// In front of the whole model: x of the file is alpha·x + beta of ours.
    pub fn after_preprocessing(mut self, alpha: f64, beta: f64) -> Self {
        self.bias.iter_mut().for_each(|bias| *bias = (*bias + beta) / alpha);
        self.logs.iter_mut().for_each(|logs| *logs += alpha.ln() / 3.0);
        self
    }

    /// exp(3·logs)·bias, the constant that it gives on a map of zeros.
    pub fn constant(&self) -> Vec<f64> {
        self.bias.iter().zip(&self.logs).map(|(bias, logs)| bias * (3.0 * logs).exp()).collect()
    }

    /// The two halves of the channels change places.
    pub fn swapped(&self) -> Self {
        Self { bias: swapped(&self.bias), logs: swapped(&self.logs) }
    }
}

fn thirds(logs: Vec<f64>) -> Vec<f64> {
    logs.into_iter().map(|logs| logs / 3.0).collect()
}

/// The second half of a list, then the first.
pub(super) fn swapped<T: Clone>(list: &[T]) -> Vec<T> {
    let (first, second) = list.split_at(list.len() / 2);
    [second, first].concat()
}

/// The halves of a list one from each in turn: chunks (a, b) become \[a0, b0, a1, b1, …\].
pub(super) fn interleaved(first: &[f64], second: &[f64]) -> Vec<f64> {
    first.iter().zip(second).flat_map(|(a, b)| [*a, *b]).collect()
}

/// A convolution with (conv + bias)·exp(3·logs), as a coupling's last and the priors'.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ZerosConv {
    pub weight: Array4<f64>,
    pub output: Actnorm,
}

impl ZerosConv {
    /// Padding of all channels with ones is zero padding and a border channel whose kernel is the sum over
    /// the inputs.
    pub fn padded_with_ones(mut self) -> Self {
        self.weight = with_border(&self.weight, Some(&border_sum(&self.weight)));
        self
    }

    /// Outputs in two chunks become interleaved ones: `order` says which chunk is even.
    pub fn interleaved(self, order: Chunks) -> Self {
        let half = self.output.bias.len() / 2;
        let place = |row: usize| match order {
            Chunks::EvenFirst => row % 2 * half + row / 2,
            Chunks::OddFirst => (1 - row % 2) * half + row / 2,
        };
        let rows: Vec<usize> = (0..2 * half).map(place).collect();
        let pick = |values: &[f64]| rows.iter().map(|&row| values[row]).collect();
        Self {
            weight: self.weight.select(Axis(0), &rows),
            output: Actnorm { bias: pick(&self.output.bias), logs: pick(&self.output.logs) },
        }
    }

    /// Every `stride`-th output negated, from the first.
    pub fn negated(mut self, stride: usize) -> Self {
        self.weight.slice_mut(s![..;stride as isize, .., .., ..]).mapv_inplace(|value| -value);
        self.output.bias.iter_mut().step_by(stride).for_each(|bias| *bias = -*bias);
        self
    }
}

/// In which order chunks of outputs stand: ours are even (shift, mean), then odd (raw scale, log scale).
#[derive(Debug, Clone, Copy)]
pub(super) enum Chunks {
    /// Means, then log scales.
    EvenFirst,
    /// Raw scales, then shifts.
    OddFirst,
}

/// Σ over a kernel's inputs, [outputs, 1, rows, columns].
pub(super) fn border_sum(weight: &Array4<f64>) -> Array4<f64> {
    weight.sum_axis(Axis(1)).insert_axis(Axis(1))
}

/// A kernel with a border channel behind its inputs; of zeros where the padding is of zeros.
pub(super) fn with_border(weight: &Array4<f64>, border: Option<&Array4<f64>>) -> Array4<f64> {
    let (outputs, _, rows, columns) = weight.dim();
    let zeros = Array4::zeros((outputs, 1, rows, columns));
    concatenate(Axis(1), &[weight.view(), border.unwrap_or(&zeros).view()]).expect("kernels of one size")
}

/// A factorised W with P as a matrix; see [`Lu`].
#[derive(Debug, Clone)]
pub(super) struct Factors {
    pub p: Array2<f64>,
    pub lower: Array2<f64>,
    pub upper: Array2<f64>,
    pub log_s: Vec<f64>,
    pub sign_s: Vec<f64>,
}

/// The factors of W = P·L·(U + diag(sign_s·exp(log_s))); only the strict triangles count.
#[derive(Debug, Clone)]
pub(super) struct Lu {
    /// P as (P·M)\[i\] = M\[rows\[i\]\].
    pub rows: Vec<usize>,
    pub lower: Array2<f64>,
    pub upper: Array2<f64>,
    pub log_s: Vec<f64>,
    pub sign_s: Vec<f64>,
}

impl Lu {
    /// L·(U + diag), without P.
    fn product(lower: &Array2<f64>, upper: &Array2<f64>, log_s: &[f64], sign_s: &[f64]) -> Array2<f64> {
        let n = log_s.len();
        let l = Array2::from_shape_fn((n, n), |(i, j)| match i.cmp(&j) {
            std::cmp::Ordering::Greater => lower[[i, j]],
            std::cmp::Ordering::Equal => 1.0,
            std::cmp::Ordering::Less => 0.0,
        });
        let u = Array2::from_shape_fn((n, n), |(i, j)| match i.cmp(&j) {
            std::cmp::Ordering::Less => upper[[i, j]],
            std::cmp::Ordering::Equal => sign_s[i] * log_s[i].exp(),
            std::cmp::Ordering::Greater => 0.0,
        });
        l.dot(&u)
    }
}

/// What stands between actnorm and coupling.
#[derive(Debug, Clone)]
pub(super) enum Mixing {
    Lu(Lu),
    Plain(Array2<f64>),
}

impl Mixing {
    /// Factorised as ours; multiplied out where P is no permutation, as it once was trained.
    pub fn of_factors(factors: Factors) -> Self {
        let Factors { p, lower, upper, log_s, sign_s } = factors;
        match rows_of(&p) {
            Some(rows) if sign_s.iter().all(|sign| sign.abs() == 1.0) => {
                Self::Lu(Lu { rows, lower, upper, log_s, sign_s })
            }
            _ => Self::Plain(p.dot(&Lu::product(&lower, &upper, &log_s, &sign_s))),
        }
    }

    /// Signs of the channels in front: W·diag(σ), exactly of the same form.
    pub fn with_signs(mut self, signs: &[f64]) -> Self {
        let flip = |matrix: &mut Array2<f64>| {
            matrix.columns_mut().into_iter().zip(signs).for_each(|(mut column, &sign)| column *= sign);
        };
        match &mut self {
            Self::Plain(matrix) => flip(matrix),
            Self::Lu(lu) => {
                flip(&mut lu.upper);
                lu.sign_s.iter_mut().zip(signs).for_each(|(sign, flipped)| *sign *= flipped);
            }
        }
        self
    }

    /// W itself, in float64.
    pub fn matrix(&self) -> Array2<f64> {
        match self {
            Self::Plain(matrix) => matrix.clone(),
            Self::Lu(lu) => {
                Lu::product(&lu.lower, &lu.upper, &lu.log_s, &lu.sign_s).select(Axis(0), &lu.rows)
            }
        }
    }

    /// S·W, and with `both` S·W·S, where S lets the two halves of the channels change places.
    pub fn swapped(&self, both: bool) -> Self {
        let matrix = self.matrix();
        let order = swapped(&(0..matrix.nrows()).collect::<Vec<_>>());
        let rows = matrix.select(Axis(0), &order);
        Self::Plain(if both { rows.select(Axis(1), &order) } else { rows })
    }
}

/// A permutation matrix as rows: where each row's one is. `None` if it is no permutation matrix.
fn rows_of(p: &Array2<f64>) -> Option<Vec<usize>> {
    let mut seen = vec![false; p.ncols()];
    let mut rows = Vec::with_capacity(p.nrows());
    for row in p.rows() {
        let column = row.iter().position(|&value| value == 1.0)?;
        let others_are_zero = row.iter().enumerate().all(|(j, &value)| j == column || value == 0.0);
        if !others_are_zero || std::mem::replace(&mut seen[column], true) {
            return None;
        }
        rows.push(column);
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    /// y of our actnorm.
    fn ours(actnorm: &Actnorm, x: &[f64]) -> Vec<f64> {
        let y = x.iter().zip(&actnorm.bias).zip(&actnorm.logs);
        y.map(|((x, bias), logs)| (x + bias) * (3.0 * logs).exp()).collect()
    }

    #[test]
    fn actnorms_of_every_kind() {
        let (a, b, x) = (vec![0.3, -0.7, 0.0], vec![1.5, 0.2, -2.0], [0.4, -1.0, 2.5]);
        let expected =
            |f: &dyn Fn(f64, f64, f64) -> f64| -> Vec<f64> { (0..3).map(|i| f(x[i], a[i], b[i])).collect() };
        let log_scale = Actnorm::of_log_scale(b.clone(), a.clone());
        assert!(close(&ours(&log_scale, &x), &expected(&|x, a, b| (x + b) * a.exp())));
        let affine = Actnorm::of_affine(a.clone(), &b);
        assert!(close(&ours(&affine, &x), &expected(&|x, a, b| a.exp() * x + b)));
        let inverse = Actnorm::of_inverse(&a, &b);
        assert!(close(&ours(&inverse, &x), &expected(&|x, a, b| (x - b) * (-a).exp())));
        assert!(close(&ours(&Actnorm::of_bias(b.clone()), &x), &expected(&|x, _, b| x + b)));
        let (scaled, signs) = Actnorm::of_scale(a.clone(), &b).unwrap();
        let signed: Vec<f64> = ours(&scaled, &x).iter().zip(&signs).map(|(y, sign)| y * sign).collect();
        assert!(close(&signed, &expected(&|x, a, b| b * (x + a))));
        assert!(Actnorm::of_scale(a.clone(), &[1.0, 0.0, 2.0]).is_none());
        let (alpha, beta) = (256.0 / 255.0, 0.5);
        let theirs: Vec<f64> = x.iter().map(|x| alpha * x + beta).collect();
        let preprocessed = log_scale.clone().after_preprocessing(alpha, beta);
        assert!(close(&ours(&preprocessed, &x), &ours(&log_scale, &theirs)));
        assert!(close(&log_scale.constant(), &ours(&log_scale, &[0.0; 3])));
    }

    fn factors() -> Factors {
        Factors {
            p: array![[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]],
            // 9 stands where nothing counts.
            lower: array![[9.0, 9.0, 9.0], [0.5, 9.0, 9.0], [-1.0, 2.0, 9.0]],
            upper: array![[9.0, 0.3, -0.4], [9.0, 9.0, 1.5], [9.0, 9.0, 9.0]],
            log_s: vec![0.1, -0.2, 0.3],
            sign_s: vec![1.0, -1.0, 1.0],
        }
    }

    fn by_hand() -> Array2<f64> {
        let Factors { p, .. } = factors();
        let l = array![[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-1.0, 2.0, 1.0]];
        let u = array![[0.1f64.exp(), 0.3, -0.4], [0.0, -(-0.2f64).exp(), 1.5], [0.0, 0.0, 0.3f64.exp()]];
        p.dot(&l).dot(&u)
    }

    fn mixing() -> Mixing {
        Mixing::of_factors(factors())
    }

    #[test]
    fn factors_compose_and_take_signs() {
        let w = by_hand();
        assert!(matches!(mixing(), Mixing::Lu(_)));
        assert!((mixing().matrix() - &w).iter().all(|d| d.abs() < 1e-14));
        let signs = [1.0, -1.0, -1.0];
        let flipped = &w * &ndarray::Array1::from(signs.to_vec());
        for mixing in [mixing(), Mixing::Plain(w.clone())] {
            assert!((mixing.with_signs(&signs).matrix() - &flipped).iter().all(|d| d.abs() < 1e-14));
        }
        let mut trained = factors();
        trained.p[[0, 0]] = 0.1;
        let trained = Mixing::of_factors(trained);
        assert!(matches!(trained, Mixing::Plain(_)), "a P that is no permutation is multiplied out");
    }

    #[test]
    fn swapping_halves_is_a_matrix() {
        let w = Array2::from_shape_fn((4, 4), |(i, j)| (i * 4 + j) as f64);
        let s =
            array![[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]];
        let plain = Mixing::Plain(w.clone());
        assert_eq!(plain.swapped(false).matrix(), s.dot(&w));
        assert_eq!(plain.swapped(true).matrix(), s.dot(&w).dot(&s));
        assert_eq!(swapped(&[1, 2, 3, 4]), [3, 4, 1, 2]);
    }

    #[test]
    fn chunks_interleave_and_signs_change() {
        let conv = ZerosConv {
            weight: Array4::from_shape_fn((4, 2, 1, 1), |(o, i, ..)| (10 * o + i) as f64),
            output: Actnorm { bias: vec![0.0, 1.0, 2.0, 3.0], logs: vec![4.0, 5.0, 6.0, 7.0] },
        };
        let even = conv.clone().interleaved(Chunks::EvenFirst);
        assert_eq!(even.output.bias, [0.0, 2.0, 1.0, 3.0]);
        assert_eq!(even.weight.iter().copied().collect::<Vec<_>>(), [0., 1., 20., 21., 10., 11., 30., 31.]);
        let odd = conv.clone().interleaved(Chunks::OddFirst);
        assert_eq!((odd.output.bias, odd.output.logs), (vec![2.0, 0.0, 3.0, 1.0], vec![6.0, 4.0, 7.0, 5.0]));
        assert_eq!(conv.clone().negated(2).output.bias, [0.0, 1.0, -2.0, 3.0]);
        assert_eq!(conv.clone().negated(1).weight, -&conv.weight);
        let padded = conv.padded_with_ones();
        assert_eq!(padded.weight.slice(s![.., 2, 0, 0]).to_vec(), [1.0, 21.0, 41.0, 61.0]);
        assert_eq!(interleaved(&[1.0, 2.0], &[3.0, 4.0]), [1.0, 3.0, 2.0, 4.0]);
    }
}
