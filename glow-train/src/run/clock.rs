//! Where the time goes: between two lines of metrics, and in the whole process.
use crate::cost;
use std::fmt;
use std::time::{Duration, Instant};

/// What a process spends its time on besides steps of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Initialisation,
    Validation,
    Samples,
    Checkpoints,
}

/// Where the time of a process went.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TimeSpent {
    /// Steps, waiting for data included.
    pub steps: Duration,
    /// Of it, waiting for data.
    pub data: Duration,
    /// The initialisation from data.
    pub initialisation: Duration,
    /// Validation.
    pub validation: Duration,
    /// Sample grids.
    pub samples: Duration,
    /// Checkpoints, the best one among them.
    pub checkpoints: Duration,
}

impl TimeSpent {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.steps + self.initialisation + self.validation + self.samples + self.checkpoints
    }

    pub(super) fn add(&mut self, task: Task, time: Duration) {
        *match task {
            Task::Initialisation => &mut self.initialisation,
            Task::Validation => &mut self.validation,
            Task::Samples => &mut self.samples,
            Task::Checkpoints => &mut self.checkpoints,
        } += time;
    }
}

impl fmt::Display for TimeSpent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total().as_secs_f64();
        write!(f, "{}", cost::time(total))?;
        let parts = [
            ("steps", self.steps.saturating_sub(self.data)),
            ("waiting for data", self.data),
            ("initialisation", self.initialisation),
            ("validation", self.validation),
            ("samples", self.samples),
            ("checkpoints", self.checkpoints),
        ];
        for (name, time) in parts {
            write!(f, " · {name} {:.1} %", 100.0 * time.as_secs_f64() / total.max(1e-9))?;
        }
        Ok(())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spent_adds_up() {
        let mut spent = TimeSpent { steps: Duration::from_secs(60), ..Default::default() };
        spent.data = Duration::from_secs(6);
        spent.add(Task::Validation, Duration::from_secs(30));
        spent.add(Task::Checkpoints, Duration::from_secs(10));
        assert_eq!(spent.total(), Duration::from_secs(100));
        let told = spent.to_string();
        assert!(told.starts_with("100 s · steps 54.0 % · waiting for data 6.0 %"), "{told}");
        assert!(told.contains("validation 30.0 %") && told.contains("checkpoints 10.0 %"), "{told}");
    }
}
