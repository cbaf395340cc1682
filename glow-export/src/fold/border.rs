//! What a 3×3 convolution makes of the channel that marks the padded border.
use ndarray::{Array3, Array4, ArrayView4};

/// Response, [1, outputs, height, width], of a kernel [outputs, 1, 3, 3] to an input that is 1 on a
/// border one wide around the map and 0 inside.
pub(super) fn response(kernel: ArrayView4<'_, f64>, height: usize, width: usize) -> Array4<f64> {
    // Row 0 of the padded input is border, so are row h + 1 and the columns alike.
    let outside = |y: usize, x: usize| y == 0 || y > height || x == 0 || x > width;
    Array4::from_shape_fn((1, kernel.dim().0, height, width), |(_, output, y, x)| {
        taps().filter(|&(dy, dx)| outside(y + dy, x + dx)).map(|(dy, dx)| kernel[[output, 0, dy, dx]]).sum()
    })
}

/// The same as two terms of a zero-padded convolution over z1 and a channel of ones: the weights that
/// the ones get, [outputs, 3, 3], and what is added to the bias; border = 1 − inside.
pub(super) fn as_ones(kernel: ArrayView4<'_, f64>) -> (Array3<f64>, ndarray::Array1<f64>) {
    let weight = kernel.index_axis(ndarray::Axis(1), 0).mapv(|value| -value);
    let bias = -weight.sum_axis(ndarray::Axis(2)).sum_axis(ndarray::Axis(1));
    (weight, bias)
}

fn taps() -> impl Iterator<Item = (usize, usize)> {
    (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx)))
}
