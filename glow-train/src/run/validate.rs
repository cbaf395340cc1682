//! Validation, and the best checkpoint.
use super::Run;
use super::clock::Task;
use crate::error::TrainError;
use crate::evaluate::{Evaluation, Score, evaluate};
use crate::metrics::Metrics;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

impl Run {
    /// This step's validation: made, or as it was made before; `None` if `stop` was set meanwhile.
    pub(super) fn validate(&mut self, stop: &AtomicBool) -> Result<Option<Score>, TrainError> {
        let step = self.trainer.step_count();
        if let Some((validated, score)) = self.validated
            && validated == step
        {
            return Ok(Some(score));
        }
        let started = Instant::now();
        let training = &self.trainer.config().training;
        let model = &self.trainer.config().model;
        let how = Evaluation {
            images: training.validate_images.unwrap_or(0),
            draws: 1,
            batch_size: training.images_per_step(model.height, model.width),
            seed: training.seed,
            device: self.trainer.device(),
        };
        let glow = self.trainer.glow(training.weights)?;
        let score = evaluate(&glow, self.splits.validation.clone(), &how, &self.team, stop)?;
        drop(glow);
        self.pause(Task::Validation, started);
        if let Some(score) = score {
            let best = self.trainer.note_validation(score.bits_per_dim);
            self.validated = Some((step, score));
            // Before the line that says that this step is validated: a kill between the two repeats both.
            if best {
                self.save_best()?;
            }
            let line = Metrics {
                bits_per_dim: Some(score.bits_per_dim),
                standard_error: Some(score.standard_error),
                images: Some(score.images),
                ..self.line("validation")
            };
            self.journal.record(&line);
            self.journal.note(&format!(
                "step {step}: validation {:.4} bits/dim at {} bits ± {:.4} on {} images{}",
                score.bits_per_dim,
                self.trainer.config().model.n_bits,
                score.standard_error,
                score.images,
                if best { ", the best so far" } else { "" },
            ));
        }
        Ok(score)
    }

    /// Takes over a validation of this step that an earlier process noted.
    pub(super) fn recall_validation(&mut self) {
        let number = |line: &serde_json::Value, name: &str| line.get(name).and_then(|value| value.as_f64());
        let noted = self.journal.noted().iter().find(|line| line["split"] == "validation");
        let score = noted.and_then(|line| {
            Some(Score {
                images: line.get("images")?.as_u64()? as usize,
                bits_per_dim: number(line, "bits_per_dim")?,
                standard_error: number(line, "standard_error")?,
            })
        });
        if let Some(score) = score {
            self.trainer.note_validation(score.bits_per_dim);
            self.validated = Some((self.trainer.step_count(), score));
        }
    }
}
