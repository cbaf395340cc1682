//! What a number format does to the coupling networks, by their emulation: convolution by convolution, and to
//! the flow as a whole.
use super::each_image;
use super::inputs::Images;
use crate::Reference;
use crate::precision::{Emulation, LayerError};
use ndarray::{Array3, ArrayView3, Axis};
use std::collections::BTreeMap;

/// The largest absolute output of each convolution of the coupling networks, by its name.
pub type Peaks = BTreeMap<String, f32>;

/// Outputs are taken for at least so large: smaller ones move z2, whose deviation is about 1, by nothing.
const SMALLEST: f64 = 1e-3;
/// Half a step of half precision, relative.
const HALF_STEP: f64 = 1.0 / 2048.0;

/// What rounding costs, against the float64 evaluation of the checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct Rounding {
    /// The error of the worst convolution on exact inputs, relative to what its weights make of them: √(Σ error² / Σ
    /// (output − bias)²).
    pub layer: f64,
    /// Which it is.
    pub worst: String,
    /// Root mean square of what rounding changes in the latents.
    pub eps: f64,
    /// Root mean square difference of x, in image steps, of the images' own latents.
    pub x: f64,
    /// Mean difference of the images' bits/dim, absolute.
    pub bits_per_dim: f64,
    /// Each image's latents with the emulated networks, one array a level.
    pub emulated: Vec<Vec<Array3<f64>>>,
    /// The largest outputs.
    pub peaks: Peaks,
}

/// Evaluates `images` with exact and with emulated networks.
pub(crate) fn rounding(reference: &Reference, emulation: &Emulation, images: &Images) -> Rounding {
    let architecture = reference.architecture();
    let noise = images.noise();
    let each = each_image(images.len(), |i| {
        let label = images.label(i);
        let x = reference.dequantise(images.pixels.index_axis(Axis(0), i), noise.index_axis(Axis(0), i));
        let mut layers = Vec::new();
        let exact = reference.encode_through(x.view(), label, &mut |step, z1| {
            layers.extend(emulation.layer_errors(step, z1));
            reference.network(step, z1)
        });
        let mut rounded_networks = |step: &str, z1: ArrayView3<'_, f64>| emulation.network(step, z1);
        let rounded = reference.encode_through(x.view(), label, &mut rounded_networks);
        let back = reference.decode_through(&exact.eps, label, &mut rounded_networks);
        let squares: f64 = back.iter().zip(&x).map(|(a, b)| (a - b).powi(2)).sum();
        let bits = [exact.log_prob, rounded.log_prob].map(|nats| architecture.bits_per_dim(nats));
        let pairs = exact.eps.iter().flatten().zip(rounded.eps.iter().flatten());
        let eps_squares: f64 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
        (layers, [eps_squares, squares], bits, rounded.eps)
    });
    let mut layers: BTreeMap<String, LayerError> = BTreeMap::new();
    let (mut squares, mut excess, mut emulated) = ([0.0; 2], 0.0, Vec::new());
    for (image_layers, image_squares, [exact, rounded], eps) in each {
        for (name, layer) in image_layers {
            let sum = layers.entry(name).or_default();
            sum.error += layer.error;
            sum.products += layer.products;
            sum.values += layer.values;
            sum.outputs += layer.outputs;
            sum.largest = sum.largest.max(layer.largest);
        }
        squares.iter_mut().zip(image_squares).for_each(|(sum, squares)| *sum += squares);
        excess += rounded - exact;
        emulated.push(eps);
    }
    // Of an output that is nearly all bias, half a step of half precision may be as much as the rest.
    let relative = |layer: &LayerError| {
        let beyond = layer.error - layer.outputs * HALF_STEP.powi(2);
        let relative = beyond / layer.products.max(layer.values * SMALLEST.powi(2));
        // Not a number stays so: it is within no bound.
        if relative < 0.0 { 0.0 } else { relative.sqrt() }
    };
    let (worst, layer) = layers
        .iter()
        .map(|(name, layer)| (name.clone(), relative(layer)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("a model has steps");
    let [eps, x] = squares.map(|sum: f64| (sum / (images.len() * architecture.dims()) as f64).sqrt());
    Rounding {
        layer,
        worst,
        eps,
        x: x * f64::from(architecture.bins()),
        bits_per_dim: (excess / images.len() as f64).abs(),
        emulated,
        peaks: layers.into_iter().map(|(name, layer)| (name, layer.largest)).collect(),
    }
}
