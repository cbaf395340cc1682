//! The flow in float64, straight from a checkpoint: layer by layer as the paper and the published code
//! have it, and with none of the folding, so that it can judge what was folded.
mod linear;
mod network;

use crate::ExportError;
use crate::parameters::Parameters;
use glow_models::{Architecture, Checkpoint, Coupling, Weights};
use linear::Mixing;
use ndarray::{Array1, Array3, ArrayView3, Axis, Zip, concatenate, s};
use std::f64::consts::PI;

/// A Glow in float64 on [`ndarray`], one image at a time: slow, and exact to about 1e-12.
///
/// Images and latents are [channels, rows, columns]. x = v / 2^n_bits − 0.5 for a dequantised pixel v in
/// [0, 2^n_bits).
#[derive(Debug)]
pub struct Reference {
    parameters: Parameters,
    mixings: Vec<Vec<Mixing>>,
}

/// Evaluates a step's coupling network: the step's name and z1 \[C/2, h, w\] to the network's output
/// \[C/2 or C, h, w\], as [`Reference::network`] does exactly. Others stand in to watch, or to round.
pub(crate) type Networks<'a> = dyn FnMut(&str, ArrayView3<'_, f64>) -> Array3<f64> + 'a;

/// What [`Reference::encode`] gives.
#[derive(Debug, Clone)]
pub struct ReferenceEncoding {
    /// The latents, `eps_0` first.
    pub eps: Vec<Array3<f64>>,
    /// log|det ∂eps/∂x|, the scales of the priors included.
    pub log_det: f64,
    /// log p(image) in nats: log N(eps; 0, 1) + log_det − ln(2^n_bits)·H·W·C (paper, equations 2 and 3).
    pub log_prob: f64,
}

impl Reference {
    /// Takes a checkpoint's parameters.
    ///
    /// # Errors
    /// A parameter is not finite, a fixed permutation is none, or a 1×1 convolution is singular.
    pub fn new(checkpoint: &Checkpoint, weights: Weights) -> Result<Self, ExportError> {
        Self::from_parameters(Parameters::load(checkpoint, weights.into())?)
    }

    pub(crate) fn from_parameters(parameters: Parameters) -> Result<Self, ExportError> {
        let architecture = parameters.architecture();
        let mut mixings = Vec::new();
        for (level, shape) in architecture.level_shapes().iter().enumerate() {
            let steps = (0..architecture.depth).map(|step| {
                let layer = format!("{}.permutation", Architecture::step_name(level, step));
                Mixing::new(&parameters, &layer, shape.channels).ok_or(ExportError::Singular { layer })
            });
            mixings.push(steps.collect::<Result<_, _>>()?);
        }
        Ok(Self { parameters, mixings })
    }

    /// The model's hyperparameters.
    pub fn architecture(&self) -> &Architecture {
        self.parameters.architecture()
    }

    /// x of an image [rows, columns, channels]: floor(image / 2^(8−n_bits)), plus dequantisation noise
    /// in [0, 1), divided by 2^n_bits, minus 0.5. Channels come first in the result.
    pub fn dequantise(&self, image: ArrayView3<'_, u8>, noise: ArrayView3<'_, f32>) -> Array3<f64> {
        let (bins, drop) = (f64::from(self.architecture().bins()), 8 - self.architecture().n_bits);
        let x = Zip::from(image)
            .and(noise)
            .map_collect(|&pixel, &noise| (f64::from(pixel >> drop) + f64::from(noise)) / bins - 0.5);
        x.permuted_axes([2, 0, 1])
    }

    /// The image [rows, columns, channels] of an x: clip(floor((x + 0.5)·2^n_bits)·2^(8−n_bits), 0, 255).
    pub fn quantise(&self, x: ArrayView3<'_, f64>) -> Array3<u8> {
        let bins = f64::from(self.architecture().bins());
        x.permuted_axes([1, 2, 0])
            .mapv(|x| (((x + 0.5) * bins).floor() * (256.0 / bins)).clamp(0.0, 255.0) as u8)
    }

    /// x → latents and log-likelihood.
    ///
    /// # Panics
    /// If `x` has another shape than the model, or a conditional model gets no label or one that it
    /// has no class for.
    pub fn encode(&self, x: ArrayView3<'_, f64>, label: Option<usize>) -> ReferenceEncoding {
        self.encode_through(x, label, &mut |step, z1| self.network(step, z1))
    }

    /// The same with other coupling networks.
    pub(crate) fn encode_through(
        &self,
        x: ArrayView3<'_, f64>,
        label: Option<usize>,
        networks: &mut Networks<'_>,
    ) -> ReferenceEncoding {
        let architecture = self.architecture();
        let (mut x, mut log_det, mut eps) = (x.to_owned(), 0.0, Vec::new());
        for (level, shape) in architecture.level_shapes().iter().enumerate() {
            x = squeeze(x.view());
            let positions = (shape.height * shape.width) as f64;
            for (step, mixing) in self.mixings[level].iter().enumerate() {
                let name = Architecture::step_name(level, step);
                let (bias, logs) = self.actnorm(&name);
                x = (x + over_channels(&bias)) * over_channels(&logs).exp();
                x = mixing.encode(&x);
                log_det += positions * (logs.sum() + mixing.log_det);
                let (z1, mut z2) = halves(&x);
                let (shift, log_scale) = self.coupling(networks(&name, z1.view()));
                z2 = (z2 + shift) * log_scale.exp();
                log_det += log_scale.sum();
                x = join(&z1, &z2);
            }
            let (mean, logs);
            if shape.splits {
                let (z1, z2) = halves(&x);
                (mean, logs) = self.split_prior(level, z1.view());
                eps.push((z2 - mean) * logs.mapv(|logs| (-logs).exp()));
                x = z1;
            } else {
                (mean, logs) = self.top_prior(label);
                eps.push((&x - mean) * logs.mapv(|logs| (-logs).exp()));
            }
            log_det -= logs.sum();
        }
        let dims = architecture.dims() as f64;
        let squares: f64 = eps.iter().flatten().map(|eps| eps * eps).sum();
        let log_prob =
            -0.5 * (squares + dims * (2.0 * PI).ln()) + log_det - dims * f64::from(architecture.bins()).ln();
        ReferenceEncoding { eps, log_det, log_prob }
    }

    /// Latents → x.
    ///
    /// # Panics
    /// If `eps` has another shape than the model's latents, or the label is as in
    /// [`Reference::encode`].
    pub fn decode(&self, eps: &[Array3<f64>], label: Option<usize>) -> Array3<f64> {
        self.decode_through(eps, label, &mut |step, z1| self.network(step, z1))
    }

    /// The same with other coupling networks.
    pub(crate) fn decode_through(
        &self,
        eps: &[Array3<f64>],
        label: Option<usize>,
        networks: &mut Networks<'_>,
    ) -> Array3<f64> {
        let levels = self.architecture().level_shapes();
        assert_eq!(eps.len(), levels.len(), "one latent a level");
        let mut x = Array3::zeros((0, 0, 0));
        for (level, shape) in levels.iter().enumerate().rev() {
            if shape.splits {
                let (mean, logs) = self.split_prior(level, x.view());
                x = join(&x, &(mean + &eps[level] * logs.exp()));
            } else {
                let (mean, logs) = self.top_prior(label);
                x = mean + &eps[level] * logs.exp();
            }
            for (step, mixing) in self.mixings[level].iter().enumerate().rev() {
                let name = Architecture::step_name(level, step);
                let (z1, mut z2) = halves(&x);
                let (shift, log_scale) = self.coupling(networks(&name, z1.view()));
                z2 = z2 * log_scale.mapv(|log_scale| (-log_scale).exp()) - shift;
                x = mixing.decode(&join(&z1, &z2));
                let (bias, logs) = self.actnorm(&name);
                x = x * over_channels(&logs).mapv(|logs| (-logs).exp()) - over_channels(&bias);
            }
            x = unsqueeze(x.view());
        }
        x
    }

    /// An actnorm's bias and 3·logs.
    fn actnorm(&self, step: &str) -> (Array1<f64>, Array1<f64>) {
        let vector = |part| self.parameters.vector(&format!("{step}.actnorm.{part}"));
        (vector("bias"), 3.0 * vector("logs"))
    }

    /// A step's coupling network of z1: the shift, or of an affine coupling the shift in the even channels
    /// and the raw scale in the odd ones.
    pub(crate) fn network(&self, step: &str, z1: ArrayView3<'_, f64>) -> Array3<f64> {
        network::coupling(&self.parameters, &format!("{step}.coupling"), z1)
    }

    /// Shift and log scale that a network's output means; the log scale of an additive coupling is 0.
    fn coupling(&self, h: Array3<f64>) -> (Array3<f64>, Array3<f64>) {
        match self.architecture().coupling {
            Coupling::Additive => {
                let log_scale = Array3::zeros(h.dim());
                (h, log_scale)
            }
            Coupling::Affine => {
                // log sigmoid(t) = −ln(1 + e^−t)
                let log_scale = h.slice(s![1..;2, .., ..]).mapv(|raw| -(-(raw + 2.0)).exp().ln_1p());
                (h.slice(s![..;2, .., ..]).to_owned(), log_scale)
            }
        }
    }

    /// Mean and log scale of z2 given z1.
    fn split_prior(&self, level: usize, z1: ArrayView3<'_, f64>) -> (Array3<f64>, Array3<f64>) {
        let h = network::zeros_conv(&self.parameters, &format!("level{level}.split"), z1);
        (h.slice(s![..;2, .., ..]).to_owned(), h.slice(s![1..;2, .., ..]).to_owned())
    }

    /// Mean and log scale of the top z.
    fn top_prior(&self, label: Option<usize>) -> (Array3<f64>, Array3<f64>) {
        let architecture = self.architecture();
        let top = *architecture.level_shapes().last().expect("at least one level");
        let mut h = Array3::zeros((2 * top.channels, top.height, top.width));
        if architecture.learn_top {
            h += &network::top_conv(&self.parameters, top.height, top.width);
        }
        if architecture.classes > 0 {
            let label = label.expect("a conditional model needs a label");
            let column = self.parameters.matrix("top.label.weight").column(label).to_owned();
            let scale = (3.0 * self.parameters.vector("top.label.logs")).exp();
            h += &over_channels(&((column + self.parameters.vector("top.label.bias")) * scale));
        }
        halves(&h)
    }
}

/// (c, 2h, 2w) to (4c, h, w): the original channel slowest, then the row offset, then the column's.
fn squeeze(x: ArrayView3<'_, f64>) -> Array3<f64> {
    let (channels, height, width) = x.dim();
    Array3::from_shape_fn((4 * channels, height / 2, width / 2), |(c, i, j)| {
        x[[c / 4, 2 * i + c % 4 / 2, 2 * j + c % 2]]
    })
}

fn unsqueeze(x: ArrayView3<'_, f64>) -> Array3<f64> {
    let (channels, height, width) = x.dim();
    Array3::from_shape_fn((channels / 4, 2 * height, 2 * width), |(c, i, j)| {
        x[[4 * c + 2 * (i % 2) + j % 2, i / 2, j / 2]]
    })
}

fn halves(x: &Array3<f64>) -> (Array3<f64>, Array3<f64>) {
    let (first, second) = x.view().split_at(Axis(0), x.dim().0 / 2);
    (first.to_owned(), second.to_owned())
}

fn join(z1: &Array3<f64>, z2: &Array3<f64>) -> Array3<f64> {
    concatenate(Axis(0), &[z1.view(), z2.view()]).expect("halves of one map")
}

/// A number a channel, to be stretched over all positions.
fn over_channels(vector: &Array1<f64>) -> Array3<f64> {
    vector.clone().insert_axis(Axis(1)).insert_axis(Axis(2))
}
