//! The training loop, and what comes before its first step.
use super::Run;
use super::clock::{Interval, Task};
use crate::error::TrainError;
use crate::evaluate::Score;
use glow_data::{Loader, LoaderOptions, Part};
use glow_models::{Config, Interval as Every};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

impl Run {
    /// What comes before the first step: the actnorms of a new model, and what was due at the step of the
    /// checkpoint and is not there.
    pub(super) fn begin(&mut self, stop: &AtomicBool) -> Result<Option<Score>, TrainError> {
        let training = self.trainer.config().training.clone();
        self.tell_plan()?;
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
    pub(super) fn steps(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
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
}
