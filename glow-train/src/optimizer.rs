//! Adam and Adamax with the Polyak average of the weights.
use crate::flow::Parameters;
use glow_models::{Optimizer as Rule, Parameter, Training};
use tch::Tensor;

/// One trained parameter with its state.
#[derive(Debug)]
struct Slot {
    parameter: Parameter,
    weight: Tensor,
    average: Tensor,
    mean: Tensor,
    size: Tensor,
}

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

/// The update rule over all trained parameters.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    beta1: f64,
    epsilon: f64,
    rates: Rates,
    slots: Vec<Slot>,
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
        let slots = parameters
            .trained()
            .map(|(parameter, weight)| Slot {
                parameter: parameter.clone(),
                average: averages.get(&parameter.name),
                mean: weight.detach().zeros_like(),
                size: weight.detach().zeros_like(),
                weight,
            })
            .collect();
        Self { rule: training.optimizer, beta1: training.beta1, epsilon: training.epsilon, rates, slots }
    }

    /// The running mean and size of every parameter's gradient, to save or to restore.
    pub fn state(&self) -> impl Iterator<Item = (&Parameter, &Tensor, &Tensor)> {
        self.slots.iter().map(|slot| (&slot.parameter, &slot.mean, &slot.size))
    }

    /// Sets every average to its weight: the start of averaging.
    pub fn reset_averages(&mut self) {
        tch::no_grad(|| self.slots.iter_mut().for_each(|slot| slot.average.copy_(&slot.weight)));
    }

    /// Euclidean norm of the whole gradient.
    ///
    /// # Errors
    /// The gradient is not finite; the first parameter of which is named.
    pub fn gradient_norm(&self) -> Result<f64, NonFinite> {
        tch::no_grad(|| {
            let norms: Vec<Tensor> = self
                .slots
                .iter()
                .map(|slot| slot.weight.grad())
                .filter(|g| g.defined())
                .map(|g| g.norm())
                .collect();
            let norm = Tensor::stack(&norms, 0).norm().double_value(&[]);
            if norm.is_finite() {
                return Ok(norm);
            }
            let broken = self.slots.iter().find(|slot| {
                let gradient = slot.weight.grad();
                gradient.defined() && gradient.isfinite().all().int64_value(&[]) == 0
            });
            let parameter = broken.map_or("the sum of all gradients", |slot| slot.parameter.name.as_str());
            Err(NonFinite { parameter: parameter.into() })
        })
    }

    /// Forgets the gradients.
    pub fn zero_grad(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.weight.zero_grad());
    }

    /// Takes one step: `step` counts from 1, `lr` is its learning rate, gradients are multiplied by
    /// `scale` first.
    pub fn step(&mut self, step: u64, lr: f64, scale: f64) {
        let (beta1, beta2) = (self.beta1, self.rates.beta2);
        // Adam corrects its means for their start at zero; the published Adamax does not.
        let (correct_mean, correct_size) = match self.rule {
            Rule::Adam => (1.0 - beta1.powf(step as f64), 1.0 - beta2.powf(step as f64)),
            Rule::Adamax => (1.0, 1.0),
        };
        // The average forgets faster at first: it would otherwise show the initial weights for an epoch.
        let polyak = self.rates.polyak.min((1.0 + step as f64) / (10.0 + step as f64));
        tch::no_grad(|| {
            for slot in &mut self.slots {
                let gradient = slot.weight.grad();
                if !gradient.defined() {
                    continue;
                }
                let gradient = if scale == 1.0 { gradient } else { gradient * scale };
                let _ = slot.mean.lerp_(&gradient, 1.0 - beta1);
                let denominator = match self.rule {
                    Rule::Adam => {
                        let _ = slot.size.lerp_(&gradient.square(), 1.0 - beta2);
                        (&slot.size / correct_size).sqrt() + self.epsilon
                    }
                    Rule::Adamax => {
                        slot.size = (&slot.size * beta2).maximum(&gradient.abs());
                        &slot.size + self.epsilon
                    }
                };
                let _ = slot.weight.g_sub_(&(&slot.mean / denominator * (lr / correct_mean)));
                let _ = slot.average.lerp_(&slot.weight, 1.0 - polyak);
            }
        });
    }
}
