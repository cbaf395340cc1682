//! When a run's checkpoints are written.
use super::Run;
use super::clock::Task;
use crate::error::TrainError;
use glow_models::{keep_checkpoint, link_atomically};
use std::time::Instant;

impl Run {
    /// Saves what was trained before an error ends the run.
    pub(super) fn rescue(&mut self, error: &TrainError) {
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

    /// Writes the checkpoint of this step, unless it is there with all that is known of it.
    pub(super) fn save(&mut self) -> Result<(), TrainError> {
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
        if !unsound {
            self.written = self.saved;
        }
        self.pause(Task::Checkpoints, started);
        Ok(())
    }

    /// Keeps this step, whose validation is the best so far, as the best checkpoint: the same file as the latest
    /// one, under a second name.
    pub(super) fn save_best(&mut self) -> Result<(), TrainError> {
        self.save()?;
        let Some(folder) = &self.folder else { return Ok(()) };
        let (latest, best) = (folder.latest(), folder.best());
        if self.written == self.saved {
            return link_atomically(&latest, &best)
                .map_err(|source| TrainError::Write { path: best, source });
        }
        // The weights cannot be trained on, but their average was validated.
        self.trainer.save(&best)
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
