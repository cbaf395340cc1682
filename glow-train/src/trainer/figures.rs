//! What the steps since the last line of metrics did, summed up on the device.
use tch::{Device, Kind, Tensor};

/// Means over the steps since the last report.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Steps that were taken; the means are over them.
    pub steps: u64,
    /// Mean bits/dim of the batches, each before its step.
    pub bits_per_dim: f64,
    /// What each level's log-determinants and latents add to that; n_bits more make it up.
    pub level_bits_per_dim: Vec<f64>,
    /// Mean of −log₂ p(label), in bits, where the model has classes.
    pub label_bits: Option<f64>,
    /// Mean Euclidean norm of the gradient of the mean bits/dim, before clipping.
    pub gradient_norm: f64,
    /// Share of the steps whose gradient was clipped.
    pub clipped: f64,
    /// With reversible training, the largest |recomputed − given| of a number of x.
    pub reversible_drift: Option<f64>,
    /// Steps so far, in this process, that were not taken because loss or gradient were not finite.
    pub skipped: u64,
}

/// The figures of one step, scalars in double on the device.
#[derive(Debug)]
pub(super) struct StepFigures {
    pub(super) bits_per_dim: Tensor,
    pub(super) gradient_norm: Tensor,
    /// 1 if the gradient was clipped, else 0.
    pub(super) clipped: Tensor,
    pub(super) label_bits: Tensor,
    pub(super) level_bits_per_dim: Vec<Tensor>,
}

/// Sums of the figures of steps, on the device: adding to them waits for nothing.
#[derive(Debug)]
pub(super) struct Sums {
    /// Steps taken, bits/dim, gradient norm, clipped steps, label bits, then one number a level.
    figures: Tensor,
    /// Steps not taken, and how many of them are the last in a row.
    skipped: Tensor,
    /// The largest drift of reversible training.
    drift: Option<Tensor>,
}

impl Sums {
    pub(super) fn new(levels: usize, device: Device) -> Self {
        Self { figures: zeros(5 + levels, device), skipped: zeros(2, device), drift: None }
    }

    /// Adds a step that is taken if `finite`, a truth value on the device, says so.
    pub(super) fn add(&mut self, step: StepFigures, finite: &Tensor) {
        let one = step.gradient_norm.ones_like();
        let zero = one.zeros_like();
        let mut figures = vec![one, step.bits_per_dim, step.gradient_norm, step.clipped, step.label_bits];
        figures.extend(step.level_bits_per_dim);
        self.figures += Tensor::stack(&figures, 0).where_self(finite, &zero);
        let missed = finite.logical_not().to_kind(Kind::Double);
        let in_a_row = (self.skipped.get(1) + 1.0) * &missed;
        self.skipped = Tensor::stack(&[self.skipped.get(0) + &missed, in_a_row], 0);
    }

    /// Adds the drift of a reversible step.
    pub(super) fn add_drift(&mut self, drift: &Tensor) {
        self.drift = Some(match &self.drift {
            Some(most) => most.maximum(drift),
            None => drift.shallow_clone(),
        });
    }

    /// Steps not taken so far. Waits for the device.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped.double_value(&[0]) as u64
    }

    /// How many of them are the last in a row. Waits for the device.
    pub(super) fn skipped_in_a_row(&self) -> u64 {
        self.skipped.double_value(&[1]) as u64
    }

    /// Means over the steps since the last call. Waits for the device.
    pub(super) fn report(&mut self, classes: usize) -> Report {
        let length = self.figures.size()[0] as usize;
        let none = self.figures.zeros_like();
        let figures = std::mem::replace(&mut self.figures, none);
        let figures = Vec::<f64>::try_from(figures).expect("a vector of doubles");
        let steps = figures[0];
        let mean = |index: usize| figures[index] / steps.max(1.0);
        Report {
            steps: steps as u64,
            bits_per_dim: mean(1),
            level_bits_per_dim: (5..length).map(mean).collect(),
            label_bits: (classes > 0).then(|| mean(4)),
            gradient_norm: mean(2),
            clipped: mean(3),
            reversible_drift: self.drift.take().map(|drift| drift.double_value(&[])),
            skipped: self.skipped(),
        }
    }
}

fn zeros(n: usize, device: Device) -> Tensor {
    Tensor::zeros([n as i64], (Kind::Double, device))
}
