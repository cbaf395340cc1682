//! The time between two lines of metrics.
use std::time::{Duration, Instant};

/// The time since the last line of metrics.
pub(super) struct Interval {
    started: Instant,
    /// Time spent on other things than training.
    paused: Duration,
    /// The loader's waiting time when the interval began.
    pub(super) waited: Duration,
    pub(super) images: usize,
}

impl Interval {
    pub(super) fn new(waited: Duration) -> Self {
        Self { started: Instant::now(), paused: Duration::ZERO, waited, images: 0 }
    }

    pub(super) fn pause(&mut self, time: Duration) {
        self.paused += time;
    }

    /// Seconds of training.
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().saturating_sub(self.paused).as_secs_f64().max(1e-9)
    }
}
