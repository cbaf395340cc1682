//! The convolutions of coupling networks and priors, with the border channel in the flesh.
use crate::parameters::Parameters;
use ndarray::{Array1, Array2, Array3, Array4, ArrayView3, Axis, s};

/// Most numbers in the unrolled input of a convolution, 64 MiB.
const UNROLLED: usize = 1 << 23;

/// NN(z1): conv 3×3, actnorm, ReLU, conv 1×1, actnorm, ReLU, zeros conv 3×3 (paper, section 3.3).
pub(super) fn coupling(parameters: &Parameters, name: &str, z1: ArrayView3<'_, f64>) -> Array3<f64> {
    let h = conv3x3(parameters, &parameters.kernel(&format!("{name}.conv1.weight")), z1);
    let h = relu(actnorm(parameters, &format!("{name}.conv1"), h));
    let weight = parameters.kernel(&format!("{name}.conv2.weight"));
    let h = valid_conv(&weight, h.view());
    let h = relu(actnorm(parameters, &format!("{name}.conv2"), h));
    zeros_conv(parameters, &format!("{name}.conv3"), h.view())
}

/// (conv 3×3 + bias) · exp(3·logs).
pub(super) fn zeros_conv(parameters: &Parameters, name: &str, x: ArrayView3<'_, f64>) -> Array3<f64> {
    let h = conv3x3(parameters, &parameters.kernel(&format!("{name}.weight")), x);
    finish_zeros(parameters, name, h)
}

/// The zeros conv of a map of zeros. Of its weights only those of the border channel are ever stored.
pub(super) fn top_conv(parameters: &Parameters, height: usize, width: usize) -> Array3<f64> {
    let nothing = Array3::zeros((0, height, width));
    let h = if parameters.architecture().edge_bias {
        conv3x3(parameters, &parameters.kernel("top.edge"), nothing.view())
    } else {
        Array3::zeros((parameters.vector("top.bias").len(), height, width))
    };
    finish_zeros(parameters, "top", h)
}

fn finish_zeros(parameters: &Parameters, name: &str, h: Array3<f64>) -> Array3<f64> {
    let vector = |part| column(parameters.vector(&format!("{name}.{part}")));
    (h + vector("bias")) * vector("logs").mapv(|logs| (3.0 * logs).exp())
}

fn actnorm(parameters: &Parameters, conv: &str, h: Array3<f64>) -> Array3<f64> {
    let vector = |part| column(parameters.vector(&format!("{conv}.actnorm.{part}")));
    (h + vector("bias")) * vector("logs").mapv(|logs| (3.0 * logs).exp())
}

fn column(vector: Array1<f64>) -> Array3<f64> {
    vector.insert_axis(Axis(1)).insert_axis(Axis(2))
}

fn relu(h: Array3<f64>) -> Array3<f64> {
    h.mapv_into(|value| value.max(0.0))
}

/// Zero padding by 1 (and, with edge bias, one more channel: 1 on the padding, 0 inside), then the
/// convolution over what is there.
fn conv3x3(parameters: &Parameters, weight: &Array4<f64>, x: ArrayView3<'_, f64>) -> Array3<f64> {
    let (channels, height, width) = x.dim();
    let all = parameters.architecture().conv_inputs(channels);
    let mut padded = Array3::zeros((all, height + 2, width + 2));
    padded.slice_mut(s![..channels, 1..=height, 1..=width]).assign(&x);
    if all > channels {
        padded.slice_mut(s![channels, .., ..]).fill(1.0);
        padded.slice_mut(s![channels, 1..=height, 1..=width]).fill(0.0);
    }
    valid_conv(weight, padded.view())
}

/// A convolution without padding as a matrix product with the unrolled input, some rows at a time.
fn valid_conv(weight: &Array4<f64>, x: ArrayView3<'_, f64>) -> Array3<f64> {
    let (outputs, inputs, rows, columns) = weight.dim();
    let (height, width) = (x.dim().1 + 1 - rows, x.dim().2 + 1 - columns);
    let taps = inputs * rows * columns;
    let matrix = weight.to_shape((outputs, taps)).expect("as many numbers");
    let mut y = Array3::zeros((outputs, height, width));
    let block = (UNROLLED / (taps * width)).clamp(1, height);
    for top in (0..height).step_by(block) {
        let block = block.min(height - top);
        let mut unrolled = Array2::zeros((taps, block * width));
        for (tap, mut line) in unrolled.outer_iter_mut().enumerate() {
            let (input, row, column) = (tap / (rows * columns), tap / columns % rows, tap % columns);
            let window = x.slice(s![input, top + row..top + row + block, column..column + width]);
            line.iter_mut().zip(window).for_each(|(to, &from)| *to = from);
        }
        let product = matrix.dot(&unrolled);
        let product = product.into_shape_with_order((outputs, block, width)).expect("as many numbers");
        y.slice_mut(s![.., top..top + block, ..]).assign(&product);
    }
    y
}
