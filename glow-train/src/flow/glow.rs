//! The whole flow: squeeze, steps, split, level by level (paper, figure 2).
use super::Parameters;
use super::coupling::halves;
use super::gradient::Leaves;
use super::mixing::{Maps, Mixing};
use super::prior::{Classifier, SplitPrior, TopPrior};
use super::squeeze::{squeeze, unsqueeze};
use super::step::{Step, is_finite};
use glow_models::{Architecture, LevelShape, NetworkPrecision};
use tch::{Kind, Tensor};

/// What encoding gives.
#[derive(Debug)]
pub struct Encoded {
    /// `eps_0` … `eps_{L-1}`, [N, c, h, w] each; standard normal under the model.
    pub eps: Vec<Tensor>,
    /// `[N]`: log p(image) in nats, the discretisation term included.
    pub log_prob: Tensor,
    /// `[N]` a level: what the level's log-determinants and the prior of its eps add to `log_prob`, in
    /// nats. With the discretisation term, −ln(2^n_bits)·H·W·C, they make it up.
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

/// Steps of flow at one size, and the prior of what is split off behind them; the last level has none.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) mixing: Mixing,
    pub(super) steps: Vec<Step>,
    /// Pixels of an image.
    pub(super) pixels: f64,
    pub(super) split: Option<SplitPrior>,
}

impl Level {
    /// `[N]`: what the maps of all steps add to the log-determinants of the images z [N, C, H, W].
    pub(super) fn log_det_of_maps(&self, maps: &Maps, z: &Tensor) -> Tensor {
        (maps.log_det.sum(Kind::Double) * self.pixels).to_kind(z.kind()).repeat([z.size()[0]])
    }

    /// Sets the actnorms from z, step by step; what the steps then make of it.
    fn initialise_actnorm(&self, z: &Tensor) -> Tensor {
        let steps = self.steps.iter().enumerate();
        steps.fold(z.shallow_clone(), |z, (index, step)| {
            step.initialise_actnorm(&z, || self.mixing.maps_of(index..index + 1).forward(z.kind()).remove(0))
        })
    }
}

/// A Glow over given parameters, of which it shares the trained ones: what an optimiser does to them, it
/// sees.
#[derive(Debug)]
pub struct Glow {
    architecture: Architecture,
    pub(super) levels: Vec<Level>,
    pub(super) leaves: Leaves,
    pub(super) top_leaves: Leaves,
    top: TopPrior,
    classifier: Option<Classifier>,
}

impl Glow {
    /// The flow of `architecture` over `parameters`, all of it in their element type.
    pub fn new(architecture: &Architecture, parameters: &Parameters) -> Self {
        Self::in_precision(architecture, parameters, NetworkPrecision::Fp32)
    }

    /// The same with its coupling networks in bfloat16 if `precision` says so.
    pub fn in_precision(
        architecture: &Architecture,
        parameters: &Parameters,
        precision: NetworkPrecision,
    ) -> Self {
        let network = (precision == NetworkPrecision::Bf16).then_some(Kind::BFloat16);
        let level = |(level, shape): (usize, &LevelShape)| {
            let size = [shape.height as i64, shape.width as i64];
            let names: Vec<String> =
                (0..architecture.depth).map(|step| Architecture::step_name(level, step)).collect();
            let step = |name: &String| Step::new(parameters, architecture, network, size, name);
            Level {
                mixing: Mixing::new(parameters, architecture, &names),
                steps: names.iter().map(step).collect(),
                pixels: (shape.height * shape.width) as f64,
                split: shape.splits.then(|| SplitPrior::new(parameters, level)),
            }
        };
        Self {
            architecture: architecture.clone(),
            levels: architecture.level_shapes().iter().enumerate().map(level).collect(),
            leaves: Leaves::of(parameters, &[""]),
            top_leaves: Leaves::of(parameters, &["top.", "classifier."]),
            top: TopPrior::new(parameters, architecture),
            classifier: (architecture.classes > 0).then(|| Classifier::new(parameters)),
        }
    }

    /// The architecture.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Sets every actnorm from a batch x, layer by layer in encoding order (paper, section 3.1), without
    /// gradients.
    pub fn initialise_actnorm(&self, x: &Tensor) {
        tch::no_grad(|| {
            let mut z = x.shallow_clone();
            for level in &self.levels {
                z = level.initialise_actnorm(&squeeze(&z));
                if level.split.is_some() {
                    z = halves(&z).0;
                }
            }
        });
    }

    /// Encodes x [N, C, H, W] (see [`dequantize`](super::dequantize)); `labels` `[N]` int64 where the
    /// model has classes.
    pub fn encode(&self, x: &Tensor, labels: Option<&Tensor>) -> Encoded {
        let mut eps = Vec::with_capacity(self.levels.len());
        let mut level_log_prob = Vec::with_capacity(self.levels.len());
        let mut z = x.shallow_clone();
        for level in &self.levels {
            z = squeeze(&z);
            let maps = level.mixing.maps();
            let mut log_prob = level.log_det_of_maps(&maps, &z);
            for (step, map) in level.steps.iter().zip(maps.forward(x.kind())) {
                z = step.forward(&z, &map, &mut log_prob);
            }
            if let Some(split) = &level.split {
                let (z1, z2) = halves(&z);
                let (out, log_prob_out) = split.given(&z1).score(&z2);
                log_prob += log_prob_out;
                eps.push(out);
                z = z1;
            }
            level_log_prob.push(log_prob);
        }
        let top = self.score_top(&z, labels);
        *level_log_prob.last_mut().expect("a model has at least one level") += top.log_prob;
        eps.push(top.eps);
        Encoded::new(&self.architecture, eps, level_log_prob, top.label_bits)
    }

    /// The top z under its prior, and under the classifier.
    pub(super) fn score_top(&self, z: &Tensor, labels: Option<&Tensor>) -> TopScore {
        let (eps, log_prob) = self.top.of(z, labels).score(z);
        let label_bits = match (&self.classifier, labels) {
            (Some(classifier), Some(labels)) => Some(classifier.cross_entropy_bits(z, labels)),
            _ => None,
        };
        TopScore { eps, log_prob, label_bits }
    }

    /// The name of the first layer whose output for x is not finite; `None` where all are.
    pub fn first_not_finite(&self, x: &Tensor, labels: Option<&Tensor>) -> Option<String> {
        tch::no_grad(|| {
            let mut z = x.shallow_clone();
            for (index, level) in self.levels.iter().enumerate() {
                z = squeeze(&z);
                let maps = level.mixing.maps();
                let log_dets = maps.log_det.unbind(0);
                for ((step, map), log_det) in level.steps.iter().zip(maps.forward(z.kind())).zip(&log_dets) {
                    z = match step.first_not_finite(&z, &map, log_det) {
                        Ok(y) => y,
                        Err(name) => return Some(name),
                    };
                }
                if let Some(split) = &level.split {
                    let (z1, z2) = halves(&z);
                    if !is_finite(&split.given(&z1).score(&z2).1) {
                        return Some(format!("level{index}.split"));
                    }
                    z = z1;
                }
            }
            let top = self.score_top(&z, labels);
            let finite = is_finite(&top.log_prob) && top.label_bits.is_none_or(|bits| is_finite(&bits));
            (!finite).then(|| "top".to_string())
        })
    }

    /// Decodes `eps_0` … `eps_{L-1}` into x [N, C, H, W], the inverse of [`Glow::encode`]. Without
    /// gradients.
    pub fn decode(&self, eps: &[Tensor], labels: Option<&Tensor>) -> Tensor {
        tch::no_grad(|| {
            let top = eps.last().expect("a model has at least one level");
            let mut z = self.top.of(top, labels).z(top);
            for (index, level) in self.levels.iter().enumerate().rev() {
                if let Some(split) = &level.split {
                    let z2 = split.given(&z).z(&eps[index]);
                    z = Tensor::cat(&[z, z2], 1);
                }
                let inverses = level.mixing.maps().inverse(z.kind());
                for (step, inverse) in level.steps.iter().zip(&inverses).rev() {
                    z = step.inverse(&z, inverse);
                }
                z = unsqueeze(&z);
            }
            z
        })
    }

    /// Latents of `n` images from a standard normal times `temperature`, on the CPU's generator: a
    /// function of the seed alone.
    pub fn latents(&self, n: usize, temperature: f64, seed: u64, like: &Tensor) -> Vec<Tensor> {
        use rand::SeedableRng;
        use rand_distr::{Distribution, StandardNormal};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        self.architecture
            .latent_shapes()
            .iter()
            .map(|shape| {
                let values: Vec<f32> =
                    (0..n * shape.len()).map(|_| StandardNormal.sample(&mut random)).collect();
                let size = [n as i64, shape.channels as i64, shape.height as i64, shape.width as i64];
                let eps =
                    Tensor::from_slice(&values).reshape(size).to_kind(like.kind()).to_device(like.device());
                eps * temperature
            })
            .collect()
    }
}
