//! A run: the training loop over a folder with checkpoints, metrics and sample grids.
//!
//! At a step where several things are due, what is dear comes first: the checkpoint, then the validation,
//! then the sample grids. Whenever the process ends, what was trained up to the last checkpoint is there, and
//! a resumed run makes up for what was due with it.
//!
//! Where several processes train together, each has a `Run` and goes through the same loop; rank 0 alone has
//! the folder and the journal. What decides on the way (a stop, the time, a loss that is not finite) is
//! agreed by all.
mod clock;
mod folder;
mod journal;
mod sample;
mod together;
mod validate;

pub use clock::TimeSpent;
pub(crate) use folder::host;
pub use folder::{LockedFolder, RunFolder};

use crate::cost::{self, si};
use crate::distributed::{Team, describe_data};
use crate::error::TrainError;
use crate::evaluate::Score;
use crate::metrics::Metrics;
use crate::trainer::{Trainer, check_architecture};
use clock::{Interval, Task};
use glow_data::{Batch, ImageShape, Loader, LoaderOptions, OpenOptions, Opened, Part, Splits};
use glow_models::{
    Checkpoint, CheckpointMeta, Config, Interval as Every, Memory, Pretrained, keep_checkpoint,
    write_atomically,
};
use journal::Journal;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tch::Device;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Steps done.
    pub step: u64,
    /// Whether it was stopped before its last step.
    pub stopped: bool,
    /// Validation of the step that this process began with, where there is one.
    pub before: Option<Score>,
    /// The last validation.
    pub after: Option<Score>,
    /// The best validation bits/dim.
    pub best_bits_per_dim: Option<f64>,
    /// Steps that were not taken because loss or gradient were not finite.
    pub skipped_steps: u64,
    /// Images of the data set that could not be used.
    pub skipped_images: usize,
    /// Where this process's time went.
    pub spent: TimeSpent,
}

/// Opens the data set of a configuration, and checks its classes against the model's, whose names are
/// `class_names`, or not known yet if that is empty.
///
/// # Errors
/// The data set cannot be used, or has no classes or more than a model with classes.
pub fn open_data(config: &Config, class_names: &[String]) -> Result<Splits, TrainError> {
    let splits =
        glow_data::open(&config.data.data.parse()?, shape(config), &open_options(config, class_names))?;
    let classes = splits.train.classes().len();
    if config.model.classes > 0 && (classes > config.model.classes || classes == 0) {
        return Err(TrainError::Classes { data: classes, model: config.model.classes });
    }
    Ok(splits)
}

/// Opens all images of the data set of a configuration, to evaluate the model on.
///
/// # Errors
/// The data set cannot be used.
pub fn open_all_data(config: &Config, class_names: &[String]) -> Result<Opened, TrainError> {
    let options = open_options(config, class_names);
    Ok(glow_data::open_all(&config.data.data.parse()?, shape(config), &options)?)
}

fn shape(config: &Config) -> ImageShape {
    ImageShape { height: config.model.height, width: config.model.width, channels: config.model.channels }
}

fn open_options(config: &Config, class_names: &[String]) -> OpenOptions {
    OpenOptions {
        data: config.data.clone(),
        seed: config.training.seed,
        classes: config.model.classes,
        class_names: class_names.to_vec(),
    }
}

/// What a run begins with.
#[derive(Debug)]
pub enum Start {
    /// A fresh model.
    Fresh,
    /// The latest checkpoint in the run's folder.
    Resume,
    /// The weights of a model that exists, at step 0.
    From(Box<Pretrained>),
}

/// Trains in the folder `out` until the last step, or until `stop` is set; then the run can be resumed. `start`
/// says what it begins with.
///
/// # Errors
/// See [`TrainError`]. What was saved before stands; and where data or device fail in the middle of the run,
/// what was trained until then is saved first.
pub fn train(
    config: Config,
    out: &Path,
    start: Start,
    device: Device,
    stop: &AtomicBool,
) -> Result<Outcome, TrainError> {
    train_together(config, out, start, device, &Rc::default(), stop)
}

/// [`train`] in each process of a team, whose folder and `start` are rank 0's. `config` is the same in all, but
/// for where the data are.
///
/// # Errors
/// As for [`train`]; and what happens to the other processes. They are told of this process's error.
pub fn train_together(
    config: Config,
    out: &Path,
    start: Start,
    device: Device,
    team: &Rc<Team>,
    stop: &AtomicBool,
) -> Result<Outcome, TrainError> {
    let outcome = prepare(config, out, start, device, team).and_then(|run| run.train(stop));
    match &outcome {
        Ok(_) => team.close()?,
        Err(TrainError::Distributed(_)) => {}
        Err(error) => team.announce(&with_causes(error)),
    }
    outcome
}

/// An error with its causes, in one line.
fn with_causes(error: &TrainError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn prepare(
    config: Config,
    out: &Path,
    start: Start,
    device: Device,
    team: &Rc<Team>,
) -> Result<Run, TrainError> {
    config.validate()?;
    config.flips()?;
    if !team.leads() {
        let class_names = share_class_names(Vec::new(), team)?;
        let splits = open_data(&config, &class_names)?;
        compare_data(&splits, team)?;
        let trainer = Trainer::follow(config, device, team)?;
        let mut run = Run::new(trainer, splits, None, team)?;
        run.share_progress()?;
        return Ok(run);
    }
    if let Start::From(pretrained) = &start {
        check_architecture(pretrained, &config.model)?;
    }
    let folder = RunFolder::new(out);
    // A folder is made only for a run that can start.
    let locked = if out.exists() { Some(folder.clone().lock()?) } else { None };
    let checkpoint = match (&start, folder.latest().exists()) {
        (Start::Resume, _) => Some(Checkpoint::open(&folder.latest())?),
        (_, true) => return Err(TrainError::RunExists { path: out.into() }),
        (_, false) => None,
    };
    let (class_names, working_folder) = match &checkpoint {
        Some(checkpoint) => (checkpoint.meta().class_names.clone(), checkpoint.meta().working_folder.clone()),
        None => Default::default(),
    };
    let class_names = share_class_names(class_names, team)?;
    let splits = open_data(&config, &class_names)
        .map_err(|error| error.with_working_folder(&config.data.data, &working_folder))?;
    compare_data(&splits, team)?;
    let text = config.to_toml()?;
    let images = splits.train.len();
    let conditional = config.model.classes > 0;
    let mut trainer = match (&checkpoint, &start) {
        (Some(checkpoint), _) => Trainer::resume(checkpoint, config, device)?,
        (None, Start::From(pretrained)) => Trainer::start_from(pretrained, config, images, device)?,
        (None, _) => Trainer::new(config, images, device)?,
    };
    if conditional {
        trainer.set_class_names(splits.train.classes().to_vec());
    }
    drop(start);
    let locked = match locked {
        Some(locked) => locked,
        None => folder.lock()?,
    };
    // Only now, as a configuration that the checkpoint refuses must not take the place of the run's own.
    locked.prepare()?;
    write_atomically(&locked.config(), |file| file.write_all(text.as_bytes()))
        .map_err(|source| TrainError::Write { path: locked.config(), source })?;
    let trainer = trainer.lead(team)?;
    let mut run = Run::new(trainer, splits, Some(locked), team)?;
    if let Some(meta) = checkpoint.as_ref().map(Checkpoint::meta) {
        run.resumed(meta);
    }
    run.share_progress()?;
    Ok(run)
}

/// The names of the model's classes as rank 0's checkpoint has them: labels are the same in all processes.
fn share_class_names(ours: Vec<String>, team: &Team) -> Result<Vec<String>, TrainError> {
    let names = team.of_lead(ours.join("\0").into_bytes(), "sharing the names of the classes")?;
    let names = String::from_utf8_lossy(&names).into_owned();
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_string).collect())
}

/// Makes sure that all processes read the same images.
fn compare_data(splits: &Splits, team: &Team) -> Result<(), TrainError> {
    if team.size() > 1 {
        team.compare(&describe_data(splits)?, "comparing the data sets")?;
    }
    Ok(())
}

/// A run under way.
struct Run {
    trainer: Trainer,
    splits: Splits,
    /// Rank 0's alone.
    folder: Option<LockedFolder>,
    team: Rc<Team>,
    journal: Journal,
    interval: Interval,
    /// The last validation, with its step.
    validated: Option<(u64, Score)>,
    /// Steps of the last checkpoint and of the last validation that it knows of.
    saved: Option<(u64, Option<u64>)>,
    /// The last batch, to see whether the weights are sound.
    last: Option<Batch>,
    /// Step of the last sample grids.
    sampled: Option<u64>,
    spent: TimeSpent,
    /// Whether it was said how long the run will take.
    foretold: bool,
}

impl Run {
    fn new(
        trainer: Trainer,
        splits: Splits,
        folder: Option<LockedFolder>,
        team: &Rc<Team>,
    ) -> Result<Self, TrainError> {
        let journal = match &folder {
            Some(folder) => Journal::open(folder, trainer.step_count(), trainer.plan().total_steps())?,
            None => Journal::silent(),
        };
        let interval = Interval::new(Duration::ZERO);
        Ok(Self {
            trainer,
            splits,
            folder,
            team: team.clone(),
            journal,
            interval,
            validated: None,
            saved: None,
            last: None,
            sampled: None,
            spent: TimeSpent::default(),
            foretold: false,
        })
    }

    /// Takes over what the run's earlier process knew and did at the step of the checkpoint.
    fn resumed(&mut self, began: &CheckpointMeta) {
        let step = self.trainer.step_count();
        self.saved = Some((step, None));
        let (now, images) = (self.trainer.config(), self.splits.train.len() as u64);
        if began.train_images != images {
            self.journal.note(&format!(
                "warning: the data set has {images} training images, and had {} when the run began: the order of \
                 the images is another, and what was best on the former ones may not be so on these",
                began.train_images
            ));
        }
        // What it measured holds for the same images and weights.
        let measured = |config: &Config| {
            let Config { data, training, .. } = config;
            (data.clone(), training.seed, training.validate_images, training.weights)
        };
        if began.train_images == images && measured(&began.config) == measured(now) {
            let grids = self.journal.noted().iter().filter(|line| line["split"] == "samples").count();
            if grids == now.training.sample_temperatures.len() {
                self.sampled = Some(step);
            }
            self.recall_validation();
        }
    }

    fn train(mut self, stop: &AtomicBool) -> Result<Outcome, TrainError> {
        let before = self.begin(stop)?;
        let out_of_time = match self.steps(stop) {
            Ok(out_of_time) => out_of_time,
            Err(error) => {
                self.rescue(&error);
                return Err(error);
            }
        };
        let stopped = !out_of_time
            && self.trainer.plan().total_steps().is_none_or(|total| self.trainer.step_count() < total);
        self.save()?;
        if !stopped {
            self.validate(stop)?;
            if self.trainer.config().training.sample_every.is_some() {
                self.sample(stop)?;
            }
            self.save()?;
        }
        Ok(Outcome {
            step: self.trainer.step_count(),
            stopped,
            before,
            after: self.validated.map(|(_, score)| score),
            best_bits_per_dim: self.trainer.best_bits_per_dim(),
            skipped_steps: self.trainer.skipped(),
            skipped_images: self.splits.skipped.count(),
            spent: self.spent,
        })
    }

    /// What comes before the first step: the actnorms of a new model, and what was due at the step of the
    /// checkpoint and is not there.
    fn begin(&mut self, stop: &AtomicBool) -> Result<Option<Score>, TrainError> {
        let training = self.trainer.config().training.clone();
        let model = &self.trainer.config().model;
        let batch_size = training.images_per_step(model.height, model.width);
        self.journal.note(&format!(
            "{:.2} M parameters · {} training and {} validation images · epochs of {:.1} steps",
            model.parameter_count() as f64 / 1e6,
            self.splits.train.len(),
            self.splits.validation.len(),
            self.trainer.plan().steps_per_epoch(),
        ));
        let flip = self.trainer.config().flips()?;
        self.journal.note(&format!(
            "{batch_size} images a step, {}, {}",
            if flip { "flipped left to right at random (--flip false for none)" } else { "none flipped" },
            match training.shift {
                0 => "none shifted".to_string(),
                pixels => format!("shifted at random by up to {pixels} pixels"),
            },
        ));
        self.journal.note(&format!(
            "a step: {} · memory: {} for the model and its optimiser, about {} a step ({})",
            si(cost::step_flops(model, training.memory, batch_size) as f64, "FLOP"),
            si(cost::resident_bytes(model) as f64, "B"),
            si(cost::step_bytes(model, training.memory, training.precision, batch_size) as f64, "B"),
            match training.memory {
                Memory::Reversible => "--memory reversible".to_string(),
                _ => {
                    let least = cost::step_bytes(model, Memory::Reversible, training.precision, batch_size);
                    format!("{} with --memory reversible", si(least as f64, "B"))
                }
            },
        ));
        if !self.trainer.actnorm_initialised() {
            if self.team.leads() {
                let model = &self.trainer.config().model;
                let batch_size = training.init_images(model.height, model.width).min(self.splits.train.len());
                let part = Part::WHOLE;
                let first =
                    LoaderOptions { batch_size, prefetch: 1, threads: 1, part, ..self.loader_options()? };
                let mut first = Loader::new(self.splits.train.clone(), &first)?;
                let batch = first.next().expect("the stream of batches does not end")?;
                let started = Instant::now();
                self.trainer.initialise_actnorm(&batch)?;
                self.pause(Task::Initialisation, started);
            }
            self.trainer.share_parameters()?;
        }
        if self.saved.is_none() {
            self.save()?;
        }
        // By steps alone: an interval of minutes begins anew.
        let (step, minutes) = (self.trainer.step_count(), self.trainer.minutes());
        let plan = self.trainer.plan().clone();
        let due = |interval| plan.every(interval).is_due(step, minutes, minutes);
        if step == 0 || due(training.validate_every) {
            self.validate(stop)?;
        }
        if step > 0 && training.sample_every.is_some_and(due) {
            self.sample(stop)?;
        }
        Ok(self.validated.map(|(_, score)| score))
    }

    fn loader_options(&self) -> Result<LoaderOptions, TrainError> {
        let Config { training, model, data } = self.trainer.config();
        let threads = match data.loader_threads {
            0 => LoaderOptions::default().threads,
            threads => threads,
        };
        Ok(LoaderOptions {
            threads,
            prefetch: data.prefetch,
            batch_size: training.images_per_step(model.height, model.width),
            seed: training.seed,
            flip: self.trainer.config().flips()?,
            shift: training.shift,
            part: self.team.part(),
            start_image: self.trainer.images_seen(),
            shuffle: true,
        })
    }

    /// Trains until the last step, until `stop` is set, or until the time is up; whether it was that.
    fn steps(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
        let training = self.trainer.config().training.clone();
        let mut loader = Loader::new(self.splits.train.clone(), &self.loader_options()?)?;
        self.interval = Interval::new(Duration::ZERO);
        let plan = self.trainer.plan().clone();
        let [log, validate, checkpoint] =
            [training.log_every, training.validate_every, training.checkpoint_every].map(|i| plan.every(i));
        let sample = training.sample_every.map(|interval| plan.every(interval));
        let total = plan.total_steps().unwrap_or(u64::MAX);
        let total_minutes = plan.total_minutes().unwrap_or(f64::INFINITY);
        let limit = match training.time_limit {
            Some(glow_models::Duration::Minutes(minutes)) => minutes,
            _ => f64::INFINITY,
        };
        let images = self.loader_options()?.batch_size;
        let (started, earlier) = (Instant::now(), self.trainer.minutes());
        let mut out_of_time = earlier >= total_minutes;
        let others = self.other_tasks();
        while self.trainer.step_count() < total && !out_of_time {
            let [stopped] = self.team.any([stop.load(Ordering::Relaxed)], "agreeing to go on")?;
            if stopped {
                stop.store(true, Ordering::Relaxed);
                break;
            }
            let batch = loader.next().expect("the stream of batches does not end")?;
            self.trainer.step_of(&batch, images)?;
            let (step, before) = (self.trainer.step_count(), self.trainer.minutes());
            let minutes = earlier + started.elapsed().as_secs_f64() / 60.0;
            // What is due by the clock is due for all at once.
            let minutes = self.team.number_of_lead(minutes, "agreeing on the time")?;
            self.trainer.set_minutes(minutes);
            let due = |every: Every| every.is_due(step, before, minutes);
            self.interval.images += images;
            self.last = Some(batch);
            self.journal.progress().step(step);
            if due(log) {
                self.log(loader.waited())?;
            }
            if due(checkpoint) {
                self.save()?;
            }
            if due(validate) {
                self.validate(stop)?;
            }
            if sample.is_some_and(due) {
                self.sample(stop)?;
            }
            out_of_time = minutes - earlier >= limit || minutes >= total_minutes;
            self.spent.data = loader.waited();
            self.spent.steps = started.elapsed().saturating_sub(self.other_tasks() - others);
        }
        Ok(out_of_time)
    }

    /// Saves what was trained before an error ends the run.
    fn rescue(&mut self, error: &TrainError) {
        // Where a file cannot be written another cannot either; and a state in which twenty steps failed is
        // no better to go on from than the checkpoint before it.
        if matches!(error, TrainError::Write { .. } | TrainError::Diverged { .. } | TrainError::Drift { .. })
        {
            return;
        }
        let step = self.trainer.step_count();
        if self.saved.is_some_and(|(saved, _)| saved == step) {
            return;
        }
        // The others are elsewhere, or gone: there is nothing to agree on with them.
        match self.is_sound().and_then(|sound| self.write(sound)) {
            Ok(()) => {
                self.journal.note(&format!("step {step}: the run cannot go on; what was trained is saved"))
            }
            Err(error) => self.journal.note(&format!("warning: {:#}", anyhow::Error::from(error))),
        }
    }

    /// Notes what was done since `started`, which is no training.
    fn pause(&mut self, task: Task, started: Instant) {
        self.spent.add(task, started.elapsed());
        self.interval.pause(started.elapsed());
    }

    /// The time spent on other things than steps.
    fn other_tasks(&self) -> Duration {
        self.spent.total() - self.spent.steps
    }

    /// Says, once, how long the run will take at the rate of its first steps.
    fn foretell(&mut self, images_per_s: f64) {
        let Some(total) = self.trainer.plan().total_steps() else { return };
        if std::mem::replace(&mut self.foretold, true) {
            return;
        }
        let Config { training, model, .. } = self.trainer.config();
        let images = training.images_per_step(model.height, model.width);
        let left = total.saturating_sub(self.trainer.step_count());
        let flops = cost::step_flops(model, training.memory, images) as f64 / images as f64;
        self.journal.note(&format!(
            "{images_per_s:.1} images/s, {} · {left} steps left: {} besides validation, samples and checkpoints",
            si(images_per_s * flops, "FLOP/s"),
            cost::time(left as f64 * images as f64 / images_per_s),
        ));
    }

    fn line(&self, split: &'static str) -> Metrics {
        Metrics {
            step: self.trainer.step_count(),
            epoch: self.trainer.epoch(),
            images_seen: self.trainer.images_seen(),
            n_bits: self.trainer.config().model.n_bits,
            split,
            ..Default::default()
        }
    }

    fn log(&mut self, waited: Duration) -> Result<(), TrainError> {
        let report = self.trainer.report()?;
        let seconds = self.interval.seconds();
        let images_per_s = self.interval.images as f64 / seconds;
        // Where no step was taken there is nothing to take means of.
        let taken = report.steps > 0;
        let line = Metrics {
            bits_per_dim: taken.then_some(report.bits_per_dim),
            level_bits_per_dim: taken.then_some(report.level_bits_per_dim),
            label_bits: report.label_bits.filter(|_| taken),
            lr: Some(self.trainer.plan().lr(self.trainer.step_count() - 1)),
            gradient_norm: taken.then_some(report.gradient_norm),
            clipped_steps: taken.then_some(report.clipped),
            images_per_s: Some(images_per_s),
            data_wait: Some(waited.saturating_sub(self.interval.waited).as_secs_f64() / seconds),
            reversible_drift: report.reversible_drift,
            skipped_steps: Some(report.skipped),
            ..self.line("train")
        };
        self.journal.record(&line);
        let bits_per_dim = match line.bits_per_dim {
            Some(bits_per_dim) => format!("{bits_per_dim:.3} bits/dim"),
            None => "no step taken, as loss or gradient are not finite".into(),
        };
        let figures = format!("{bits_per_dim} · {images_per_s:.1} images/s");
        self.journal.progress().figures(line.step, &figures);
        self.interval = Interval::new(waited);
        self.foretell(images_per_s);
        Ok(())
    }

    /// Writes the checkpoint of this step, unless it is there with all that is known of it.
    fn save(&mut self) -> Result<(), TrainError> {
        let step = self.trainer.step_count();
        let now = (step, self.validated.map(|(step, _)| step));
        if self.saved == Some(now) {
            return Ok(());
        }
        let started = Instant::now();
        self.trainer.check_drift()?;
        let [unsound] = self.team.any([!self.is_sound()?], "agreeing on a checkpoint")?;
        self.write(!unsound)?;
        self.saved = Some(now);
        self.pause(Task::Checkpoints, started);
        Ok(())
    }

    /// Whether the last batch has a finite loss: a step may lead to where no further one can be taken, and a
    /// run must not be resumed there.
    fn is_sound(&self) -> Result<bool, TrainError> {
        self.last.as_ref().map_or(Ok(true), |batch| self.trainer.is_sound(batch))
    }

    /// Writes a sound model's checkpoint.
    fn write(&mut self, sound: bool) -> Result<(), TrainError> {
        let step = self.trainer.step_count();
        match &self.folder {
            Some(folder) if sound => {
                let latest = folder.latest();
                self.trainer.save(&latest)?;
                if let Some(keep) = self.trainer.config().training.keep_last {
                    keep_checkpoint(&latest, step, keep)
                        .map_err(|source| TrainError::Write { path: latest, source })?;
                }
            }
            _ if sound => {}
            _ => self
                .journal
                .note(&format!("step {step}: the loss is not finite; the checkpoint before stands")),
        }
        Ok(())
    }
}
