//! The data-dependent initialisation of every actnorm, layer by layer in encoding order (paper, section
//! 3.1).
//!
//! A layer can only be initialised when all before it are, and needs the whole batch. The batch passes
//! through each layer in chunks, so that memory holds the flow's z of all images, but a network's wide
//! activations of one chunk only. The statistics do not depend on the chunks but for rounding in double.
use super::actnorm::Actnorm;
use super::glow::{Glow, Level};
use super::network::CouplingNetwork;
use super::rows::to_rows;
use super::squeeze::halves;
use crate::torch::no_grad;
use glow_models::LOGSCALE_FACTOR;
use std::convert::Infallible;
use tch::{Kind, Tensor};

/// Added to the standard deviation: a constant channel stays finite.
const STD_EPSILON: f64 = 1e-6;
/// Most numbers in a chunk's activations, unless one image alone has more.
const CHUNK_NUMBERS: f64 = 16e6;

impl Glow {
    /// Sets every actnorm from a batch x [N, C, H, W], so that its output has mean 0 and standard deviation
    /// 1 in each channel. Without gradients.
    ///
    /// # Panics
    /// If libtorch fails: x has another shape or element type than the model, or memory runs out.
    pub fn initialise_actnorm(&self, x: &Tensor) {
        self.initialise_in_chunks(x, CHUNK_NUMBERS);
    }

    fn initialise_in_chunks(&self, x: &Tensor, chunk_numbers: f64) {
        let hidden = self.architecture().hidden as f64;
        no_grad(|| {
            let Ok(_) = self.walk(x, |_, level, z| {
                // Of a pixel: the patch of z1, and two hidden layers.
                let numbers = 9.0 * z.size()[1] as f64 / 2.0 + 2.0 * hidden;
                let images = z.size()[0] as f64;
                let chunks = (images * level.pixels * numbers / chunk_numbers).ceil().clamp(1.0, images);
                Ok::<_, Infallible>(level.initialise(z, chunks as i64))
            });
        });
    }
}

impl Level {
    /// Sets the actnorms from z [N, C, H, W], step by step, and returns the output of the last step.
    fn initialise(&self, mut z: Tensor, chunks: i64) -> Tensor {
        for (index, (actnorm, step)) in self.linear.actnorms.iter().zip(&self.steps).enumerate() {
            actnorm.initialise(z.chunk(chunks, 0).iter().map(to_rows));
            let map = self.linear.maps_of(index..index + 1).forward(z.kind()).remove(0);
            let inputs: Vec<Tensor> = z.chunk(chunks, 0).iter().map(|z| map.apply(z)).collect();
            step.coupling.network.initialise(&inputs.iter().map(|z| halves(z).0).collect::<Vec<_>>());
            let outputs: Vec<Tensor> = inputs.iter().map(|z| step.coupling.forward(z).0).collect();
            z = Tensor::cat(&outputs, 0);
        }
        z
    }
}

impl CouplingNetwork {
    /// Sets both actnorms from the network's inputs [n, C, H, W], one tensor a chunk.
    fn initialise(&self, chunks: &[Tensor]) {
        for (layer, actnorm) in self.actnorms().into_iter().enumerate() {
            // While the actnorm is the identity, its layer's output is its own input.
            actnorm.reset();
            actnorm.initialise(chunks.iter().map(|x| self.hidden(x, layer)));
        }
    }
}

impl Actnorm {
    /// Makes it the identity.
    fn reset(&self) {
        let _ = self.bias.shallow_clone().zero_();
        let _ = self.logs.shallow_clone().zero_();
    }

    /// bias = −mean, exp(3·logs) = 1/(std + 1e-6), over the inputs [M, C], one tensor a chunk.
    fn initialise(&self, inputs: impl Iterator<Item = Tensor>) {
        let moments = inputs.map(|rows| Moments::new(&rows)).reduce(Moments::merge);
        let moments = moments.expect("a batch has at least one image");
        let std = (moments.squares / moments.count).sqrt();
        self.bias.shallow_clone().copy_(&-moments.mean);
        self.logs.shallow_clone().copy_(&(-(std + STD_EPSILON).log() / LOGSCALE_FACTOR));
    }
}

/// Mean and sum of squared deviations of each channel [C], in double.
struct Moments {
    count: f64,
    mean: Tensor,
    squares: Tensor,
}

impl Moments {
    /// Those of rows [M, C].
    fn new(rows: &Tensor) -> Self {
        let rows = rows.to_kind(Kind::Double);
        let mean = rows.mean_dim([0i64].as_slice(), false, Kind::Double);
        let squares = (&rows - &mean).square_().sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
        Self { count: rows.size()[0] as f64, mean, squares }
    }

    /// Those of both together (Chan, Golub & LeVeque 1983).
    fn merge(self, other: Self) -> Self {
        let count = self.count + other.count;
        let difference = other.mean - &self.mean;
        let mean = self.mean + &difference * (other.count / count);
        let squares = self.squares + other.squares + difference.square() * (self.count * other.count / count);
        Self { count, mean, squares }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{normal, perturbed};
    use super::super::{Parameters, initialise::*};
    use glow_models::{Architecture, Coupling};
    use tch::Device;

    fn architecture() -> Architecture {
        let coupling = Coupling::Affine;
        Architecture { height: 8, width: 16, levels: 2, depth: 2, hidden: 6, coupling, ..Default::default() }
    }

    /// Mean 0 and deviation 1 of every channel of rows [M, C].
    fn is_normalised(rows: &Tensor, layer: &str) {
        let moments = Moments::new(rows);
        let std = (moments.squares / moments.count).sqrt();
        let off = moments.mean.abs().max().double_value(&[]).max((std - 1.0).abs().max().double_value(&[]));
        assert!(off < 1e-4, "{layer} is {off} off");
    }

    /// Last convolutions are not zero here, so that every layer's input depends on all before it.
    #[test]
    fn every_actnorm_of_the_flow_and_of_the_networks_gives_mean_0_and_deviation_1() {
        let parameters = perturbed(&architecture(), 0.2);
        let glow = Glow::new(&architecture(), &parameters);
        let x = normal(&[32, 3, 8, 16], 1) * 0.2 + 0.1;
        glow.initialise_actnorm(&x);
        let mut seen = 0;
        let Ok(_) = glow.walk(&x, |_, level, mut z| {
            let maps = level.linear.maps().forward(z.kind());
            for ((actnorm, step), map) in level.linear.actnorms.iter().zip(&level.steps).zip(&maps) {
                is_normalised(&((to_rows(&z) + &actnorm.bias) * actnorm.scale()), &step.name);
                z = map.apply(&z);
                for layer in [0, 1] {
                    let output = step.coupling.network.hidden(&halves(&z).0, layer);
                    is_normalised(&output, &format!("{}, hidden layer {layer}", step.name));
                }
                z = step.coupling.forward(&z).0;
                seen += 3;
            }
            Ok::<_, Infallible>(z)
        });
        let names = parameters.list().iter().filter(|p| p.name.ends_with("actnorm.logs"));
        assert_eq!(seen, names.count());
    }

    #[test]
    fn chunks_do_not_change_the_statistics() {
        let x = normal(&[7, 3, 8, 16], 2);
        let initialised = |chunk_numbers| {
            let parameters = perturbed(&architecture(), 0.2);
            Glow::new(&architecture(), &parameters).initialise_in_chunks(&x, chunk_numbers);
            parameters.flat()
        };
        let whole = initialised(f64::INFINITY);
        for chunk_numbers in [1.0, 8.0 * 4.0 * 2.0 * 40.0] {
            let off = (initialised(chunk_numbers) - &whole).abs().max().double_value(&[]);
            assert!(off < 1e-11, "{off}");
        }
    }

    #[test]
    fn a_constant_channel_stays_finite() {
        let parameters = Parameters::initial(&architecture(), 0, Device::Cpu, Kind::Float);
        let glow = Glow::new(&architecture(), &parameters);
        let x = Tensor::zeros([4, 3, 8, 16], (Kind::Float, Device::Cpu));
        glow.initialise_actnorm(&x);
        assert_eq!(glow.first_not_finite(&x, None), None);
    }
}
