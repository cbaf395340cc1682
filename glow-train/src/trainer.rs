//! One model in training: its parameters, averages and optimiser, a step, a validation, a checkpoint.
use crate::error::TrainError;
use crate::flow::{
    Glow, Gradients, LossWeights, Parameters, dequantize, tensor_bytes, tensor_from_bytes, to_pixels,
    uniform_noise,
};
use crate::optimizer::{Gradient, Optimizer, Rates};
use glow_data::Batch;
use glow_models::{
    Architecture, Checkpoint, CheckpointError, CheckpointMeta, Config, Group, Plan, Role, Training, Weights,
};
use std::collections::HashMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Steps without a finite gradient, in a row, after which training stops.
pub const MAX_SKIPPED_IN_A_ROW: u64 = 20;

/// What noise a seed is for; keeps the streams apart.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Initialisation = 1,
    Step = 2,
    Evaluation = 3,
}

/// A seed for one use, a function of the run's seed, the purpose and a counter (SplitMix64's mixing).
fn seed(run: u64, purpose: Purpose, counter: u64) -> u64 {
    let mut z = run ^ (purpose as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ counter.rotate_left(32);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Means over the steps since the last report.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Steps that were taken; the means are over them.
    pub steps: u64,
    /// Mean bits/dim of the batches, each before its step.
    pub bits_per_dim: f64,
    /// What each level's log-determinants and latents add to that; n_bits more make it up.
    pub level_bits_per_dim: Vec<f64>,
    /// Mean of −log₂ p(label), in bits, where the model has classes.
    pub label_bits: Option<f64>,
    /// Mean Euclidean norm of the gradient of the mean bits/dim, before clipping.
    pub gradient_norm: f64,
    /// Share of the steps whose gradient was clipped.
    pub clipped: f64,
    /// Steps so far, in this process, that were not taken because loss or gradient were not finite.
    pub skipped: u64,
}

/// Sums of the figures of steps, on the device: adding to them waits for nothing.
#[derive(Debug)]
struct Sums {
    /// Steps taken, bits/dim, gradient norm, clipped steps, label bits, then one number a level.
    figures: Tensor,
    /// Steps not taken, and how many of them are the last in a row.
    skipped: Tensor,
}

impl Sums {
    fn new(levels: usize, device: Device) -> Self {
        Self { figures: Self::zeros(5 + levels, device), skipped: Self::zeros(2, device) }
    }

    fn zeros(n: usize, device: Device) -> Tensor {
        Tensor::zeros([n as i64], (Kind::Double, device))
    }
}

/// Bits/dim over a number of images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Images.
    pub images: usize,
    /// Mean bits/dim.
    pub bits_per_dim: f64,
    /// Standard error of the mean; times 1.96 it is half of a 95 % confidence interval.
    pub standard_error: f64,
}

impl Score {
    /// Of the bits/dim of single images.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        Self { images: values.len(), bits_per_dim: mean, standard_error: (variance / n).sqrt() }
    }
}

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    device: Device,
    parameters: Parameters,
    averages: Parameters,
    glow: Glow,
    /// Of the last step: its memory is used again.
    gradients: Gradients,
    optimizer: Optimizer,
    train_images: u64,
    plan: Plan,
    minutes: f64,
    step: u64,
    images_seen: u64,
    actnorm_initialised: bool,
    last_bits_per_dim: Option<f64>,
    best_bits_per_dim: Option<f64>,
    sums: Sums,
}

impl Trainer {
    /// A fresh model, to be trained on so many images.
    ///
    /// # Errors
    /// The configuration is not valid.
    pub fn new(config: Config, train_images: usize, device: Device) -> Result<Self, TrainError> {
        config.validate()?;
        let parameters = Parameters::initial(&config.model, config.training.seed, device, Kind::Float);
        let averages = parameters.copy();
        Self::over(config, train_images as u64, device, parameters, averages)
    }

    /// A model as a checkpoint has it, trained on under `config`.
    ///
    /// # Errors
    /// The configuration is not valid, or describes another architecture than the checkpoint's.
    pub fn resume(checkpoint: &Checkpoint, config: Config, device: Device) -> Result<Self, TrainError> {
        config.validate()?;
        let meta = checkpoint.meta();
        if meta.config.model != config.model {
            return Err(TrainError::OtherArchitecture {
                path: checkpoint.path().into(),
                checkpoint: Box::new(meta.config.model.clone()),
                asked: Box::new(config.model),
            });
        }
        checkpoint.check_resumable()?;
        let parameters = load_parameters(checkpoint, Weights::Raw, device)?;
        let averages = load_parameters(checkpoint, Weights::Averaged, device)?;
        let mut trainer = Self::over(config, meta.train_images, device, parameters, averages)?;
        tch::no_grad(|| -> Result<(), TrainError> {
            for (parameter, mean, size) in trainer.optimizer.state() {
                for (group, mut tensor) in [(Group::OptimizerMean, mean), (Group::OptimizerSize, size)] {
                    let bytes = checkpoint.bytes(group, &parameter.name)?;
                    tensor.copy_(&tensor_from_bytes(parameter, &bytes));
                }
            }
            Ok(())
        })?;
        trainer.step = meta.step;
        trainer.images_seen = meta.images_seen;
        trainer.minutes = meta.minutes;
        trainer.actnorm_initialised = meta.actnorm_initialised;
        trainer.last_bits_per_dim = meta.bits_per_dim;
        trainer.best_bits_per_dim = meta.best_bits_per_dim;
        Ok(trainer)
    }

    fn over(
        config: Config,
        train_images: u64,
        device: Device,
        parameters: Parameters,
        averages: Parameters,
    ) -> Result<Self, TrainError> {
        let plan = Plan::new(&config, train_images)?;
        parameters.require_grad();
        let glow = Glow::in_precision(&config.model, &parameters, config.training.precision);
        let sums = Sums::new(config.model.levels, device);
        let optimizer = Optimizer::new(&config.training, Rates::from(&plan), &parameters, &averages);
        Ok(Self {
            config,
            device,
            parameters,
            averages,
            gradients: glow.zero_gradients(),
            glow,
            optimizer,
            train_images,
            plan,
            minutes: 0.0,
            step: 0,
            images_seen: 0,
            actnorm_initialised: false,
            last_bits_per_dim: None,
            best_bits_per_dim: None,
            sums,
        })
    }

    /// The run's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Steps done.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Training images seen, repeats counted; the position in the loader's stream.
    pub fn images_seen(&self) -> u64 {
        self.images_seen
    }

    /// Epochs done, with fraction.
    pub fn epoch(&self) -> f64 {
        self.plan.epochs(self.images_seen)
    }

    /// Steps of this process that were not taken because loss or gradient were not finite.
    pub fn skipped(&self) -> u64 {
        self.sums.skipped.double_value(&[0]) as u64
    }

    /// Whether the actnorms have been initialised from data.
    pub fn actnorm_initialised(&self) -> bool {
        self.actnorm_initialised
    }

    /// The run's durations in steps, and its learning rates.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Minutes of training so far, over all processes that went on with the run.
    pub fn minutes(&self) -> f64 {
        self.minutes
    }

    /// Notes how many minutes were trained so far.
    pub fn set_minutes(&mut self, minutes: f64) {
        self.minutes = minutes;
    }

    /// The flow over the trained weights or over their average, in fp32 however it is trained: as it is
    /// exported.
    pub fn glow(&self, weights: Weights) -> Glow {
        let parameters = match weights {
            Weights::Raw => &self.parameters,
            Weights::Averaged => &self.averages,
        };
        Glow::new(&self.config.model, parameters)
    }

    /// Sets the actnorms from a batch, and the averages to the weights.
    pub fn initialise_actnorm(&mut self, batch: &Batch) {
        let (x, _) = self.input(batch, seed(self.config.training.seed, Purpose::Initialisation, 0));
        self.glow.initialise_actnorm(&x);
        self.optimizer.reset_averages();
        self.actnorm_initialised = true;
    }

    /// One step of optimisation on a batch: the mean of its bits/dim, plus weight_y times the
    /// classifier's bits where the model has classes. What it did is told by [`Trainer::report`]; where
    /// loss or gradient are not finite, the parameters stay as they are.
    ///
    /// # Errors
    /// Loss or gradient were not finite for [`MAX_SKIPPED_IN_A_ROW`] steps in a row. On CUDA, where looking
    /// means waiting, that is noticed at a multiple of so many steps.
    pub fn step(&mut self, batch: &Batch) -> Result<(), TrainError> {
        let (x, labels) = self.input(batch, seed(self.config.training.seed, Purpose::Step, self.step));
        let Training { weight_y, memory, clip_grad_norm, .. } = self.config.training;
        let n = batch.count as f64;
        let bits = -1.0 / (std::f64::consts::LN_2 * self.config.model.dims() as f64 * n);
        let weights = LossWeights { log_prob: bits, label_bits: weight_y / n };
        let encoded = self.glow.gradient_into(&x, labels.as_ref(), weights, memory, &mut self.gradients);
        let gradient = Gradient::from(&self.gradients);
        tch::no_grad(|| {
            let sum = |t: &Tensor| t.sum(Kind::Double);
            let bits_per_dim = sum(&encoded.log_prob) * bits;
            let label_bits = encoded.label_bits.as_ref().map_or_else(|| bits_per_dim.zeros_like(), &sum) / n;
            let norm = gradient.norm.to_kind(Kind::Double);
            let finite = (&norm + &bits_per_dim + &label_bits).isfinite();
            let one = norm.ones_like();
            let unclipped = match clip_grad_norm {
                None => one.shallow_clone(),
                Some(limit) => (limit / &norm).clamp_max(1.0),
            };
            let mut figures = vec![
                one.shallow_clone(),
                bits_per_dim,
                norm,
                unclipped.lt(1.0).to_kind(Kind::Double),
                label_bits,
            ];
            figures.extend(encoded.level_log_prob.iter().map(|log_prob| sum(log_prob) * bits));
            let zero = one.zeros_like();
            let figures = Tensor::stack(&figures, 0).where_self(&finite, &zero);
            self.sums.figures += figures;
            let missed = finite.logical_not().to_kind(Kind::Double);
            let in_a_row = (self.sums.skipped.get(1) + 1.0) * &missed;
            self.sums.skipped = Tensor::stack(&[self.sums.skipped.get(0) + &missed, in_a_row], 0);
            let scale = unclipped.where_self(&finite, &zero).to_kind(Kind::Float);
            let lr = self.plan.lr(self.step);
            self.step += 1;
            self.images_seen += batch.count as u64;
            let look = !self.device.is_cuda() || self.step.is_multiple_of(MAX_SKIPPED_IN_A_ROW);
            let in_a_row = if look { self.sums.skipped.double_value(&[1]) as u64 } else { 0 };
            if in_a_row >= MAX_SKIPPED_IN_A_ROW {
                let layer = self.glow.first_not_finite(&x, labels.as_ref()).unwrap_or_else(|| {
                    let parameter = self.optimizer.first_not_finite(&gradient);
                    format!("the gradient of {}", parameter.unwrap_or("the whole"))
                });
                return Err(TrainError::Diverged { step: self.step, skipped: in_a_row, layer });
            }
            self.optimizer.step(gradient, self.step, lr, &scale);
            Ok(())
        })
    }

    /// Means over the steps since the last call. Waits for the device.
    pub fn report(&mut self) -> Report {
        let levels = self.config.model.levels;
        let figures = std::mem::replace(&mut self.sums.figures, Sums::zeros(5 + levels, self.device));
        let figures = Vec::<f64>::try_from(figures).expect("a vector of doubles");
        let steps = figures[0];
        let mean = |index: usize| figures[index] / steps.max(1.0);
        Report {
            steps: steps as u64,
            bits_per_dim: mean(1),
            level_bits_per_dim: (0..levels).map(|level| mean(5 + level)).collect(),
            label_bits: (self.config.model.classes > 0).then(|| mean(4)),
            gradient_norm: mean(2),
            clipped: mean(3),
            skipped: self.skipped(),
        }
    }

    /// Bits/dim of every image of a batch; `draw` picks the dequantization noise, the same at every call.
    pub fn bits_per_dim(&self, batch: &Batch, draw: u64, weights: Weights) -> Vec<f64> {
        let counter = batch.first_image.wrapping_add(draw << 40);
        let (x, labels) = self.input(batch, seed(self.config.training.seed, Purpose::Evaluation, counter));
        let encoded = tch::no_grad(|| self.glow(weights).encode(&x, labels.as_ref()));
        let log_prob =
            Vec::<f64>::try_from(encoded.log_prob.to_kind(Kind::Double)).expect("one number an image");
        log_prob.into_iter().map(|log_prob| self.config.model.bits_per_dim(log_prob)).collect()
    }

    /// Notes a validation's result for the checkpoint; whether it is the best so far.
    pub fn note_validation(&mut self, bits_per_dim: f64) -> bool {
        self.last_bits_per_dim = Some(bits_per_dim);
        let best = bits_per_dim.is_finite() && self.best_bits_per_dim.is_none_or(|best| bits_per_dim < best);
        if best {
            self.best_bits_per_dim = Some(bits_per_dim);
        }
        best
    }

    /// The best validation's bits/dim so far.
    pub fn best_bits_per_dim(&self) -> Option<f64> {
        self.best_bits_per_dim
    }

    /// Samples of the weights that the configuration says: uint8 [n, H, W, C], row-major. The same latents for a seed at
    /// every call; classes take turns where the model has them.
    pub fn sample(&self, n: usize, temperature: f64, seed: u64) -> Vec<u8> {
        let like = Tensor::zeros([0], (Kind::Float, self.device));
        let classes = self.config.model.classes;
        let labels = (classes > 0).then(|| {
            let turns: Vec<i64> = (0..n).map(|i| (i % classes) as i64).collect();
            Tensor::from_slice(&turns).to_device(self.device)
        });
        let glow = self.glow(self.config.training.weights);
        let eps = glow.latents(n, temperature, seed, &like);
        let images = to_pixels(&self.config.model, &glow.decode(&eps, labels.as_ref()));
        Vec::<u8>::try_from(images.flatten(0, -1).to_device(Device::Cpu)).expect("a flat tensor of bytes")
    }

    /// Writes a checkpoint, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written; the one that was there stands.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let meta = CheckpointMeta {
            config: self.config.clone(),
            step: self.step,
            images_seen: self.images_seen,
            train_images: self.train_images,
            actnorm_initialised: self.actnorm_initialised,
            bits_per_dim: self.last_bits_per_dim,
            best_bits_per_dim: self.best_bits_per_dim,
            minutes: self.minutes,
            ..Default::default()
        };
        let state: HashMap<&str, (Tensor, Tensor)> =
            self.optimizer.state().map(|(p, mean, size)| (p.name.as_str(), (mean, size))).collect();
        glow_models::write_atomically(path, |out| {
            Checkpoint::write(out, &meta, &Group::ALL, |group, parameter, out| {
                let name = parameter.name.as_str();
                let tensor = match group {
                    Group::Params => self.parameters.get(name),
                    Group::Averages | Group::FurtherAverages(_) => self.averages.get(name),
                    Group::OptimizerMean => state[name].0.shallow_clone(),
                    Group::OptimizerSize => state[name].1.shallow_clone(),
                };
                out.write_all(&tensor_bytes(&tensor))
            })
        })
        .map_err(|source| TrainError::Write { path: path.into(), source })
    }

    /// A batch as the flow takes it: x [N, C, H, W] with noise of this seed, and labels.
    fn input(&self, batch: &Batch, seed: u64) -> (Tensor, Option<Tensor>) {
        let Architecture { height, width, channels, classes, .. } = self.config.model;
        let shape = [batch.count as i64, height as i64, width as i64, channels as i64];
        let images = self.on_device(Tensor::from_data_size(&batch.images, &shape, Kind::Uint8));
        let noise = self.on_device(uniform_noise(&shape, seed));
        let labels = (classes > 0).then(|| self.on_device(Tensor::from_slice(&batch.labels)));
        (dequantize(&self.config.model, &images, &noise), labels)
    }

    /// A tensor of the CPU on the device; to CUDA through pinned memory, without waiting for the copy.
    fn on_device(&self, tensor: Tensor) -> Tensor {
        if !self.device.is_cuda() {
            return tensor;
        }
        let kind = tensor.kind();
        tensor.pin_memory(self.device).to_device_(self.device, kind, true, false)
    }
}

/// The parameters of a checkpoint in f32: the trained ones as asked for, and the fixed ones.
///
/// # Errors
/// The checkpoint's file cannot be read.
pub fn load_parameters(
    checkpoint: &Checkpoint,
    weights: Weights,
    device: Device,
) -> Result<Parameters, CheckpointError> {
    Parameters::from_bytes(&checkpoint.meta().config.model, device, Kind::Float, |parameter| {
        let group = match (weights, parameter.role) {
            (Weights::Averaged, Role::Trained) => Group::Averages,
            _ => Group::Params,
        };
        checkpoint.bytes(group, &parameter.name)
    })
}
