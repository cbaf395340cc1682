//! One model in training: its parameters, averages and optimiser, a step, a checkpoint.
mod checkpoint;
mod figures;
mod together;

pub(crate) use checkpoint::check_architecture;
pub use checkpoint::{load_glow, load_parameters};
pub use figures::Report;

use crate::distributed::Team;
use crate::error::TrainError;
use crate::evaluate;
use crate::flow::{Differentiated, Glow, Gradients, LossWeights, Parameters};
use crate::input::Inputs;
use crate::optimizer::{Gradient, Optimizer, Rates};
use crate::torch;
use figures::{StepFigures, Sums};
use glow_data::Batch;
use glow_models::random::Purpose;
use glow_models::{Config, GradientSums, Memory, NetworkPrecision, Plan, Training, Weights};
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

const SUMMING: &str = "adding up the gradients";

/// Steps without a finite gradient, in a row, after which training stops.
pub const MAX_SKIPPED_IN_A_ROW: u64 = 20;

/// The most by which reversible training may miss a number of x when it recomputes the images: half a step of
/// 8-bit pixels. A step that misses by more is not taken, as its gradients would be of other activations.
pub const MAX_DRIFT: f64 = 1.0 / 512.0;

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    inputs: Inputs,
    parameters: Parameters,
    /// That of `polyak`, then those of `further_averages`.
    averages: Vec<Parameters>,
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
    class_names: Vec<String>,
    /// The folder that the run was started in.
    working_folder: String,
    sums: Sums,
    /// Whether an error of libtorch left a step half taken.
    half_step: bool,
    /// Those that train this model together.
    team: Rc<Team>,
}

impl Trainer {
    /// A fresh model, to be trained on so many images.
    ///
    /// # Errors
    /// The configuration is not valid, or memory does not suffice.
    pub fn new(config: Config, train_images: usize, device: Device) -> Result<Self, TrainError> {
        config.validate()?;
        torch::attempt("making the model's parameters", || {
            let parameters = Parameters::initial(&config.model, config.training.seed, device, Kind::Float);
            Self::over(config, train_images as u64, device, parameters, Vec::new())
        })?
    }

    /// A trainer over these parameters; averages that are not given yet are the parameters.
    fn over(
        config: Config,
        train_images: u64,
        device: Device,
        parameters: Parameters,
        mut averages: Vec<Parameters>,
    ) -> Result<Self, TrainError> {
        let Training { memory, precision, .. } = config.training;
        if memory == Memory::Reversible && precision == NetworkPrecision::Tf32 {
            return Err(TrainError::ReversibleTf32);
        }
        let plan = Plan::new(&config, train_images)?;
        averages.resize_with(1 + config.training.further_averages.len(), || parameters.copy());
        parameters.require_grad();
        let glow = Glow::in_precision(&config.model, &parameters, config.training.precision);
        let sums = Sums::new(config.model.levels, device);
        let optimizer = Optimizer::new(&config.training, Rates::from(&plan), &parameters, &averages);
        let inputs = Inputs { model: config.model.clone(), device, seed: config.training.seed };
        Ok(Self {
            config,
            inputs,
            gradients: Gradients::zeros(&parameters),
            parameters,
            averages,
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
            class_names: Vec::new(),
            working_folder: std::env::current_dir().map_or(String::new(), |path| path.display().to_string()),
            sums,
            half_step: false,
            team: Rc::default(),
        })
    }

    /// Sets the names of the classes, in the order of their labels, which checkpoints then hold.
    pub fn set_class_names(&mut self, names: Vec<String>) {
        self.class_names = names;
    }

    /// The run's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the model is.
    pub fn device(&self) -> Device {
        self.inputs.device
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
        self.sums.skipped()
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
    ///
    /// # Errors
    /// Memory does not suffice.
    pub fn glow(&self, weights: Weights) -> Result<Glow, TrainError> {
        let parameters = match weights {
            Weights::Raw => &self.parameters,
            Weights::Averaged => &self.averages[0],
        };
        torch::attempt("preparing the model", || Glow::new(&self.config.model, parameters))
    }

    /// Sets the actnorms from a batch, and the averages to the weights.
    ///
    /// # Errors
    /// The batch is not one for this model, or libtorch refuses: memory ran out, above all.
    pub fn initialise_actnorm(&mut self, batch: &Batch) -> Result<(), TrainError> {
        torch::attempt("initialising the actnorms from data", || {
            let (x, _) = self.inputs.of(batch, Purpose::TrainingNoise)?;
            self.glow.initialise_actnorm(&x);
            self.optimizer.reset_averages();
            self.actnorm_initialised = true;
            Ok(())
        })?
    }

    /// One step of optimisation on a batch: the mean of its bits/dim, plus weight_y times the
    /// classifier's bits where the model has classes. What it did is told by [`Trainer::report`]; where
    /// loss or gradient are not finite, or reversible training drifts by more than [`MAX_DRIFT`], the
    /// parameters stay as they are.
    ///
    /// # Errors
    /// [`MAX_SKIPPED_IN_A_ROW`] steps in a row were not taken. On CUDA, where looking
    /// means waiting, that is noticed at a multiple of so many steps. Or the batch is not one for this model,
    /// or libtorch refuses: memory ran out, above all.
    pub fn step(&mut self, batch: &Batch) -> Result<(), TrainError> {
        self.step_of(batch, batch.count)
    }

    /// The same with a team: `batch` is this process's part, maybe empty, of a batch of `images`. All processes
    /// take the same step, or none.
    ///
    /// # Errors
    /// As for [`Trainer::step`]; or a process fails or is lost.
    pub fn step_of(&mut self, batch: &Batch, images: usize) -> Result<(), TrainError> {
        let Training { weight_y, memory, .. } = self.config.training;
        let n = images as f64;
        let bits = -1.0 / (std::f64::consts::LN_2 * self.config.model.dims() as f64 * n);
        let weights = LossWeights { log_prob: bits, label_bits: weight_y / n };
        // A level's gradients travel while those of the level before it are computed.
        let mut begun = Vec::new();
        let bf16 = self.config.training.gradient_sums == GradientSums::Bf16;
        let team = self.team.clone();
        let mut begin = |section: Tensor| begun.push(team.begin_sum(&section, bf16, SUMMING));
        let (inputs, sums) = torch::attempt("computing the gradient of a step", || {
            if batch.count == 0 {
                let _ = self.gradients.flat().zero_();
                self.gradients.sections().for_each(begin);
                return Ok((None, self.no_sums()));
            }
            let (x, labels) = self.inputs.of(batch, Purpose::TrainingNoise)?;
            let (labels_of_x, gradients) = (labels.as_ref(), &mut self.gradients);
            let of_loss =
                self.glow.gradient_by_sections(&x, labels_of_x, weights, memory, gradients, &mut begin)?;
            Ok::<_, TrainError>((Some((x, labels)), sums(&of_loss, &team)))
        })??;
        for section in begun {
            self.team.finish(section?)?;
        }
        self.team.sum(&sums, SUMMING)?;
        let taken = torch::attempt("updating the parameters", || {
            torch::no_grad(|| self.update(inputs.as_ref(), &sums, images))
        });
        self.half_step = taken.is_err();
        taken?
    }

    /// Takes the step whose gradient has been computed, if that and the loss are finite.
    fn update(
        &mut self,
        inputs: Option<&(Tensor, Option<Tensor>)>,
        sums: &Tensor,
        images: usize,
    ) -> Result<(), TrainError> {
        let gradient = Gradient::from(&self.gradients);
        let levels = self.config.model.levels as i64;
        let bits = -1.0 / (std::f64::consts::LN_2 * self.config.model.dims() as f64 * images as f64);
        let bits_per_dim = sums.get(0) * bits;
        let label_bits = sums.get(1) / images as f64;
        let norm = gradient.norm.to_kind(Kind::Double);
        let reversible = self.config.training.memory == Memory::Reversible;
        let drift = reversible.then(|| sums.narrow(0, 2 + levels, self.team.size() as i64).max());
        let mut finite = (&norm + &bits_per_dim + &label_bits).isfinite();
        if let Some(drift) = &drift {
            finite = finite.logical_and(&drift.le(MAX_DRIFT));
        }
        let unclipped = match self.config.training.clip_grad_norm {
            None => norm.ones_like(),
            Some(limit) => (limit / &norm).clamp_max(1.0),
        };
        let scale = unclipped.where_self(&finite, &norm.zeros_like()).to_kind(Kind::Float);
        let figures = StepFigures {
            bits_per_dim,
            gradient_norm: norm,
            clipped: unclipped.lt(1.0).to_kind(Kind::Double),
            label_bits,
            level_bits_per_dim: (0..levels).map(|level| sums.get(2 + level) * bits).collect(),
        };
        self.sums.add(figures, &finite);
        if let Some(drift) = &drift {
            self.sums.add_drift(drift);
        }
        let lr = self.plan.lr(self.step);
        self.step += 1;
        self.images_seen += images as u64;
        let look = !self.device().is_cuda() || self.step.is_multiple_of(MAX_SKIPPED_IN_A_ROW);
        let in_a_row = if look { self.sums.skipped_in_a_row() } else { 0 };
        if in_a_row >= MAX_SKIPPED_IN_A_ROW {
            if let Some(drift) = drift.map(|drift| drift.double_value(&[]))
                && drift.is_finite()
                && drift > MAX_DRIFT
            {
                return Err(TrainError::Drift { step: self.step, drift });
            }
            let layer = inputs.and_then(|(x, labels)| self.glow.first_not_finite(x, labels.as_ref()));
            let layer = layer.unwrap_or_else(|| {
                let parameter = self.optimizer.first_not_finite(&gradient);
                format!("the gradient of {}", parameter.unwrap_or("the whole"))
            });
            return Err(TrainError::Diverged { step: self.step, skipped: in_a_row, layer });
        }
        self.optimizer.step(gradient, self.step, lr, &scale);
        Ok(())
    }

    /// What [`sums`] gives for no images.
    fn no_sums(&self) -> Tensor {
        let numbers = 2 + self.config.model.levels + self.team.size();
        Tensor::zeros([numbers as i64], (Kind::Double, self.device()))
    }

    /// Means over the steps since the last call. Waits for the device.
    ///
    /// # Errors
    /// The device reports an error of an earlier operation.
    pub fn report(&mut self) -> Result<Report, TrainError> {
        let classes = self.config.model.classes;
        torch::attempt("waiting for the device", || self.sums.report(classes))
    }

    /// Whether the weights, as they are trained, give a batch a finite loss: a step may lead to where no
    /// further one can be taken.
    ///
    /// # Errors
    /// As for a step.
    pub fn is_sound(&self, batch: &Batch) -> Result<bool, TrainError> {
        if batch.count == 0 {
            return Ok(true);
        }
        let Inputs { device, seed, .. } = self.inputs;
        let bits_per_dim = evaluate::bits_per_dim(&self.glow, batch, 0, seed, device)?;
        Ok(bits_per_dim.into_iter().all(f64::is_finite))
    }

    /// Notes a validation's result for the checkpoint; whether it is the best so far, or as good: a validation
    /// that is repeated after a kill is as good as it was.
    pub fn note_validation(&mut self, bits_per_dim: f64) -> bool {
        self.last_bits_per_dim = Some(bits_per_dim);
        let best = bits_per_dim.is_finite() && self.best_bits_per_dim.is_none_or(|best| bits_per_dim <= best);
        if best {
            self.best_bits_per_dim = Some(bits_per_dim);
        }
        best
    }

    /// The best validation's bits/dim so far.
    pub fn best_bits_per_dim(&self) -> Option<f64> {
        self.best_bits_per_dim
    }
}

/// Sums over the images: log p, −log₂ p(label), and what each level adds to log p; then a number for each
/// process, which is 0 but for this one's: the drift of reversible training. In double.
fn sums(Differentiated { encoded, drift, .. }: &Differentiated, team: &Team) -> Tensor {
    let sum = |t: &Tensor| t.sum(Kind::Double);
    let log_prob = sum(&encoded.log_prob);
    let zero = log_prob.zeros_like();
    let label_bits = encoded.label_bits.as_ref().map_or_else(|| zero.shallow_clone(), sum);
    let mut sums = vec![log_prob, label_bits];
    sums.extend(encoded.level_log_prob.iter().map(sum));
    sums.extend((0..team.size()).map(|rank| match drift {
        Some(drift) if rank == team.rank() => drift.to_kind(Kind::Double),
        _ => zero.shallow_clone(),
    }));
    Tensor::stack(&sums, 0)
}
