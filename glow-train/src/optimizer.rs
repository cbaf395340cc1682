//! Adam and Adamax with the Polyak average of the weights.
use crate::flow::{Gradients, Parameters};
use glow_models::{Optimizer as Rule, Parameter, Training};
use tch::{Kind, Tensor};

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

/// The gradient of a loss as one flat vector.
#[derive(Debug)]
pub struct Gradient {
    flat: Tensor,
    /// Its Euclidean norm, a scalar; not finite if an element is not.
    pub norm: Tensor,
}

impl From<&Gradients> for Gradient {
    fn from(gradients: &Gradients) -> Self {
        let flat = gradients.flat();
        let norm = flat.norm();
        Self { flat, norm }
    }
}

/// Elements of a slice of the update on CPUs: its intermediate results stay in the cache.
const SLICE: i64 = 1 << 17;

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

    /// The parameter whose gradient went wrong first, going back through the layers.
    pub fn first_not_finite(&self, gradient: &Gradient) -> Option<&str> {
        let mut end = gradient.flat.numel() as i64;
        self.leaves.iter().rev().find_map(|(parameter, leaf)| {
            end -= leaf.numel() as i64;
            let part = gradient.flat.narrow(0, end, leaf.numel() as i64);
            (part.isfinite().all().int64_value(&[]) == 0).then_some(parameter.name.as_str())
        })
    }

    /// Takes one step: `step` counts from 1, `lr` is its learning rate, the gradient is multiplied by
    /// `scale` first. Nothing changes if `scale` is 0; a gradient that is not finite then does no harm.
    ///
    /// `scale` is a tensor on the parameters' device, so that the step need not wait for its value.
    pub fn step(&mut self, gradient: Gradient, step: u64, lr: f64, scale: &Tensor) {
        let (beta1, beta2) = (self.beta1, self.rates.beta2);
        // Adam corrects its means for their start at zero; the published Adamax does not.
        let (correct_mean, correct_size) = match self.rule {
            Rule::Adam => (1.0 - beta1.powf(step as f64), 1.0 - beta2.powf(step as f64)),
            Rule::Adamax => (1.0, 1.0),
        };
        // The average forgets faster at first: it would otherwise show the initial weights for an epoch.
        let polyak = self.rates.polyak.min((1.0 + step as f64) / (10.0 + step as f64));
        let length = self.weights.numel() as i64;
        let slice = if self.weights.device().is_cuda() { length } else { SLICE };
        tch::no_grad(|| {
            // 1 for a step that is taken, 0 for one that is not.
            let taken = scale.ne(0).to_kind(Kind::Float);
            let (learn_mean, learn_size, learn_average) =
                (&taken * (1.0 - beta1), &taken * (1.0 - beta2), &taken * (1.0 - polyak));
            let rate = &taken * (lr / correct_mean);
            for begin in (0..length).step_by(slice as usize) {
                let part = |t: &Tensor| t.narrow(0, begin, slice.min(length - begin));
                let (mut mean, mut size) = (part(&self.mean), part(&self.size));
                let gradient = part(&gradient.flat).nan_to_num_(0.0, 0.0, 0.0) * scale;
                let _ = mean.lerp_tensor_(&gradient, &learn_mean);
                let denominator = match self.rule {
                    Rule::Adam => {
                        let _ = size.lerp_tensor_(&gradient.square(), &learn_size);
                        (&size / correct_size).sqrt_() + self.epsilon
                    }
                    Rule::Adamax => {
                        let decay: Tensor = 1.0 - &learn_size;
                        let larger = (&size * &decay).maximum(&gradient.abs());
                        size.copy_(&larger);
                        larger + self.epsilon
                    }
                };
                let mut weights = part(&self.weights);
                let _ = weights.g_sub_(&(&mean / denominator * &rate));
                let _ = part(&self.averages).lerp_tensor_(&weights, &learn_average);
            }
        });
    }
}
