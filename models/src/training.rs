//! The hyperparameters of optimisation.
use crate::fields::hyperparameters;
use serde::{Deserialize, Serialize};

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Adam (Kingma & Ba 2014) with bias correction.
    Adam,
    /// Adam with the infinity norm, as in the published code: v ← max(β2·v, |g|), no bias correction.
    Adamax,
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
        /// Images a step.
        batch_size: usize = 64,
        /// Images that initialise the actnorms from data.
        init_batch: usize = 256,
        /// Epochs over which the learning rate rises linearly from 0.
        warmup_epochs: f64 = 10.0,
        /// Steps of the warm-up; 0 means as warmup_epochs says.
        warmup_steps: u64 = 0,
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
        /// Seed of the initialisation, the order of the data, flips and noise.
        seed: u64 = 0,
        /// Whether training images are flipped left to right at random.
        flip: bool = true,
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
        /// Temperature of the sample grids.
        sample_temperature: f64 = 0.7,
        /// Steps between checkpoints.
        checkpoint_every: u64 = 1000,
    }
}
