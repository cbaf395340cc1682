//! Actnorm and permutation of a step as one affine map of the channels, and as the convolutions that
//! stand in the graphs.
use super::lu::Plu;
use super::{Layout, scale};
use crate::ExportError;
use crate::parameters::Parameters;
use glow_models::{Architecture, LOGSCALE_FACTOR, Permutation};
use ndarray::{Array1, Array2, Array4, Axis};

/// y = encode · x + encode_bias, and back: x = decode · y + decode_bias.
pub(super) struct Affine {
    encode: Array2<f64>,
    encode_bias: Array1<f64>,
    decode: Array2<f64>,
    decode_bias: Array1<f64>,
    /// log|det| of the map at one position.
    pub log_det: f64,
}

/// Weight and bias of a convolution.
pub(super) struct Conv {
    pub weight: Array4<f64>,
    pub bias: Array1<f64>,
}

impl Affine {
    /// With s = exp(3·logs) and b the actnorm's bias: y = W·diag(s)·x + W·(s·b),
    /// x = diag(1/s)·W⁻¹·y − b.
    pub fn fold(parameters: &Parameters, step: &str, channels: usize) -> Result<Self, ExportError> {
        let permutation = permutation(parameters, &format!("{step}.permutation"), channels);
        let inverse = permutation
            .inverse()
            .ok_or_else(|| ExportError::Singular { layer: format!("{step}.permutation") })?;
        let logs = parameters.vector(&format!("{step}.actnorm.logs"));
        let bias = parameters.vector(&format!("{step}.actnorm.bias"));
        let scale = scale(logs.view());
        let encode = permutation.matrix() * &scale;
        Ok(Self {
            encode_bias: encode.dot(&bias),
            encode,
            decode: inverse / &scale.insert_axis(Axis(1)),
            decode_bias: -bias,
            log_det: LOGSCALE_FACTOR * logs.sum() + permutation.log_abs_det(),
        })
    }

    /// The convolutions of a step behind another one: C' channels to C' channels.
    pub fn within(&self, layout: Layout) -> (Conv, Conv) {
        let place = |matrix: &Array2<f64>, bias: &Array1<f64>| {
            let mut conv = with_ones(layout, layout.total());
            for ((row, column), &value) in matrix.indexed_iter() {
                conv.weight[[layout.position(row), layout.position(column), 0, 0]] = value;
            }
            for (row, &value) in bias.indexed_iter() {
                conv.bias[layout.position(row)] = value;
            }
            conv
        };
        (place(&self.encode, &self.encode_bias), place(&self.decode, &self.decode_bias))
    }

    /// The convolutions of a level's first step, next to z1 and the ones of the level before.
    pub fn at_squeeze(&self, layout: Layout, before: Layout) -> (Conv, Conv) {
        let (inputs, ones) = (before.half(), before.ones);
        (self.squeeze(layout, inputs, ones), self.unsqueeze(layout, inputs, ones))
    }

    /// The convolutions of the first step of all, next to the image. The encoder's takes dequantised
    /// pixels v in [0, 2^n_bits), of which the flow's own value is x = v / 2^n_bits − 0.5.
    pub fn at_image(&self, layout: Layout, architecture: &Architecture) -> (Conv, Conv) {
        let mut encode = self.squeeze(layout, architecture.channels, 0);
        for (row, sum) in self.encode.sum_axis(Axis(1)).indexed_iter() {
            encode.bias[layout.position(row)] -= 0.5 * sum;
        }
        encode.weight /= f64::from(architecture.bins());
        (encode, self.unsqueeze(layout, architecture.channels, 0))
    }

    /// Squeeze and encode in one: a 2×2 convolution of stride 2. The squeeze's channel order is (channel,
    /// row offset, column offset), which is the order of a kernel's last three axes.
    fn squeeze(&self, layout: Layout, inputs: usize, ones: usize) -> Conv {
        let mut conv = with_ones(layout, inputs + ones);
        let mut weight = Array4::zeros((layout.total(), inputs + ones, 2, 2));
        for ((row, column), &value) in self.encode.indexed_iter() {
            weight[[layout.position(row), column / 4, column / 2 % 2, column % 2]] = value;
        }
        for (row, &value) in self.encode_bias.indexed_iter() {
            conv.bias[layout.position(row)] = value;
        }
        Conv { weight, bias: conv.bias }
    }

    /// Decode in front of the un-squeeze, which turns four channels into one of twice the size.
    fn unsqueeze(&self, layout: Layout, outputs: usize, ones: usize) -> Conv {
        let mut weight = Array4::zeros((4 * (outputs + ones), layout.total(), 1, 1));
        let mut bias = Array1::zeros(4 * (outputs + ones));
        for ((row, column), &value) in self.decode.indexed_iter() {
            weight[[row, layout.position(column), 0, 0]] = value;
        }
        for (row, value) in bias.indexed_iter_mut() {
            *value = self.decode_bias.get(row).copied().unwrap_or(1.0);
        }
        Conv { weight, bias }
    }
}

/// A 1×1 convolution from `inputs` channels that gives nothing yet but the ones.
fn with_ones(layout: Layout, inputs: usize) -> Conv {
    let mut bias = Array1::zeros(layout.total());
    bias.slice_mut(ndarray::s![layout.half()..layout.first()]).fill(1.0);
    Conv { weight: Array4::zeros((layout.total(), inputs, 1, 1)), bias }
}

/// z1 as it is, with the channels of ones behind it.
pub(super) fn append_ones(layout: Layout) -> Conv {
    let (first, half) = (layout.first(), layout.half());
    let weight = Array4::from_shape_fn((first, half, 1, 1), |(row, column, _, _)| f64::from(row == column));
    Conv { weight, bias: Array1::from_shape_fn(first, |row| f64::from(row >= half)) }
}

/// W of a permutation layer, whichever kind it is.
fn permutation(parameters: &Parameters, layer: &str, channels: usize) -> Plu {
    match parameters.architecture().permutation {
        Permutation::Reverse => Plu::permutation((0..channels).rev().collect()),
        Permutation::Shuffle => {
            Plu::permutation(parameters.permutation(&format!("{layer}.indices")).to_vec())
        }
        Permutation::Invconv => {
            let mut upper = parameters.matrix(&format!("{layer}.upper"));
            let log_s = parameters.vector(&format!("{layer}.log_s"));
            upper.diag_mut().assign(&(parameters.vector(&format!("{layer}.sign_s")) * log_s.exp()));
            let rows = parameters.permutation(&format!("{layer}.rows")).to_vec();
            Plu::new(rows, parameters.matrix(&format!("{layer}.lower")), upper)
        }
        Permutation::InvconvPlain => Plu::factorise(parameters.matrix(&format!("{layer}.weight"))),
    }
}
