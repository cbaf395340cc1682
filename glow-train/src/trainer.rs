//! One model in training: its parameters, averages and optimiser, a step, a validation, a checkpoint.
use crate::data::Batch;
use crate::error::TrainError;
use crate::flow::{Glow, Parameters, dequantize, tensor_bytes, tensor_from_bytes, to_pixels, uniform_noise};
use crate::optimizer::{Optimizer, Rates};
use glow_models::{Architecture, Checkpoint, CheckpointMeta, Config, Group, Role, Weights};
use std::collections::HashMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Steps without a finite gradient, in a row, after which training stops.
const MAX_SKIPPED_IN_A_ROW: u64 = 20;

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

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Mean bits/dim of the batch, before the step.
    pub bits_per_dim: f64,
    /// Euclidean norm of the gradient of the mean bits/dim, before clipping.
    pub gradient_norm: f64,
    /// Learning rate used.
    pub lr: f64,
    /// Whether loss or gradient were not finite, so that no step was taken.
    pub skipped: bool,
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
    averaged: Glow,
    optimizer: Optimizer,
    train_images: u64,
    step: u64,
    images_seen: u64,
    actnorm_initialised: bool,
    last_bits_per_dim: Option<f64>,
    best_bits_per_dim: Option<f64>,
    skipped: u64,
    skipped_in_a_row: u64,
}

impl Trainer {
    /// A fresh model; `train_images` is the length of an epoch.
    ///
    /// # Errors
    /// The configuration is not valid.
    pub fn new(config: Config, train_images: usize, device: Device) -> Result<Self, TrainError> {
        config.validate()?;
        let parameters = Parameters::initial(&config.model, config.training.seed, device, Kind::Float);
        let averages = parameters.copy();
        Ok(Self::over(config, train_images as u64, device, parameters, averages))
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
        let parameters = load_parameters(checkpoint, Weights::Raw, device);
        let averages = load_parameters(checkpoint, Weights::Averaged, device);
        let mut trainer = Self::over(config, meta.train_images, device, parameters, averages);
        tch::no_grad(|| {
            for (parameter, mean, size) in trainer.optimizer.state() {
                for (group, mut tensor) in [(Group::OptimizerMean, mean), (Group::OptimizerSize, size)] {
                    let bytes =
                        checkpoint.bytes(group, &parameter.name).expect("a checked checkpoint has it");
                    tensor.copy_(&tensor_from_bytes(parameter, bytes));
                }
            }
        });
        trainer.step = meta.step;
        trainer.images_seen = meta.images_seen;
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
    ) -> Self {
        parameters.require_grad();
        let glow = Glow::new(&config.model, &parameters);
        let averaged = Glow::new(&config.model, &averages);
        let rates = Rates::new(&config.training, steps_per_epoch(&config, train_images));
        let optimizer = Optimizer::new(&config.training, rates, &parameters, &averages);
        Self {
            config,
            device,
            parameters,
            averages,
            glow,
            averaged,
            optimizer,
            train_images,
            step: 0,
            images_seen: 0,
            actnorm_initialised: false,
            last_bits_per_dim: None,
            best_bits_per_dim: None,
            skipped: 0,
            skipped_in_a_row: 0,
        }
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
        self.images_seen as f64 / self.train_images as f64
    }

    /// Steps that were not taken because loss or gradient were not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether the actnorms have been initialised from data.
    pub fn actnorm_initialised(&self) -> bool {
        self.actnorm_initialised
    }

    /// Steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        match self.config.training.steps {
            0 => (self.config.training.epochs * self.steps_per_epoch()).ceil() as u64,
            steps => steps,
        }
    }

    fn steps_per_epoch(&self) -> f64 {
        steps_per_epoch(&self.config, self.train_images)
    }

    /// The flow over the trained weights or over their average.
    pub fn glow(&self, weights: Weights) -> &Glow {
        match weights {
            Weights::Raw => &self.glow,
            Weights::Averaged => &self.averaged,
        }
    }

    /// Learning rate of a step, counted from 0: linear from 0 over the warm-up, then constant.
    pub fn lr(&self, step: u64) -> f64 {
        let training = &self.config.training;
        let warmup = match training.warmup_steps {
            0 => training.warmup_epochs * self.steps_per_epoch(),
            steps => steps as f64,
        };
        training.lr * ((step + 1) as f64 / warmup.max(1.0)).min(1.0)
    }

    /// Sets the actnorms from a batch, and the averages to the weights.
    pub fn initialise_actnorm(&mut self, batch: &Batch) {
        let (x, labels) = self.input(batch, seed(self.config.training.seed, Purpose::Initialisation, 0));
        self.glow.initialise_actnorm(&x, labels.as_ref());
        self.optimizer.reset_averages();
        self.actnorm_initialised = true;
    }

    /// One step of optimisation on a batch: the mean of its bits/dim, plus weight_y times the
    /// classifier's bits where the model has classes.
    ///
    /// # Errors
    /// Loss or gradient were not finite for many steps in a row.
    pub fn step(&mut self, batch: &Batch) -> Result<StepReport, TrainError> {
        let (x, labels) = self.input(batch, seed(self.config.training.seed, Purpose::Step, self.step));
        let encoded = self.glow.encode(&x, labels.as_ref());
        let nats_per_bit_dim = std::f64::consts::LN_2 * self.config.model.dims() as f64;
        let bits = -encoded.log_prob.mean(Kind::Float) / nats_per_bit_dim;
        let loss = match encoded.label_bits {
            Some(label_bits) => &bits + label_bits.mean(Kind::Float) * self.config.training.weight_y,
            None => bits.shallow_clone(),
        };
        let gradient = self.optimizer.gradient(&loss);
        let bits_per_dim = bits.double_value(&[]);
        let lr = self.lr(self.step);
        self.step += 1;
        self.images_seen += batch.count as u64;
        let gradient = match gradient {
            Ok(gradient) if loss.double_value(&[]).is_finite() => gradient,
            gradient => {
                self.skipped += 1;
                self.skipped_in_a_row += 1;
                if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW {
                    let parameter = gradient.err().map_or_else(|| "the loss".to_string(), |e| e.parameter);
                    return Err(TrainError::Diverged {
                        step: self.step,
                        skipped: self.skipped_in_a_row,
                        parameter,
                    });
                }
                return Ok(StepReport { bits_per_dim, gradient_norm: f64::NAN, lr, skipped: true });
            }
        };
        self.skipped_in_a_row = 0;
        let (limit, gradient_norm) = (self.config.training.clip_grad_norm, gradient.norm);
        let scale = if limit > 0.0 && gradient_norm > limit { limit / gradient_norm } else { 1.0 };
        self.optimizer.step(gradient, self.step, lr, scale);
        Ok(StepReport { bits_per_dim, gradient_norm, lr, skipped: false })
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

    /// Samples of the averaged weights: uint8 [n, H, W, C], row-major. The same latents for a seed at
    /// every call; classes take turns where the model has them.
    pub fn sample(&self, n: usize, temperature: f64, seed: u64) -> Vec<u8> {
        let like = Tensor::zeros([0], (Kind::Float, self.device));
        let classes = self.config.model.classes;
        let labels = (classes > 0).then(|| {
            let turns: Vec<i64> = (0..n).map(|i| (i % classes) as i64).collect();
            Tensor::from_slice(&turns).to_device(self.device)
        });
        let eps = self.averaged.latents(n, temperature, seed, &like);
        let images = to_pixels(&self.config.model, &self.averaged.decode(&eps, labels.as_ref()));
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
        };
        let state: HashMap<&str, (Tensor, Tensor)> =
            self.optimizer.state().map(|(p, mean, size)| (p.name.as_str(), (mean, size))).collect();
        glow_models::write_atomically(path, |out| {
            Checkpoint::write(out, &meta, |group, parameter| match group {
                Group::Params => tensor_bytes(&self.parameters.get(&parameter.name)),
                Group::Averages => tensor_bytes(&self.averages.get(&parameter.name)),
                Group::OptimizerMean => tensor_bytes(&state[parameter.name.as_str()].0),
                Group::OptimizerSize => tensor_bytes(&state[parameter.name.as_str()].1),
            })
        })
        .map_err(|source| TrainError::Write { path: path.into(), source })
    }

    /// A batch as the flow takes it: x [N, C, H, W] with noise of this seed, and labels.
    fn input(&self, batch: &Batch, seed: u64) -> (Tensor, Option<Tensor>) {
        let Architecture { height, width, channels, classes, .. } = self.config.model;
        let shape = [batch.count as i64, height as i64, width as i64, channels as i64];
        let images = Tensor::from_data_size(&batch.images, &shape, Kind::Uint8).to_device(self.device);
        let noise = uniform_noise(&shape, seed).to_device(self.device);
        let labels = (classes > 0).then(|| Tensor::from_slice(&batch.labels).to_device(self.device));
        (dequantize(&self.config.model, &images, &noise), labels)
    }
}

fn steps_per_epoch(config: &Config, train_images: u64) -> f64 {
    train_images as f64 / config.training.batch_size as f64
}

/// The parameters of a checkpoint in f32: the trained ones as asked for, and the fixed ones.
pub fn load_parameters(checkpoint: &Checkpoint, weights: Weights, device: Device) -> Parameters {
    Parameters::from_bytes(&checkpoint.meta().config.model, device, Kind::Float, |parameter| {
        let group = match (weights, parameter.role) {
            (Weights::Averaged, Role::Trained) => Group::Averages,
            _ => Group::Params,
        };
        checkpoint.bytes(group, &parameter.name).expect("a checked checkpoint has it")
    })
}
