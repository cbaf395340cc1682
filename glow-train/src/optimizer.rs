//! Adam and Adamax as published, with the Polyak average of the weights.
//!
//! With the gradient g of step t, counted from 1, both rules (published code, `optim.py`) keep
//! m ← β1·m + (1 − β1)·g and take θ ← θ − lr·√(1 − β2ᵗ)/(1 − β1ᵗ) · m/d, where
//! - Adam: v ← β2·v + (1 − β2)·g², d = √v + ε;
//! - Adamax: v ← max(β2·v, |g|), d = v + ε.
//!
//! Of that factor Kingma & Ba 2015 have only 1/(1 − β1ᵗ) in their Adamax; its other half warms up over the
//! memory of β2, about an epoch where that is tied to one.
use crate::flow::{Gradients, Parameters};
use crate::torch::no_grad;
use glow_models::{Optimizer as Rule, Parameter, Plan, Training};
use tch::{Kind, Tensor};

/// The decay rates, which depend on the length of an epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// Decay of the gradient's running size.
    pub beta2: f64,
    /// Decay of each average of the weights.
    pub averages: Vec<f64>,
}

impl From<&Plan> for Rates {
    fn from(plan: &Plan) -> Self {
        let averages = [plan.polyak_decay()].into_iter().chain(plan.further_decays()).collect();
        Self { beta2: plan.beta2(), averages }
    }
}

/// The update rule over all trained parameters, as one flat vector.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    beta1: f64,
    epsilon: f64,
    rates: Rates,
    /// Whether the averages forget faster at first.
    polyak_warmup: bool,
    /// The trained parameters with their tensors, in the order of the flat ones.
    leaves: Vec<(Parameter, Tensor)>,
    weights: Tensor,
    averages: Vec<Tensor>,
    mean: Tensor,
    size: Tensor,
}

/// The gradient of a loss as one flat vector.
#[derive(Debug)]
pub struct Gradient {
    flat: Tensor,
    /// Its Euclidean norm, a scalar; not finite if an element is not, or if it is over 1.8e19.
    pub norm: Tensor,
}

impl From<&Gradients> for Gradient {
    fn from(gradients: &Gradients) -> Self {
        let flat = gradients.flat();
        // libtorch's norm adds up a vector in one sequence, which costs three digits at 10⁷ elements.
        let norm = flat.dot(&flat).sqrt();
        Self { flat, norm }
    }
}

/// Elements of a slice of the update on CPUs: its intermediate results stay in the cache.
const SLICE: i64 = 1 << 17;

impl Optimizer {
    /// Over the trained parameters of `parameters`, with their averages in `averages`, one for each of the rates';
    /// running means start at zero.
    ///
    /// # Panics
    /// If there are more or fewer averages than rates.
    pub fn new(training: &Training, rates: Rates, parameters: &Parameters, averages: &[Parameters]) -> Self {
        assert_eq!(averages.len(), rates.averages.len());
        let weights = parameters.flat();
        Self {
            rule: training.optimizer,
            beta1: training.beta1,
            epsilon: training.epsilon,
            rates,
            polyak_warmup: training.polyak_warmup,
            leaves: parameters.trained().map(|(parameter, leaf)| (parameter.clone(), leaf)).collect(),
            averages: averages.iter().map(Parameters::flat).collect(),
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

    /// The running mean and size of the gradient as flat tensors, the optimiser's own.
    pub fn running(&self) -> [Tensor; 2] {
        [self.mean.shallow_clone(), self.size.shallow_clone()]
    }

    /// Sets every average to its weight: the start of averaging.
    pub fn reset_averages(&mut self) {
        no_grad(|| self.averages.iter_mut().for_each(|average| average.copy_(&self.weights)));
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
    /// `scale` first; what it was made from is overwritten. Nothing changes if `scale` is 0; a gradient
    /// that is not finite then does no harm.
    ///
    /// `scale` is a tensor on the parameters' device, so that on CUDA the step need not wait for its value.
    pub fn step(&mut self, gradient: Gradient, step: u64, lr: f64, scale: &Tensor) {
        let (beta1, beta2) = (self.beta1, self.rates.beta2);
        let t = step as f64;
        let lr = lr * (1.0 - beta2.powf(t)).sqrt() / (1.0 - beta1.powf(t));
        let cap = if self.polyak_warmup { (1.0 + t) / (10.0 + t) } else { 1.0 };
        let length = self.weights.numel() as i64;
        let waits = !self.weights.device().is_cuda();
        if waits && scale.double_value(&[]) == 0.0 {
            return;
        }
        let slice = if waits { SLICE } else { length };
        no_grad(|| {
            // 1 for a step that is taken, 0 for one that is not, which only CUDA comes to see.
            let taken = scale.ne(0).to_kind(Kind::Float);
            let (learn_mean, learn_size) = (&taken * (1.0 - beta1), &taken * (1.0 - beta2));
            let of_average = |decay: &f64| &taken * (1.0 - decay.min(cap));
            let learn_averages: Vec<Tensor> = self.rates.averages.iter().map(of_average).collect();
            let rate = &taken * lr;
            let keep_size: Tensor = 1.0 - &learn_size;
            for begin in (0..length).step_by(slice as usize) {
                let part = |t: &Tensor| t.narrow(0, begin, slice.min(length - begin));
                let (mut mean, mut size) = (part(&self.mean), part(&self.size));
                let mut gradient = part(&gradient.flat);
                if !waits {
                    let _ = gradient.nan_to_num_(0.0, 0.0, 0.0);
                }
                let _ = gradient.g_mul_(scale);
                let _ = mean.lerp_tensor_(&gradient, &learn_mean);
                let denominator = match self.rule {
                    Rule::Adam => {
                        let _ = size.lerp_tensor_(&gradient.square_(), &learn_size);
                        size.sqrt().g_add_scalar_(self.epsilon)
                    }
                    Rule::Adamax => {
                        let _ = size.g_mul_(&keep_size).maximum_out(&size, &gradient.abs_());
                        &size + self.epsilon
                    }
                };
                let mut weights = part(&self.weights);
                let _ = weights.g_sub_(&(&mean / denominator).g_mul_(&rate));
                for (average, learn) in self.averages.iter().zip(&learn_averages) {
                    let _ = part(average).lerp_tensor_(&weights, learn);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Glow, LossWeights, dequantize, uniform_noise};
    use glow_models::random::Purpose;
    use glow_models::{Architecture, Memory};
    use tch::Device;

    /// The published update of one number, in double.
    fn published(rule: Rule, t: i32, lr: f64, beta: [f64; 2], g: f64, [theta, m, v]: [f64; 3]) -> [f64; 3] {
        let m = beta[0] * m + (1.0 - beta[0]) * g;
        let (v, d) = match rule {
            Rule::Adam => {
                let v = beta[1] * v + (1.0 - beta[1]) * g * g;
                (v, v.sqrt() + 1e-8)
            }
            Rule::Adamax => {
                let v = (beta[1] * v).max(g.abs());
                (v, v + 1e-8)
            }
        };
        let alpha = lr * (1.0 - beta[1].powi(t)).sqrt() / (1.0 - beta[0].powi(t));
        [theta - alpha * m / d, m, v]
    }

    #[test]
    fn steps_are_the_published_ones_and_averages_follow() {
        let architecture =
            Architecture { height: 8, width: 8, levels: 2, depth: 1, hidden: 4, ..Default::default() };
        for (rule, polyak_warmup) in [(Rule::Adam, true), (Rule::Adamax, false)] {
            let training = Training { optimizer: rule, polyak_warmup, ..Default::default() };
            let rates = Rates { beta2: 0.99, averages: vec![0.99, 0.5] };
            let parameters = Parameters::initial(&architecture, 1, Device::Cpu, Kind::Float);
            let averages = [parameters.copy(), parameters.copy()];
            let mut optimizer = Optimizer::new(&training, rates.clone(), &parameters, &averages);
            let glow = Glow::new(&architecture, &parameters);
            let values = |t: &Tensor| Vec::<f64>::try_from(t.to_kind(Kind::Double)).unwrap();
            let mut expected: Vec<[f64; 3]> =
                values(&parameters.flat()).into_iter().map(|theta| [theta, 0.0, 0.0]).collect();
            let mut expected_averages = averages.each_ref().map(|average| values(&average.flat()));
            parameters.require_grad();
            for step in 1..=3 {
                let noise =
                    |image| uniform_noise(&architecture, 2, 0, Purpose::TrainingNoise, 2 * step + image);
                let images = (noise(1000) * 256).to_kind(Kind::Uint8);
                let x = dequantize(&architecture, &images, &noise(0));
                let gradient = |x: &Tensor| {
                    let mut gradients = Gradients::zeros(&parameters);
                    let weights = LossWeights { log_prob: -1e-2, label_bits: 0.0 };
                    glow.gradient_into(x, None, weights, Memory::Autograd, &mut gradients).unwrap();
                    gradients
                };
                let gradients = gradient(&x);
                let g = values(&gradients.flat());
                // What is not taken leaves nothing behind.
                optimizer.step(Gradient::from(&gradients), step, 0.1, &Tensor::from(0.0f32));
                let gradients = gradient(&x);
                optimizer.step(Gradient::from(&gradients), step, 1e-3, &Tensor::from(0.5f32));
                let cap = (1.0 + step as f64) / (10.0 + step as f64);
                for (number, g) in expected.iter_mut().zip(g) {
                    let beta = [training.beta1, rates.beta2];
                    *number = published(rule, step as i32, 1e-3, beta, 0.5 * g, *number);
                }
                for (averages, decay) in expected_averages.iter_mut().zip(&rates.averages) {
                    let decay = if polyak_warmup { decay.min(cap) } else { *decay };
                    for (average, number) in averages.iter_mut().zip(&expected) {
                        *average = decay * *average + (1.0 - decay) * number[0];
                    }
                }
                for (flat, part) in [(&optimizer.weights, 0), (&optimizer.mean, 1), (&optimizer.size, 2)] {
                    for (actual, expected) in values(flat).into_iter().zip(&expected) {
                        let expected = expected[part];
                        assert!((actual - expected).abs() < 1e-6 + 1e-4 * expected.abs(), "{rule:?} {part}");
                    }
                }
                for (averages, expected) in optimizer.averages.iter().zip(&expected_averages) {
                    for (actual, expected) in values(averages).into_iter().zip(expected) {
                        assert!((actual - expected).abs() < 1e-6, "{rule:?}: {actual}, {expected}");
                    }
                }
            }
        }
    }
}
