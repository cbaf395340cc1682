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
            Self::over(config, state.train_images, device, parameters, Vec::new())
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
        for average in &self.averages {
            self.team.broadcast(&average.flat(), SHARING)?;
        }
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
        let name = names[first % names.len()];
        let further = || &self.config.training.further_averages[first / names.len() - 2];
        let parameter = match first / names.len() {
            0 => name.to_string(),
            1 => format!("the average of {name}"),
            _ => format!("the average over {} of {name}", further()),
        };
        let world_size = all.len();
        Err(DistributedError::Drift { ranks, world_size, parameter }.into())
    }

    /// Of every weight, then of every average, one average after the other.
    fn digests(&self) -> Vec<u8> {
        let all = std::iter::once(&self.parameters).chain(&self.averages);
        let tensors = all.flat_map(Parameters::trained);
        tensors
            .flat_map(|(_, tensor)| {
                let digest: [u8; 32] = Sha256::digest(tensor_bytes(&tensor)).into();
                digest.into_iter().take(DIGEST)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::{Description, Environment, Rendezvous, Server};
    use crate::torch::no_grad;
    use glow_data::Batch;
    use glow_models::{Architecture, Coupling, Memory, Training};
    use std::time::Duration;

    /// What `work` gives in each of some ranks, which are threads here.
    fn together<T: Send>(ranks: usize, work: impl Fn(&Rc<Team>) -> T + Sync) -> Vec<T> {
        tch::set_num_threads(1);
        let server = Server::start().unwrap();
        let (port, work) = (server.port(), &work);
        std::thread::scope(|scope| {
            let start = |rank| {
                let environment = Environment {
                    rank,
                    world_size: ranks,
                    local_rank: rank,
                    local_world_size: Some(ranks),
                    master_address: "127.0.0.1".into(),
                    master_port: port,
                    agent_serves: true,
                    restarts: 0,
                };
                scope.spawn(move || {
                    let rendezvous = Rendezvous::connect(environment, Duration::from_secs(60)).unwrap();
                    let meeting = rendezvous.meet(Description::new(), String::new()).unwrap();
                    let team = Rc::new(Team::from(meeting.connect(false).unwrap()));
                    let result = work(&team);
                    team.close().unwrap();
                    result
                })
            };
            let threads: Vec<_> = (0..ranks).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn config(memory: Memory) -> Config {
        let model = Architecture {
            height: 8,
            width: 8,
            levels: 2,
            depth: 2,
            hidden: 8,
            coupling: Coupling::Affine,
            ..Default::default()
        };
        Config { model, training: Training { memory, ..Default::default() }, ..Default::default() }
    }

    fn trainer(memory: Memory, team: &Rc<Team>) -> Trainer {
        match team.leads() {
            true => Trainer::new(config(memory), 100, Device::Cpu).unwrap().lead(team).unwrap(),
            false => Trainer::follow(config(memory), Device::Cpu, team).unwrap(),
        }
    }

    fn batch(first_image: u64, count: usize) -> Batch {
        let pixel = |i: usize| ((i as u64 + 192 * first_image) * 7919 % 251) as u8;
        Batch { images: (0..count * 192).map(pixel).collect(), labels: vec![0; count], count, first_image }
    }

    #[test]
    fn a_drift_is_found_by_all_and_named_by_its_first_parameter() {
        let found = |trainer: &Trainer| match trainer.check_drift() {
            Err(TrainError::Distributed(DistributedError::Drift { ranks, world_size, parameter })) => {
                Some((ranks, world_size, parameter))
            }
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        };
        let told = together(3, |team| {
            let trainer = trainer(Memory::Autograd, team);
            let nudge = |parameters: &Parameters, name: &str| {
                let number = parameters.get(name).view(-1).narrow(0, 1, 1);
                no_grad(|| number.shallow_clone().copy_(&(&number + 1e-6)));
            };
            let mut told = vec![found(&trainer)];
            if team.rank() == 1 {
                nudge(&trainer.averages[0], "level1.step00.actnorm.bias");
            }
            told.push(found(&trainer));
            if team.rank() == 2 {
                // In the order of the architecture, the second of these comes first.
                nudge(&trainer.parameters, "level1.step01.actnorm.logs");
                nudge(&trainer.parameters, "level0.step01.coupling.conv2.weight");
            }
            told.push(found(&trainer));
            told
        });
        let name = |parameter: &str| parameter.to_string();
        let expected = [
            None,
            Some((vec![1], 3, name("the average of level1.step00.actnorm.bias"))),
            Some((vec![1, 2], 3, name("level0.step01.coupling.conv2.weight"))),
        ];
        for told in told {
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn the_drift_of_reversible_steps_is_the_largest_of_all_ranks() {
        let part = |rank: usize| batch(10 + 2 * rank as u64, 2);
        // Of each part by itself, at the same parameters.
        let alone: Vec<f64> = (0..3)
            .map(|rank| {
                let mut trainer = trainer(Memory::Reversible, &Rc::new(Team::alone()));
                trainer.initialise_actnorm(&batch(0, 8)).unwrap();
                trainer.step(&part(rank)).unwrap();
                trainer.report().unwrap().reversible_drift.unwrap()
            })
            .collect();
        let most = alone.iter().copied().fold(0.0, f64::max);
        assert!(alone.iter().any(|&drift| drift < most), "{alone:?}: the parts should differ");
        let merged = together(3, |team| {
            let mut trainer = trainer(Memory::Reversible, team);
            if team.leads() {
                trainer.initialise_actnorm(&batch(0, 8)).unwrap();
            }
            trainer.share_parameters().unwrap();
            trainer.step_of(&part(team.rank()), 6).unwrap();
            trainer.report().unwrap().reversible_drift.unwrap()
        });
        assert_eq!(merged, [most; 3], "of {alone:?}");
    }
}
