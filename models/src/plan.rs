//! The lengths of a run in steps: what the durations of a configuration mean for a data set.
use crate::{Config, ConfigError, Duration, Schedule, Training};
use std::f64::consts::PI;

/// A run's durations in steps, and the rates that follow from them.
///
/// With B images of a step in real numbers, E of an epoch and b as the batch is counted in epochs:
/// - "n images" are n / B steps;
/// - "n epochs" are n · E / B steps where E is the data set's length. Where `epoch_images` gives E, an epoch
///   counts *anchored* images as the published code does, `batch_size` a step whatever the image's size, and
///   n epochs are n · E / `batch_size` steps;
/// - "n %" are a part of the whole run's steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    training: Training,
    /// Images of one step, in real numbers.
    step_images: f64,
    /// Steps of one epoch, with fraction.
    steps_per_epoch: f64,
}

impl Plan {
    /// The plan of a configuration for a training split of `train_images`.
    ///
    /// # Errors
    /// The configuration is not valid.
    pub fn new(config: &Config, train_images: u64) -> Result<Self, ConfigError> {
        config.validate()?;
        let training = config.training.clone();
        let step_images = training.images_per_step(config.model.height, config.model.width) as f64;
        let steps_per_epoch = match training.epoch_images {
            Some(images) => images as f64 / training.batch_size as f64,
            None => train_images.max(1) as f64 / step_images,
        };
        Ok(Self { training, step_images, steps_per_epoch })
    }

    /// Steps of one epoch, with fraction.
    pub fn steps_per_epoch(&self) -> f64 {
        self.steps_per_epoch
    }

    /// Epochs that so many training images are, repeats counted.
    pub fn epochs(&self, images_seen: u64) -> f64 {
        images_seen as f64 / self.step_images / self.steps_per_epoch
    }

    /// Steps of the whole run; `None` if it is given in minutes.
    pub fn total_steps(&self) -> Option<u64> {
        // One step at least: a run of half a step would be none.
        self.steps(self.training.train_for).map(|steps| (steps.ceil() as u64).max(1))
    }

    /// Minutes of the whole run, over all its processes; `None` if it is given in steps.
    pub fn total_minutes(&self) -> Option<f64> {
        match self.training.train_for {
            Duration::Minutes(minutes) => Some(minutes),
            _ => None,
        }
    }

    /// A duration in steps, with fraction; `None` if that depends on the clock.
    fn steps(&self, duration: Duration) -> Option<f64> {
        match duration {
            Duration::Steps(steps) => Some(steps as f64),
            Duration::Images(images) => Some(images as f64 / self.step_images),
            Duration::Epochs(epochs) => Some(epochs * self.steps_per_epoch),
            Duration::Percent(percent) => Some(percent / 100.0 * self.total_steps()? as f64),
            Duration::Minutes(_) => None,
        }
    }

    /// Steps of the warm-up, with fraction; 0 for none.
    pub fn warmup_steps(&self) -> f64 {
        // `validate` refuses a warm-up by the clock.
        self.training.warmup.and_then(|warmup| self.steps(warmup)).unwrap_or(0.0)
    }

    /// Learning rate of a step, counted from 0: lr · min(1, n/w), where n images were seen *before* the step
    /// and w in the whole warm-up, so that the first step's rate is 0 (published code); then as the schedule
    /// says.
    pub fn lr(&self, step: u64) -> f64 {
        let (warmup, done) = (self.warmup_steps(), step as f64);
        let rise = if done < warmup { done / warmup } else { 1.0 };
        let decay = match (self.training.schedule, self.total_steps()) {
            (Schedule::Cosine, Some(total)) if done > warmup => {
                // The last step is number total − 1; after it the rate is 0.
                let part = (done - warmup) / (total as f64 - warmup).max(1.0);
                0.5 * (1.0 + (PI * part.min(1.0)).cos())
            }
            _ => 1.0,
        };
        self.training.lr * rise * decay
    }

    /// Decay of the averaged weights: 1 − 1/m, with m the steps of `polyak`, rounded up (published code).
    pub fn polyak_decay(&self) -> f64 {
        self.decay(self.training.polyak)
    }

    /// The same of each of `further_averages`.
    pub fn further_decays(&self) -> Vec<f64> {
        self.training.further_averages.iter().map(|&memory| self.decay(memory)).collect()
    }

    fn decay(&self, memory: Duration) -> f64 {
        // `validate` refuses a memory by the clock.
        1.0 - 1.0 / self.steps(memory).unwrap_or(1.0).ceil().max(1.0)
    }

    /// Decay of the gradient's running size: as given, or tied to [`polyak_decay`](Self::polyak_decay). A tied
    /// one is at least 0.9: an epoch of a few steps would otherwise leave it no memory.
    pub fn beta2(&self) -> f64 {
        self.training.beta2.unwrap_or_else(|| self.polyak_decay().max(0.9))
    }

    /// When something happens that happens every `interval`.
    pub fn every(&self, interval: Duration) -> Interval {
        let share = |percent: f64, minutes: f64| percent / 100.0 * minutes;
        match (interval, self.training.train_for) {
            (Duration::Minutes(minutes), _) => Interval::Minutes(minutes),
            (Duration::Percent(percent), Duration::Minutes(all)) => Interval::Minutes(share(percent, all)),
            _ => Interval::Steps(self.steps(interval).unwrap_or(1.0)),
        }
    }
}

/// How far apart the times are at which something happens in a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Interval {
    /// Steps, with fraction: it happens at the first step that reaches a multiple.
    Steps(f64),
    /// Minutes of training, which count on when a run is resumed.
    Minutes(f64),
}

impl Interval {
    /// Whether it happens after a step, which there must have been: `step` steps and `minutes` minutes of training are done, and
    /// `minutes_before` were before this step. A pure function of the run's position, so that a resumed run
    /// does it at the same steps.
    pub fn is_due(self, step: u64, minutes_before: f64, minutes: f64) -> bool {
        let reaches = |length: f64, before: f64, now: f64| {
            // An interval shorter than a step is one step.
            length <= 0.0 || (now / length).floor() > (before / length).floor()
        };
        if step == 0 {
            return false;
        }
        match self {
            // Whole numbers exactly: the division of large ones rounds.
            Self::Steps(steps) if steps.fract() == 0.0 && steps >= 1.0 => step.is_multiple_of(steps as u64),
            Self::Steps(steps) => reaches(steps, (step - 1) as f64, step as f64),
            Self::Minutes(length) => reaches(length, minutes_before, minutes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration with these overrides, 8×8 images.
    fn config(overrides: &[(&str, &str)]) -> Config {
        let mut config = Config::default();
        for (name, value) in [("height", "8"), ("width", "8"), ("levels", "2")].iter().chain(overrides) {
            config.set(name, value).unwrap();
        }
        config
    }

    fn plan(overrides: &[(&str, &str)]) -> Plan {
        Plan::new(&config(overrides), 1000).unwrap()
    }

    #[test]
    fn durations_in_every_unit_come_to_the_same_steps() {
        for text in ["500 steps", "5000 images", "5 epochs"] {
            let plan = plan(&[("batch_size", "10"), ("train_for", text)]);
            assert_eq!((plan.total_steps(), plan.total_minutes()), (Some(500), None), "{text}");
            assert_eq!(plan.steps(Duration::Percent(5.0)), Some(25.0), "{text}");
        }
        let by_clock = plan(&[("train_for", "2 h")]);
        assert_eq!((by_clock.total_steps(), by_clock.total_minutes()), (None, Some(120.0)));
        assert_eq!(by_clock.every(Duration::Percent(5.0)), Interval::Minutes(6.0));
        assert_eq!(plan(&[("train_for", "0.001 epochs")]).total_steps(), Some(1));
        assert_eq!(plan(&[("batch_size", "10")]).epochs(2500), 2.5);
    }

    #[test]
    fn epochs_count_anchored_images_where_their_length_is_given() {
        let anchored = [("epoch_images", "50000"), ("batch_size", "64"), ("anchor_size", "32")];
        // A step has 1024 images of 8×8, and counts as 64.
        let plan = plan(&anchored);
        assert_eq!((plan.steps_per_epoch(), plan.step_images), (781.25, 1024.0));
        assert_eq!(plan.epochs(1024 * 1563), 1563.0 / 781.25);
        // Without it the data set's own length counts, in real images.
        let plan = Plan::new(&config(&anchored[1..]), 10_240).unwrap();
        assert_eq!(plan.steps_per_epoch(), 10.0);
    }

    #[test]
    fn the_rate_rises_from_zero_and_decays_to_zero() {
        let constant = plan(&[("warmup", "4 steps"), ("train_for", "12 steps"), ("lr", "1")]);
        let rates: Vec<f64> = (0..7).map(|step| constant.lr(step)).collect();
        assert_eq!(rates, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        let none = plan(&[("warmup", "none"), ("lr", "1")]);
        assert_eq!(none.lr(0), 1.0);
        let cosine =
            plan(&[("warmup", "4 steps"), ("train_for", "12 steps"), ("lr", "1"), ("schedule", "cosine")]);
        // By hand: ½(1 + cos(π·(step − 4)/8)).
        let half = std::f64::consts::FRAC_1_SQRT_2;
        for (step, expected) in
            [(0, 0.0), (2, 0.5), (4, 1.0), (6, 0.5 * (1.0 + half)), (8, 0.5), (12, 0.0), (99, 0.0)]
        {
            assert!((cosine.lr(step) - expected).abs() < 1e-15, "{step}: {}", cosine.lr(step));
        }
    }

    #[test]
    fn decays_follow_the_memory() {
        let tied = plan(&[("batch_size", "10"), ("polyak", "2 epochs")]);
        assert_eq!((tied.polyak_decay(), tied.beta2()), (0.995, 0.995));
        let further = plan(&[
            ("batch_size", "10"),
            ("further_averages", "1 epoch,400 steps, 50 %"),
            ("train_for", "100 steps"),
        ]);
        assert_eq!(further.further_decays(), [0.99, 0.9975, 0.98]);
        let rounded = plan(&[("batch_size", "64"), ("polyak", "1 epoch")]);
        assert_eq!(rounded.polyak_decay(), 1.0 - 1.0 / 16.0, "1000 images are 15.6 steps");
        let short = plan(&[("polyak", "0.001 epochs")]);
        assert_eq!((short.polyak_decay(), short.beta2()), (0.0, 0.9));
        assert_eq!(plan(&[("beta2", "0.99")]).beta2(), 0.99);
    }

    #[test]
    fn what_is_due_does_not_depend_on_where_a_process_began() {
        let due = |interval: Interval| (1..=10).filter(move |&step| interval.is_due(step, 0.0, 0.0));
        assert_eq!(due(Interval::Steps(3.0)).collect::<Vec<_>>(), [3, 6, 9]);
        assert_eq!(due(Interval::Steps(2.5)).collect::<Vec<_>>(), [3, 5, 8, 10]);
        assert_eq!(due(Interval::Steps(0.3)).count(), 10, "each step");
        for interval in [Interval::Steps(2.5), Interval::Steps(2.0), Interval::Minutes(0.0)] {
            assert!(!interval.is_due(0, 0.0, 0.0));
        }
        let minutes = Interval::Minutes(1.5);
        assert!(minutes.is_due(1, 1.4, 1.6) && minutes.is_due(1, 2.9, 3.0) && !minutes.is_due(1, 1.6, 2.9));
    }
}
