//! A run: the training loop over a folder with checkpoints, metrics and sample grids.
//!
//! At a step where several things are due, what is dear comes first: the checkpoint, then the validation,
//! then the sample grids. Whenever the process ends, what was trained up to the last checkpoint is there, and
//! a resumed run makes up for what was due with it.
//!
//! Where several processes train together, each has a `Run` and goes through the same loop; rank 0 alone has
//! the folder and the journal. What decides on the way (a stop, the time, a loss that is not finite) is
//! agreed by all.
//!
//! | file | is |
//! | --- | --- |
//! | `folder` | the files of a run, and the lock |
//! | `clock` | where the time goes |
//! | `journal` | metrics, events, lines on the terminal |
//! | `data` | the run's data set |
//! | `start` | what a run begins with |
//! | `steps` | the loop |
//! | `report` | what it says of itself |
//! | `checkpoints`, `validate`, `sample` | what is done every so many steps |
//! | `together` | what the processes of a team must know alike |
mod checkpoints;
mod clock;
mod data;
mod folder;
mod journal;
mod report;
mod sample;
mod start;
mod steps;
mod together;
mod validate;

pub use clock::TimeSpent;
pub use data::{note_unnamed_classes, open_all_data, open_data};
pub(crate) use folder::host;
pub use folder::{LockedFolder, RunFolder};
pub use start::Start;

use crate::distributed::Team;
use crate::error::TrainError;
use crate::evaluate::Score;
use crate::trainer::Trainer;
use clock::{Interval, Task};
use glow_data::{Batch, Splits};
use glow_models::Config;
use journal::Journal;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
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
    let outcome = start::prepare(config, out, start, device, team).and_then(|run| run.train(stop));
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
    /// The same of the checkpoint that this process wrote last; it is not written where the loss is not finite.
    written: Option<(u64, Option<u64>)>,
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
            written: None,
            last: None,
            sampled: None,
            spent: TimeSpent::default(),
            foretold: false,
        })
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

    /// Notes what was done since `started`, which is no training.
    fn pause(&mut self, task: Task, started: Instant) {
        self.spent.add(task, started.elapsed());
        self.interval.pause(started.elapsed());
    }

    /// The time spent on other things than steps.
    fn other_tasks(&self) -> Duration {
        self.spent.total() - self.spent.steps
    }
}
