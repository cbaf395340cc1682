//! Adam and Adamax with the Polyak average of the weights.
use crate::flow::Parameters;
use glow_models::{Optimizer as Rule, Parameter, Training};
use tch::Tensor;

/// The rates that hang on the length of an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Decay of the gradient's running size.
    pub beta2: f64,
    /// Decay of the averaged weights: 1 − 1/(steps per epoch · polyak_epochs).
    pub polyak: f64,
}

impl Rates {
    /// The rates for an epoch of `steps_per_epoch` (published code). A tied β2 is at least 0.9: an
    /// epoch of a few steps would otherwise leave it no memory.
    pub fn new(training: &Training, steps_per_epoch: f64) -> Self {
        let polyak = 1.0 - 1.0 / (steps_per_epoch * training.polyak_epochs).max(1.0);
        let beta2 = if training.beta2 > 0.0 { training.beta2 } else { polyak.max(0.9) };
        Self { beta2, polyak }
    }
}

/// The update rule over all trained parameters, as one flat vector.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    beta1: f64,
    epsilon: f64,
    rates: Rates,
    /// The trained parameters with their tensors, in the order of the flat ones.
    leaves: Vec<(Parameter, Tensor)>,
    weights: Tensor,
    averages: Tensor,
    mean: Tensor,
    size: Tensor,
}

/// The gradient of a loss.
#[derive(Debug)]
pub struct Gradient {
    flat: Tensor,
    /// Its Euclidean norm.
    pub norm: f64,
}

/// A gradient that is not a finite number: the step must not be taken.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFinite {
    /// The first parameter whose gradient is not finite.
    pub parameter: String,
}

impl Optimizer {
    /// Over the trained parameters of `parameters`, with their averages in `averages`; running means
    /// start at zero.
    pub fn new(training: &Training, rates: Rates, parameters: &Parameters, averages: &Parameters) -> Self {
        let weights = parameters.flat();
        Self {
            rule: training.optimizer,
            beta1: training.beta1,
            epsilon: training.epsilon,
            rates,
            leaves: parameters.trained().map(|(parameter, leaf)| (parameter.clone(), leaf)).collect(),
            averages: averages.flat(),
            mean: weights.zeros_like(),
            size: weights.zeros_like(),
            weights,
        }
    }

    /// The running mean and size of every parameter's gradient, to save or to restore: views of the
    /// optimiser's own.
    pub fn state(&self) -> impl Iterator<Item = (&Parameter, Tensor, Tensor)> {
        self.leaves.iter().scan(0, |begin, (parameter, leaf)| {
            let (size, length) = (leaf.size(), leaf.numel() as i64);
            let part = |flat: &Tensor| flat.narrow(0, *begin, length).view(size.as_slice());
            let state = (parameter, part(&self.mean), part(&self.size));
            *begin += length;
            Some(state)
        })
    }

    /// Sets every average to its weight: the start of averaging.
    pub fn reset_averages(&mut self) {
        tch::no_grad(|| self.averages.copy_(&self.weights));
    }

    /// The gradient of a scalar loss.
    ///
    /// # Errors
    /// The gradient is not finite; the first parameter for which it is not is named.
    pub fn gradient(&self, loss: &Tensor) -> Result<Gradient, NonFinite> {
        let leaves: Vec<&Tensor> = self.leaves.iter().map(|(_, leaf)| leaf).collect();
        let gradients = Tensor::run_backward(&[loss], &leaves, false, false);
        tch::no_grad(|| {
            let parts: Vec<Tensor> = gradients
                .iter()
                .zip(&leaves)
                // A parameter that the loss does not depend on has no gradient.
                .map(|(gradient, leaf)| {
                    if gradient.defined() { gradient.reshape([-1]) } else { leaf.zeros_like().reshape([-1]) }
                })
                .collect();
            let flat = Tensor::cat(&parts, 0);
            let norm = flat.norm().double_value(&[]);
            if norm.is_finite() {
                return Ok(Gradient { flat, norm });
            }
            let broken = parts.iter().position(|part| part.isfinite().all().int64_value(&[]) == 0);
            let parameter =
                broken.map_or("the sum of all gradients", |index| self.leaves[index].0.name.as_str());
            Err(NonFinite { parameter: parameter.into() })
        })
    }

    /// Takes one step: `step` counts from 1, `lr` is its learning rate, the gradient is multiplied by
    /// `scale` first.
    pub fn step(&mut self, gradient: Gradient, step: u64, lr: f64, scale: f64) {
        let (beta1, beta2) = (self.beta1, self.rates.beta2);
        // Adam corrects its means for their start at zero; the published Adamax does not.
        let (correct_mean, correct_size) = match self.rule {
            Rule::Adam => (1.0 - beta1.powf(step as f64), 1.0 - beta2.powf(step as f64)),
            Rule::Adamax => (1.0, 1.0),
        };
        // The average forgets faster at first: it would otherwise show the initial weights for an epoch.
        let polyak = self.rates.polyak.min((1.0 + step as f64) / (10.0 + step as f64));
        tch::no_grad(|| {
            let gradient = if scale == 1.0 { gradient.flat } else { gradient.flat * scale };
            let _ = self.mean.lerp_(&gradient, 1.0 - beta1);
            let denominator = match self.rule {
                Rule::Adam => {
                    let _ = self.size.lerp_(&gradient.square(), 1.0 - beta2);
                    (&self.size / correct_size).sqrt() + self.epsilon
                }
                Rule::Adamax => {
                    let size = (&self.size * beta2).maximum(&gradient.abs());
                    self.size.copy_(&size);
                    size + self.epsilon
                }
            };
            let update = &self.mean / denominator * (lr / correct_mean);
            let _ = self.weights.g_sub_(&update);
            let _ = self.averages.lerp_(&self.weights, 1.0 - polyak);
        });
    }
}
