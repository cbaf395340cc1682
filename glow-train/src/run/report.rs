//! What a run says of itself: its plan and its cost at the start, its figures on the way.
use super::Run;
use super::clock::Interval;
use crate::cost::{self, si};
use crate::error::TrainError;
use crate::memory;
use crate::metrics::Metrics;
use glow_models::{Config, Memory};
use std::time::Duration;

impl Run {
    /// Says what will be done and what a step costs.
    pub(super) fn tell_plan(&self) -> Result<(), TrainError> {
        let training = &self.trainer.config().training;
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
            si(cost::resident_bytes(model, 1 + training.further_averages.len()) as f64, "B"),
            si(cost::step_bytes(model, training.memory, training.precision, batch_size) as f64, "B"),
            match training.memory {
                Memory::Reversible => "--memory reversible".to_string(),
                _ => {
                    let least = cost::step_bytes(model, Memory::Reversible, training.precision, batch_size);
                    format!("{} with --memory reversible", si(least as f64, "B"))
                }
            },
        ));
        let step = cost::step_bytes(model, training.memory, training.precision, batch_size);
        let part = step / self.team.size() as u64;
        if !self.trainer.device().is_cuda()
            && let Some(free) = memory::available().filter(|&free| free < part)
        {
            self.journal.note(&format!(
                "warning: a step takes about {} of memory, and {} are free: the system may end this process without \
                 a word; lower --batch-size, or train with --memory reversible and --precision bf16",
                si(part as f64, "B"),
                si(free as f64, "B"),
            ));
        }
        Ok(())
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

    pub(super) fn line(&self, split: &'static str) -> Metrics {
        Metrics {
            step: self.trainer.step_count(),
            epoch: self.trainer.epoch(),
            images_seen: self.trainer.images_seen(),
            n_bits: self.trainer.config().model.n_bits,
            split,
            ..Default::default()
        }
    }

    pub(super) fn log(&mut self, waited: Duration) -> Result<(), TrainError> {
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
}
