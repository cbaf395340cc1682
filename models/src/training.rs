//! The hyperparameters of optimisation.
use crate::Weights;
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

/// The element type of the coupling networks' arithmetic in training. Weights, flow path, log-determinants
/// and losses are f32 in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkPrecision {
    /// 32-bit floats.
    Fp32,
    /// On CUDA, matrix products and convolutions with 10 bits of mantissa; elsewhere as fp32.
    Tf32,
    /// bfloat16 in the coupling networks.
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
    pub struct Training {
        /// The update rule: "adamax" (as published) or "adam".
        optimizer: Optimizer = Optimizer::Adamax,
        /// Learning rate after the warm-up.
        lr: f64 = 0.001,
        /// Decay of the gradient's running mean.
        beta1: f64 = 0.9,
        /// Decay of the gradient's running size; 0 ties it to the epoch: 1 − 1/(steps per epoch · polyak_epochs).
        beta2: f64 = 0.0,
        /// Added to the running size, against division by zero.
        epsilon: f64 = 1e-8,
        /// Epochs over which the averaged weights remember; their decay is 1 − 1/(steps per epoch · polyak_epochs).
        polyak_epochs: f64 = 1.0,
        /// Images a step; see anchor_size.
        batch_size: usize = 64,
        /// Side of the images that batch_size is meant for: a step takes batch_size · anchor_size² / (height · width) images, at least 1; 0 for batch_size as it is.
        anchor_size: usize = 0,
        /// Images that initialise the actnorms from data.
        init_batch: usize = 256,
        /// Epochs over which the learning rate rises linearly from 0.
        warmup_epochs: f64 = 10.0,
        /// Steps of the warm-up; 0 means as warmup_epochs says.
        warmup_steps: u64 = 0,
        /// The learning rate after the warm-up: "constant" (as published) or "cosine", down to 0 at the last step.
        schedule: Schedule = Schedule::Constant,
        /// Epochs to train.
        epochs: f64 = 1000.0,
        /// Steps to train; 0 means as epochs says.
        steps: u64 = 0,
        /// Minutes after which training ends as if by its last step; 0 for no limit.
        max_minutes: f64 = 0.0,
        /// Largest norm of the whole gradient; larger ones are scaled down to it; 0 for no limit.
        clip_grad_norm: f64 = 0.0,
        /// Weight of the classifier's cross-entropy, in bits, in the loss of a model with classes.
        weight_y: f64 = 0.01,
        /// What a step keeps for the backward pass: "autograd" (everything), "checkpoint" (the input of each step of flow) or "reversible" (the last output alone).
        memory: Memory = Memory::Autograd,
        /// Arithmetic of the coupling networks in training: "fp32", "tf32" (CUDA only) or "bf16"; all else is fp32.
        precision: NetworkPrecision = NetworkPrecision::Fp32,
        /// Seed of the initialisation, the order of the data, flips and noise.
        seed: u64 = 0,
        /// Whether training images are flipped left to right at random.
        flip: bool = true,
        /// Pixels by which training images are shifted at random, at most, in both directions; 0 for none.
        shift: usize = 0,
        /// The weights that are validated and drawn samples of: "averaged" (Polyak's average) or "raw" (the optimiser's own).
        weights: Weights = Weights::Averaged,
        /// Steps between lines of metrics.
        log_every: u64 = 20,
        /// Steps between validations; the best one's checkpoint is kept.
        validate_every: u64 = 1000,
        /// Validation images used each time, from the first; 0 for all.
        validate_images: usize = 0,
        /// Steps between sample grids; 0 for none.
        sample_every: u64 = 1000,
        /// Images on a sample grid.
        sample_images: usize = 36,
        /// Temperatures of the sample grids, separated by commas; one grid each.
        sample_temperatures: Vec<f64> = vec![0.7],
        /// Steps between checkpoints.
        checkpoint_every: u64 = 1000,
    }
}

impl Training {
    /// Images of one step for images of this size: [`batch_size`](Self::batch_size), scaled by area where
    /// [`anchor_size`](Self::anchor_size) is set (published code).
    pub fn images_per_step(&self, height: usize, width: usize) -> usize {
        match self.anchor_size {
            0 => self.batch_size,
            side => (self.batch_size * side * side / (height * width).max(1)).max(1),
        }
    }
}
