//! The whole flow: squeeze, steps, split, level by level (paper, figure 2).
use super::Parameters;
use super::coupling::halves;
use super::gradient::Leaves;
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
    pub(super) steps: Vec<Step>,
    pub(super) split: Option<SplitPrior>,
}

/// A Glow over given parameters, which it shares: what an optimiser does to them, it sees.
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
        let level = |(level, shape): (usize, &LevelShape)| Level {
            steps: (0..architecture.depth)
                .map(|step| {
                    let size = [shape.height as i64, shape.width as i64];
                    Step::new(parameters, architecture, network, size, &Architecture::step_name(level, step))
                })
                .collect(),
            split: shape.splits.then(|| SplitPrior::new(parameters, level)),
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

    /// Encodes x [N, C, H, W] (see [`dequantize`](super::dequantize)); `labels` `[N]` int64 where the
    /// model has classes.
    pub fn encode(&self, x: &Tensor, labels: Option<&Tensor>) -> Encoded {
        self.run(x, labels, false)
    }

    /// Sets every actnorm from a batch x, layer by layer in encoding order (paper, section 3.1), without
    /// gradients.
    pub fn initialise_actnorm(&self, x: &Tensor, labels: Option<&Tensor>) {
        tch::no_grad(|| self.run(x, labels, true));
    }

    fn run(&self, x: &Tensor, labels: Option<&Tensor>, initialise: bool) -> Encoded {
        let mut eps = Vec::with_capacity(self.levels.len());
        let mut level_log_prob = Vec::with_capacity(self.levels.len());
        let mut z = x.shallow_clone();
        for level in &self.levels {
            let mut log_prob = Tensor::zeros([x.size()[0]], (x.kind(), x.device()));
            z = squeeze(&z);
            for step in &level.steps {
                z = step.forward(&z, &mut log_prob, initialise);
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
                for step in &level.steps {
                    z = match step.first_not_finite(&z) {
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
                for step in level.steps.iter().rev() {
                    z = step.inverse(&z);
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
