//! What a run tells: metrics, TensorBoard's events, and the person at the terminal.
//!
//! A disk that is full where these are written costs lines, not the run: what cannot be written is said
//! once, and tried again with the next line.
use super::RunFolder;
use crate::error::TrainError;
use crate::events::EventFile;
use crate::metrics::{Metrics, MetricsFile};
use crate::progress::Progress;
use std::path::Path;

pub(super) struct Journal {
    /// None where another process notes them.
    metrics: Option<MetricsFile>,
    events: Option<EventFile>,
    progress: Progress,
    /// Whether it was said that something could not be written.
    warned: bool,
}

impl Journal {
    /// The journal of a run in `folder` that has done `step` of `total` steps.
    ///
    /// # Errors
    /// The metrics that are there already cannot be read, or the file cannot be opened.
    pub(super) fn open(folder: &RunFolder, step: u64, total: Option<u64>) -> Result<Self, TrainError> {
        let mut journal = Self {
            metrics: Some(MetricsFile::open(&folder.metrics(), step)?),
            events: None,
            progress: Progress::new(total, step),
            warned: false,
        };
        let events = EventFile::create(folder.path(), step);
        journal.events = journal.or_warn(events);
        Ok(journal)
    }

    /// The journal of a process that leaves it to rank 0 to tell anything.
    pub(super) fn silent() -> Self {
        Self { metrics: None, events: None, progress: Progress::silent(), warned: false }
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// A line for a person, which stays.
    pub(super) fn note(&self, text: &str) {
        self.progress.note(text);
    }

    /// What an earlier process noted of the step that this one goes on from.
    pub(super) fn noted(&self) -> &[serde_json::Value] {
        self.metrics.as_ref().map_or(&[], MetricsFile::noted)
    }

    /// Adds a line of metrics, and its numbers for TensorBoard.
    pub(super) fn record(&mut self, line: &Metrics) {
        let Some(metrics) = &mut self.metrics else {
            return;
        };
        let appended = metrics.append(line);
        if self.or_warn(appended) == Some(true)
            && let Some(events) = &mut self.events
        {
            let written = events.scalars(line.step, line.scalars());
            self.or_warn(written);
        }
    }

    /// Adds a picture for TensorBoard.
    pub(super) fn image(&mut self, step: u64, tag: &str, size: [usize; 3], png: Vec<u8>) {
        if let Some(events) = &mut self.events {
            let written = events.image(step, tag, size, png);
            self.or_warn(written);
        }
    }

    /// Writes a file that the run can do without.
    pub(super) fn file(&mut self, path: &Path, bytes: &[u8]) {
        let written = glow_models::write_atomically(path, |out| out.write_all(bytes))
            .map_err(|source| TrainError::Write { path: path.into(), source });
        self.or_warn(written);
    }

    /// What there is; or `None` and, the first time, a warning.
    fn or_warn<T>(&mut self, result: Result<T, TrainError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        if !std::mem::replace(&mut self.warned, true) {
            let text = format!("{:#}", anyhow::Error::from(error));
            self.note(&format!("warning: {text}; the run goes on, and what cannot be written is left out"));
        }
        None
    }
}
