//! The hyperparameters of optimisation.
use crate::Duration;
use crate::fields::hyperparameters;
use serde::{Deserialize, Serialize};

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Adam as published with Glow: v ← β2·v + (1 − β2)·g², θ ← θ − lr·√(1 − β2ᵗ)/(1 − β1ᵗ)·m/(√v + ε).
    Adam,
    /// The same with the infinity norm: v ← max(β2·v, |g|), and m/(v + ε).
    Adamax,
}

/// What a training step keeps of the forward pass for the backward one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// Everything, as automatic differentiation does: the fastest, its memory grows with depth and hidden.
    Autograd,
    /// The input of every step of flow; the rest is computed again (Chen et al. 2016).
    Checkpoint,
    /// The last output alone; every step's input is recomputed by the step's inverse (Gomez et al. 2017),
    /// so that memory does not grow with depth.
    Reversible,
}

/// Which weights of a checkpoint are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// The Polyak average.
    Averaged,
    /// The optimiser's own.
    Raw,
}

/// The element type of the coupling networks' arithmetic in training. Weights, flow path, log-determinants
/// and losses are f32 in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkPrecision {
    /// 32-bit floats.
    Fp32,
    /// On CUDA, the coupling networks' products with factors of 10 bits of mantissa; elsewhere as fp32.
    Tf32,
    /// bfloat16 in the coupling networks.
    Bf16,
}

/// The element type in which gradients travel between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GradientSums {
    /// 32-bit floats.
    Fp32,
    /// bfloat16: half of the traffic; each sum of two is rounded to 8 bits of mantissa.
    Bf16,
}

/// The learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Constant, as published.
    Constant,
    /// Down to 0 at the last step along half a cosine: lr · ½(1 + cos(π·t)).
    Cosine,
}

hyperparameters! {
    /// How a model is trained; the defaults are those of the published code where it has one.
    ///
    /// Durations are text: "500 steps", "50000 images", "10 epochs", "3.5 min", "2 h", or "5 %" of the whole
    /// run; see [`Duration`] and [`Plan`](crate::Plan).
    pub struct Training {
        /// The update rule: "adamax" (as published) or "adam".
        optimizer: Optimizer = Optimizer::Adamax,
        /// Learning rate after the warm-up.
        lr: f64 = 0.001,
        /// Decay of the gradient's running mean.
        beta1: f64 = 0.9,
        /// Decay of the gradient's running size; "auto" ties it to the averages: 1 − 1/(steps of polyak), at least 0.9.
        #[serde(with = "crate::optional::auto")]
        beta2: Option<f64> = None,
        /// Added to the running size, against division by zero.
        epsilon: f64 = 1e-8,
        /// The time over which the averaged weights remember; their decay is 1 − 1/(its steps, rounded up).
        polyak: Duration = Duration::Epochs(1.0),
        /// Whether the averaged weights forget faster at first, by a decay of at most (1 + t)/(10 + t) at step t. In the published code they do not, and show the initial weights for about an epoch.
        polyak_warmup: bool = true,
        /// Further averages of the weights, kept beside that of polyak: the time over which each remembers, separated by commas, such as "10 epochs,50 epochs"; empty for none. Each is named by its time.
        further_averages: Vec<Duration> = Vec::new(),
        /// Images a step, over all processes; see anchor_size.
        batch_size: usize = 64,
        /// Side of the images that batch_size and init_batch are meant for: a step takes batch_size · anchor_size² / (height · width) images, at least 1; "none" for the numbers as they are.
        #[serde(with = "crate::optional::none")]
        anchor_size: Option<usize> = None,
        /// Images that initialise the actnorms from data; see anchor_size.
        init_batch: usize = 256,
        /// Images of an epoch, each step counted as batch_size of them; "auto" for the length of the data set.
        #[serde(with = "crate::optional::auto")]
        epoch_images: Option<u64> = None,
        /// The time over which the learning rate rises linearly from 0, or "none".
        #[serde(with = "crate::optional::none")]
        warmup: Option<Duration> = Some(Duration::Epochs(10.0)),
        /// The learning rate after the warm-up: "constant" (as published) or "cosine", down to 0 at the last step.
        schedule: Schedule = Schedule::Constant,
        /// Length of the whole run, resumed parts included.
        train_for: Duration = Duration::Epochs(1000.0),
        /// Time after which this process ends training as if by its last step, such as "3.5 min", or "none".
        #[serde(with = "crate::optional::none")]
        time_limit: Option<Duration> = None,
        /// Largest norm of the whole gradient; larger ones are scaled down to it; "none" for no limit.
        #[serde(with = "crate::optional::none")]
        clip_grad_norm: Option<f64> = None,
        /// Weight of the classifier's cross-entropy, in bits, in the loss of a model with classes.
        weight_y: f64 = 0.01,
        /// What a step keeps for the backward pass: "autograd" (everything), "checkpoint" (the input of each step of flow) or "reversible" (the last output alone).
        memory: Memory = Memory::Autograd,
        /// Arithmetic of training: "fp32"; "bf16" in the coupling networks, all else in fp32; or "tf32", 10 bits of mantissa in their products (CUDA only, not with "reversible" memory).
        precision: NetworkPrecision = NetworkPrecision::Fp32,
        /// How gradients travel between the processes of a run: "fp32" or "bf16" (half of the traffic, less exact); no matter for one process.
        gradient_sums: GradientSums = GradientSums::Fp32,
        /// Seed of the initialisation, the order of the data, flips and noise; below 2^63.
        seed: u64 = 0,
        /// Whether training images are flipped left to right at random; "auto" for all data sets but digits.
        #[serde(with = "crate::optional::auto")]
        flip: Option<bool> = None,
        /// Pixels by which training images are shifted at random, at most, in both directions; 0 for none.
        shift: usize = 0,
        /// The weights that are validated and drawn samples of: "averaged" (Polyak's average) or "raw" (the optimiser's own).
        weights: Weights = Weights::Averaged,
        /// Time between lines of metrics.
        log_every: Duration = Duration::Steps(20),
        /// Time between validations; the best one's checkpoint is kept.
        validate_every: Duration = Duration::Steps(1000),
        /// Validation images used each time, from the first, or "all".
        #[serde(with = "crate::optional::all")]
        validate_images: Option<usize> = None,
        /// Time between sample grids, or "none".
        #[serde(with = "crate::optional::none")]
        sample_every: Option<Duration> = Some(Duration::Steps(1000)),
        /// Images on a sample grid.
        sample_images: usize = 36,
        /// Temperatures of the sample grids, separated by commas; one grid each.
        sample_temperatures: Vec<f64> = vec![0.7],
        /// Time between checkpoints.
        checkpoint_every: Duration = Duration::Steps(1000),
        /// Checkpoints kept besides the latest and the best, from the newest, as checkpoints/step-N.safetensors, or "none".
        #[serde(with = "crate::optional::none")]
        keep_last: Option<usize> = None,
    }
}

impl Training {
    /// Images of one step for images of this size: [`batch_size`](Self::batch_size), scaled by area where
    /// [`anchor_size`](Self::anchor_size) is set (published code).
    pub fn images_per_step(&self, height: usize, width: usize) -> usize {
        self.anchored(self.batch_size, height, width)
    }

    /// Images that initialise the actnorms for images of this size: [`init_batch`](Self::init_batch), scaled
    /// likewise (published code: 256 at 32×32, 4 at 256×256).
    pub fn init_images(&self, height: usize, width: usize) -> usize {
        self.anchored(self.init_batch, height, width)
    }

    fn anchored(&self, images: usize, height: usize, width: usize) -> usize {
        match self.anchor_size {
            None => images,
            Some(side) => (images * side * side / (height * width).max(1)).max(1),
        }
    }
}
