//! A trainer in each of several processes: one state in all of them.
use super::Trainer;
use crate::distributed::{DistributedError, Team};
use crate::error::TrainError;
use crate::flow::{Parameters, tensor_bytes};
use crate::torch;
use glow_models::{Config, Dtype, Role};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

const SHARING: &str = "sharing the model";
/// Bytes of a parameter's digest.
const DIGEST: usize = 8;

/// What a trainer knows besides its tensors. Floats travel as their bits.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    step: u64,
    images_seen: u64,
    train_images: u64,
    minutes: u64,
    actnorm_initialised: bool,
    last_bits_per_dim: Option<u64>,
    best_bits_per_dim: Option<u64>,
}

impl Trainer {
    /// Rank 0's trainer as a member of a team; the others make theirs with [`Trainer::follow`] meanwhile.
    ///
    /// # Errors
    /// A process fails or is lost.
    pub fn lead(mut self, team: &Rc<Team>) -> Result<Self, TrainError> {
        self.team = team.clone();
        if team.size() == 1 {
            return Ok(self);
        }
        let state = State {
            step: self.step,
            images_seen: self.images_seen,
            train_images: self.train_images,
            minutes: self.minutes.to_bits(),
            actnorm_initialised: self.actnorm_initialised,
            last_bits_per_dim: self.last_bits_per_dim.map(f64::to_bits),
            best_bits_per_dim: self.best_bits_per_dim.map(f64::to_bits),
        };
        let state = serde_json::to_vec(&state).expect("a state is representable as JSON");
        team.of_lead(state, SHARING)?;
        for parameter in self.parameters.list().iter().filter(|parameter| parameter.role == Role::Fixed) {
            let tensor = self.parameters.get(&parameter.name).to_device(Device::Cpu).contiguous();
            team.broadcast(&tensor, SHARING)?;
        }
        self.share_all()?;
        Ok(self)
    }

    /// Another rank's trainer: a copy of rank 0's.
    ///
    /// # Errors
    /// A process fails or is lost; or memory does not suffice.
    pub fn follow(config: Config, device: Device, team: &Rc<Team>) -> Result<Self, TrainError> {
        config.validate()?;
        let state = team.of_lead(Vec::new(), SHARING)?;
        let state: State = serde_json::from_slice(&state).map_err(|_| DistributedError::Differs {
            differences: vec!["rank 0 is another version of this program".into()],
        })?;
        let mut trainer = torch::attempt("making the model's parameters", || {
            let drawn = Parameters::initial(&config.model, config.training.seed, device, Kind::Float);
            let parameters = Parameters::from_bytes(&config.model, device, Kind::Float, |parameter| {
                if parameter.role == Role::Trained {
                    return Ok::<_, TrainError>(tensor_bytes(&drawn.get(&parameter.name)));
                }
                let size: Vec<i64> = parameter.shape.iter().map(|&n| n as i64).collect();
                let kind = if parameter.dtype == Dtype::I64 { Kind::Int64 } else { Kind::Float };
                let tensor = Tensor::zeros(size, (kind, Device::Cpu));
                team.broadcast(&tensor, SHARING)?;
                Ok(tensor_bytes(&tensor))
            })?;
            let averages = parameters.copy();
            Self::over(config, state.train_images, device, parameters, averages)
        })??;
        trainer.team = team.clone();
        trainer.step = state.step;
        trainer.images_seen = state.images_seen;
        trainer.minutes = f64::from_bits(state.minutes);
        trainer.actnorm_initialised = state.actnorm_initialised;
        trainer.last_bits_per_dim = state.last_bits_per_dim.map(f64::from_bits);
        trainer.best_bits_per_dim = state.best_bits_per_dim.map(f64::from_bits);
        trainer.share_all()?;
        Ok(trainer)
    }

    /// Sends what the optimiser changes from rank 0 to all.
    fn share_all(&mut self) -> Result<(), TrainError> {
        self.share_parameters()?;
        let [mean, size] = self.optimizer.running();
        self.team.broadcast(&mean, SHARING)?;
        self.team.broadcast(&size, SHARING)?;
        // From here on the gradients go without being compared before each sum.
        self.team.agree(&[&self.gradients.flat()], SHARING)?;
        Ok(())
    }

    /// Sends the weights and their averages from rank 0 to all, which have the actnorms initialised
    /// after it.
    ///
    /// # Errors
    /// A process fails or is lost.
    pub fn share_parameters(&mut self) -> Result<(), TrainError> {
        self.team.broadcast(&self.parameters.flat(), SHARING)?;
        self.team.broadcast(&self.averages.flat(), SHARING)?;
        if self.team.size() > 1 {
            let [initialised] = self.team.any([self.actnorm_initialised], SHARING)?;
            self.actnorm_initialised = initialised;
        }
        Ok(())
    }

    /// Makes sure that all processes have the same weights and averages, bit for bit.
    ///
    /// # Errors
    /// [`DistributedError::Drift`]; or a process fails or is lost.
    pub fn check_drift(&self) -> Result<(), TrainError> {
        const COMPARING: &str = "comparing the parameters";
        if self.team.size() == 1 {
            return Ok(());
        }
        let digests = torch::attempt(COMPARING, || self.digests())?;
        let all = self.team.gather(digests, COMPARING)?;
        let lead = &all[0];
        let ranks: Vec<usize> = (1..all.len()).filter(|&rank| all[rank] != *lead).collect();
        let first = |rank: &usize| {
            let pairs = all[*rank].chunks(DIGEST).zip(lead.chunks(DIGEST));
            pairs.enumerate().find(|(_, (theirs, lead))| theirs != lead).map(|(index, _)| index)
        };
        let Some(first) = ranks.iter().filter_map(first).min() else {
            return Ok(());
        };
        let names: Vec<&str> =
            self.parameters.trained().map(|(parameter, _)| parameter.name.as_str()).collect();
        let parameter = match names.get(first) {
            Some(name) => name.to_string(),
            None => format!("the average of {}", names[first - names.len()]),
        };
        let world_size = all.len();
        Err(DistributedError::Drift { ranks, world_size, parameter }.into())
    }

    /// Of every weight, then of every average.
    fn digests(&self) -> Vec<u8> {
        let tensors = [&self.parameters, &self.averages].into_iter().flat_map(Parameters::trained);
        tensors
            .flat_map(|(_, tensor)| {
                let digest: [u8; 32] = Sha256::digest(tensor_bytes(&tensor)).into();
                digest.into_iter().take(DIGEST)
            })
            .collect()
    }
}
