//! A convolution in the arithmetic that a number format is emulated in.
use ndarray::{Array2, Array4, LinalgScalar, s};

/// The convolution of maps \[inputs, N, h, w\] with a kernel \[outputs, inputs, k, k\], without bias, as a matrix
/// product with the unrolled input; maps \[outputs, N, h, w\]. k is 3, with zero padding, or 1.
pub(super) fn convolve<T: LinalgScalar>(weight: &Array4<T>, x: &Array4<T>) -> Array4<T> {
    let (outputs, inputs, kernel, _) = weight.dim();
    let (_, n, height, width) = x.dim();
    let taps = kernel * kernel;
    let mut unrolled = Array2::zeros((inputs * taps, n * height * width));
    for (row, mut line) in unrolled.outer_iter_mut().enumerate() {
        let (input, tap) = (row / taps, row % taps);
        // Where the kernel's tap meets the map: output y reads row y + dy.
        let shift = |offset: usize, size: usize| {
            let offset = offset as isize - (kernel / 2) as isize;
            let from = (-offset).max(0) as usize;
            let to = (size as isize - offset.max(0)).max(from as isize) as usize;
            (from..to, (from as isize + offset) as usize..(to as isize + offset) as usize)
        };
        let ((to_y, from_y), (to_x, from_x)) = (shift(tap / kernel, height), shift(tap % kernel, width));
        let mut line = line.view_mut().into_shape_with_order((n, height, width)).expect("as many numbers");
        line.slice_mut(s![.., to_y, to_x]).assign(&x.slice(s![input, .., from_y, from_x]));
    }
    let weight = weight.to_shape((outputs, inputs * taps)).expect("as many weights");
    weight.dot(&unrolled).into_shape_with_order((outputs, n, height, width)).expect("as many numbers")
}
