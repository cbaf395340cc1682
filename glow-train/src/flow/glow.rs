//! The whole flow: squeeze, steps, split, level by level (paper, figure 2).
use super::Parameters;
use super::linear::{LevelLinear, LinearMap, LinearMaps};
use super::network::element;
use super::prior::{Classifier, MissingLabels, SplitPrior, TopPrior};
use super::rows::ConstantColumns;
use super::squeeze::{halves, squeeze, unsqueeze};
use super::step::{Step, StepCache};
use crate::torch::no_grad;
use glow_models::random::{self, Purpose};
use glow_models::{Architecture, LatentShape, LevelShape, NetworkPrecision};
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// What encoding gives.
#[derive(Debug)]
pub struct Encoded {
    /// `eps_0` … `eps_{L-1}`, [N, c, h, w] each; standard normal under the model.
    pub eps: Vec<Tensor>,
    /// `[N]`: log p(image) in nats, the discretisation term included.
    pub log_prob: Tensor,
    /// One `[N]` a level, in nats: its log-determinants and the log density of its eps under their prior.
    /// Their sum and the discretisation term, −ln(2^n_bits)·H·W·C, are `log_prob`.
    pub level_log_prob: Vec<Tensor>,
    /// `[N]`: −log₂ p(label) of the classifier, where the model has classes.
    pub label_bits: Option<Tensor>,
}

impl Encoded {
    pub(super) fn new(
        architecture: &Architecture,
        eps: Vec<Tensor>,
        level_log_prob: Vec<Tensor>,
        label_bits: Option<Tensor>,
    ) -> Self {
        let discretisation = -f64::from(architecture.bins()).ln() * architecture.dims() as f64;
        let log_prob = level_log_prob.iter().sum::<Tensor>() + discretisation;
        Self { eps, log_prob, level_log_prob, label_bits }
    }
}

/// The top z under its prior, and under the classifier where there is one.
pub(super) struct TopScore {
    pub(super) eps: Tensor,
    pub(super) log_prob: Tensor,
    pub(super) label_bits: Option<Tensor>,
}

/// Steps of flow at one size, and the prior of the half that is split off behind them; the last level has
/// no split.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) linear: LevelLinear,
    pub(super) steps: Vec<Step>,
    /// Pixels of an image.
    pub(super) pixels: f64,
    pub(super) split: Option<SplitPrior>,
}

/// What the forward pass of a level gives.
pub(super) struct LevelOutput {
    /// [N, C, H, W], both halves.
    pub(super) z: Tensor,
    /// [N]: the level's log-determinants and the log density of the half that is split off.
    pub(super) log_prob: Tensor,
    /// The eps of the half that is split off.
    pub(super) eps: Option<Tensor>,
}

impl Level {
    fn new(
        parameters: &Parameters,
        architecture: &Architecture,
        precision: NetworkPrecision,
        level: usize,
        shape: &LevelShape,
    ) -> Self {
        let names: Vec<String> =
            (0..architecture.depth).map(|step| Architecture::step_name(level, step)).collect();
        let linear = LevelLinear::new(parameters, architecture, &names);
        let options = {
            let flow = &linear.actnorms[0].bias;
            (flow.kind(), flow.device())
        };
        let size = [shape.height as i64, shape.width as i64];
        let constants = ConstantColumns::new(size, architecture.edge_bias, options, element(precision));
        let step = |name| Step::new(parameters, architecture, precision, constants.share(), name);
        Self {
            linear,
            steps: names.into_iter().map(step).collect(),
            pixels: (shape.height * shape.width) as f64,
            split: shape.splits.then(|| SplitPrior::new(parameters, level)),
        }
    }

    /// The steps and the split of z [N, C, H, W]; `of_steps` are the single maps of `maps`. `keep` is given
    /// what each step leaves for its backward pass.
    pub(super) fn forward(
        &self,
        mut z: Tensor,
        maps: &LinearMaps,
        of_steps: &[LinearMap],
        mut keep: impl FnMut(StepCache),
    ) -> LevelOutput {
        let images = z.size()[0];
        let mut log_prob = (maps.log_det.sum(Kind::Double) * self.pixels).to_kind(z.kind()).repeat([images]);
        for (step, map) in self.steps.iter().zip(of_steps) {
            let (y, log_det, cache) = step.forward(&z, map);
            keep(cache);
            if let Some(log_det) = log_det {
                log_prob += log_det;
            }
            z = y;
        }
        let eps = self.split.as_ref().map(|split| {
            let (z1, z2) = halves(&z);
            let (eps, log_density) = split.given(&z1).score(&z2);
            log_prob += log_density;
            eps
        });
        LevelOutput { z, log_prob, eps }
    }

    /// The inverse of the steps.
    fn inverse(&self, y: Tensor) -> Tensor {
        let inverses = self.linear.maps().inverse(y.kind());
        self.steps.iter().zip(&inverses).rev().fold(y, |y, (step, inverse)| step.inverse(&y, inverse))
    }
}

/// A Glow over given parameters. It shares their memory, so that an optimiser's updates are visible.
#[derive(Debug)]
pub struct Glow {
    architecture: Architecture,
    pub(super) levels: Vec<Level>,
    pub(super) top: TopPrior,
    pub(super) classifier: Option<Classifier>,
}

impl Glow {
    /// The flow of `architecture` over `parameters`, all of it in their element type.
    pub fn new(architecture: &Architecture, parameters: &Parameters) -> Self {
        Self::in_precision(architecture, parameters, NetworkPrecision::Fp32)
    }

    /// Like [`Glow::new`], with the arithmetic of the coupling networks in bfloat16, or on CUDA in TF32, if
    /// `precision` says so. The flow around them stays as it is.
    pub fn in_precision(
        architecture: &Architecture,
        parameters: &Parameters,
        precision: NetworkPrecision,
    ) -> Self {
        let shapes = architecture.level_shapes();
        let level = |(level, shape)| Level::new(parameters, architecture, precision, level, shape);
        Self {
            architecture: architecture.clone(),
            levels: shapes.iter().enumerate().map(level).collect(),
            top: TopPrior::new(parameters, architecture),
            classifier: (architecture.classes > 0).then(|| Classifier::new(parameters)),
        }
    }

    /// The architecture.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Walks through the levels in encoding order, from x [N, C, H, W] to the top z. `visit` takes a level
    /// and its squeezed input, and gives the output of the level's steps, both halves.
    ///
    /// # Errors
    /// The first of `visit`; the walk ends there.
    pub(super) fn walk<E>(
        &self,
        x: &Tensor,
        mut visit: impl FnMut(usize, &Level, Tensor) -> Result<Tensor, E>,
    ) -> Result<Tensor, E> {
        let mut z = x.shallow_clone();
        for (index, level) in self.levels.iter().enumerate() {
            let y = visit(index, level, squeeze(&z))?;
            z = if level.split.is_some() { halves(&y).0 } else { y };
        }
        Ok(z)
    }

    /// Encodes x [N, C, H, W] (see [`dequantize`](super::dequantize)); `labels` `[N]` int64, from 0 to
    /// classes − 1, where the model has classes.
    ///
    /// # Errors
    /// The model has classes, and there are no labels.
    ///
    /// # Panics
    /// If libtorch fails: x has another shape or element type than the model, a label is out of range, or
    /// memory runs out.
    pub fn encode(&self, x: &Tensor, labels: Option<&Tensor>) -> Result<Encoded, MissingLabels> {
        let mut eps = Vec::with_capacity(self.levels.len());
        let mut level_log_prob = Vec::with_capacity(self.levels.len());
        let z = self.walk(x, |_, level, z| {
            let maps = level.linear.maps();
            let output = level.forward(z, &maps, &maps.forward(x.kind()), drop);
            level_log_prob.push(output.log_prob);
            eps.extend(output.eps);
            Ok(output.z)
        })?;
        let top = self.score_top(&z, labels)?;
        *level_log_prob.last_mut().expect("a model has at least one level") += top.log_prob;
        eps.push(top.eps);
        Ok(Encoded::new(&self.architecture, eps, level_log_prob, top.label_bits))
    }

    /// The top z under its prior, and under the classifier.
    pub(super) fn score_top(&self, z: &Tensor, labels: Option<&Tensor>) -> Result<TopScore, MissingLabels> {
        let (eps, log_prob) = self.top.gaussian(z, labels)?.score(z);
        let label_bits = match (&self.classifier, labels) {
            (Some(classifier), Some(labels)) => Some(classifier.cross_entropy_bits(z, labels)),
            _ => None,
        };
        Ok(TopScore { eps, log_prob, label_bits })
    }

    /// Decodes `eps_0` … `eps_{L-1}` into x [N, C, H, W], the inverse of [`Glow::encode`]. Without
    /// gradients.
    ///
    /// # Errors
    /// The model has classes, and there are no labels.
    ///
    /// # Panics
    /// If `eps` are not one tensor a level, or libtorch fails as in [`Glow::encode`].
    pub fn decode(&self, eps: &[Tensor], labels: Option<&Tensor>) -> Result<Tensor, MissingLabels> {
        no_grad(|| {
            let top = eps.last().expect("a model has at least one level");
            let mut z = self.top.gaussian(top, labels)?.z(top);
            for (level, eps) in self.levels.iter().zip(eps).rev() {
                if let Some(split) = &level.split {
                    let z2 = split.given(&z).z(eps);
                    z = Tensor::cat(&[z, z2], 1);
                }
                z = unsqueeze(&level.inverse(z));
            }
            Ok(z)
        })
    }

    /// Latents `eps_0` … `eps_{L-1}` of the samples of these numbers, from a standard normal times
    /// `temperature`. A sample's latents are a function of the seed and its number, the same as those that
    /// `glow-runtime` draws.
    pub fn latents(
        &self,
        samples: Range<u64>,
        temperature: f64,
        seed: u64,
        (kind, device): (Kind, Device),
    ) -> Vec<Tensor> {
        let shapes = self.architecture.latent_shapes();
        let mut levels = vec![Vec::new(); shapes.len()];
        for sample in samples.clone() {
            let mut z = random::normal(seed, Purpose::Latents, sample, None);
            for (level, shape) in levels.iter_mut().zip(&shapes) {
                level.extend(z.by_ref().take(shape.len()));
            }
        }
        let n = samples.count() as i64;
        let tensor = |(level, shape): (Vec<f32>, &LatentShape)| {
            let size = [n, shape.channels as i64, shape.height as i64, shape.width as i64];
            Tensor::from_slice(&level).reshape(size).to_kind(kind).to_device(device) * temperature
        };
        levels.into_iter().zip(&shapes).map(tensor).collect()
    }
}
