//! A trainer's state as a checkpoint, and back.
use super::Trainer;
use crate::error::TrainError;
use crate::flow::{Glow, Parameters, tensor_bytes, tensor_from_bytes};
use crate::torch;
use glow_models::{
    Architecture, Checkpoint, CheckpointError, CheckpointMeta, Config, Group, Parameter, Pretrained, Role,
    Weights,
};
use std::collections::HashMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

impl Trainer {
    /// A model as a checkpoint has it, trained on under `config`.
    ///
    /// # Errors
    /// The configuration is not valid, or describes another architecture than the checkpoint's; or memory
    /// does not suffice.
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
        let mut trainer = torch::attempt("loading the checkpoint", || {
            let parameters = load_parameters(checkpoint, Weights::Raw, device)?;
            let mut averages = vec![load_parameters(checkpoint, Weights::Averaged, device)?];
            for name in average_names(&config) {
                // One that the run did not keep so far begins at the weights.
                averages.push(match checkpoint.weights(&name) {
                    Ok(group) => load_parameters(checkpoint, group, device)?,
                    Err(_) => parameters.copy(),
                });
            }
            let trainer = Self::over(config, meta.train_images, device, parameters, averages)?;
            torch::no_grad(|| {
                for (parameter, mean, size) in trainer.optimizer.state() {
                    for (group, mut tensor) in [(Group::OptimizerMean, mean), (Group::OptimizerSize, size)] {
                        let bytes = checkpoint.bytes(group, &parameter.name)?;
                        tensor.copy_(&tensor_from_bytes(parameter, &bytes));
                    }
                }
                Ok::<_, TrainError>(trainer)
            })
        })??;
        trainer.step = meta.step;
        trainer.images_seen = meta.images_seen;
        trainer.minutes = meta.minutes;
        trainer.actnorm_initialised = meta.actnorm_initialised;
        trainer.last_bits_per_dim = meta.bits_per_dim;
        trainer.best_bits_per_dim = meta.best_bits_per_dim;
        trainer.class_names = meta.class_names.clone();
        // A data set that is named anew is meant from here.
        if trainer.config.data.data == meta.config.data.data && !meta.working_folder.is_empty() {
            trainer.working_folder = meta.working_folder.clone();
        }
        Ok(trainer)
    }

    /// A new run on `train_images` images that starts from the weights of a model that exists: step 0, a fresh
    /// optimiser, averages equal to the weights, actnorms as they are.
    ///
    /// # Errors
    /// The configuration is not valid, or describes another architecture; the weights cannot be read; or memory
    /// does not suffice.
    pub fn start_from(
        pretrained: &Pretrained,
        config: Config,
        train_images: usize,
        device: Device,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        check_architecture(pretrained, &config.model)?;
        torch::attempt("loading the weights to start from", || {
            let bytes = |parameter: &Parameter| pretrained.bytes(parameter);
            let parameters = Parameters::from_bytes(&config.model, device, Kind::Float, bytes)?;
            let mut trainer = Self::over(config, train_images as u64, device, parameters, Vec::new())?;
            trainer.actnorm_initialised = true;
            Ok(trainer)
        })?
    }

    /// Writes a checkpoint, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written; the one that was there stands. Or an error of libtorch in the middle of a
    /// step left parameters that are half of before and half of after it, which are not worth a checkpoint:
    /// [`TrainError::HalfStep`].
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        if self.half_step {
            return Err(TrainError::HalfStep { path: path.into() });
        }
        let meta = CheckpointMeta {
            config: self.config.clone(),
            step: self.step,
            images_seen: self.images_seen,
            train_images: self.train_images,
            actnorm_initialised: self.actnorm_initialised,
            bits_per_dim: self.last_bits_per_dim,
            best_bits_per_dim: self.best_bits_per_dim,
            minutes: self.minutes,
            class_names: self.class_names.clone(),
            working_folder: self.working_folder.clone(),
            further_averages: average_names(&self.config).collect(),
        };
        let mut groups = Group::WEIGHTS.to_vec();
        // `Config::validate` allows no more of them than have a number.
        groups.extend((1..self.averages.len()).map(|n| Group::FurtherAverages(n as u8)));
        groups.extend([Group::OptimizerMean, Group::OptimizerSize]);
        let state: HashMap<&str, (Tensor, Tensor)> =
            self.optimizer.state().map(|(p, mean, size)| (p.name.as_str(), (mean, size))).collect();
        torch::attempt("saving a checkpoint", || {
            glow_models::write_atomically(path, |out| {
                Checkpoint::write(out, &meta, &groups, |group, parameter, out| {
                    let name = parameter.name.as_str();
                    let tensor = match group {
                        Group::Params => self.parameters.get(name),
                        Group::Averages => self.averages[0].get(name),
                        Group::FurtherAverages(n) => self.averages[usize::from(n)].get(name),
                        Group::OptimizerMean => state[name].0.shallow_clone(),
                        Group::OptimizerSize => state[name].1.shallow_clone(),
                    };
                    out.write_all(&tensor_bytes(&tensor))
                })
            })
        })?
        .map_err(|source| TrainError::Write { path: path.into(), source })
    }
}

/// Checks that a run of this architecture can start from these weights.
pub(crate) fn check_architecture(pretrained: &Pretrained, asked: &Architecture) -> Result<(), TrainError> {
    let architecture = pretrained.architecture();
    if architecture == asked {
        return Ok(());
    }
    Err(TrainError::OtherArchitecture {
        path: pretrained.path().into(),
        checkpoint: Box::new(architecture.clone()),
        asked: Box::new(asked.clone()),
    })
}

/// The names of a run's further averages: the times over which they remember.
fn average_names(config: &Config) -> impl Iterator<Item = String> {
    config.training.further_averages.iter().map(ToString::to_string)
}

/// The flow of a checkpoint in fp32 over the weights of a group, without what training it takes.
///
/// # Errors
/// The checkpoint's file cannot be read, or memory does not suffice.
pub fn load_glow(
    checkpoint: &Checkpoint,
    weights: impl Into<Group>,
    device: Device,
) -> Result<Glow, TrainError> {
    torch::attempt("loading the checkpoint", || {
        Ok(Glow::new(&checkpoint.meta().config.model, &load_parameters(checkpoint, weights, device)?))
    })?
}

/// The parameters of a checkpoint in f32: the trained ones of a group, and the fixed ones.
///
/// # Errors
/// The checkpoint's file cannot be read.
pub fn load_parameters(
    checkpoint: &Checkpoint,
    weights: impl Into<Group>,
    device: Device,
) -> Result<Parameters, CheckpointError> {
    let weights = weights.into();
    Parameters::from_bytes(&checkpoint.meta().config.model, device, Kind::Float, |parameter| {
        let group = if parameter.role == Role::Trained { weights } else { Group::Params };
        checkpoint.bytes(group, &parameter.name)
    })
}
