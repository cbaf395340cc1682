//! The uniform steps that float values are rounded to.
use glow_models::Int8Layout;

/// 256 steps: value = scale · (step − zero_point).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Steps {
    pub scale: f32,
    pub grid: Grid,
}

/// Which whole numbers the steps are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Grid {
    /// 0 to 255, of which `zero_point` stands for 0.
    Unsigned { zero_point: u8 },
    /// −128 to 127, of which 0 stands for 0.
    Signed,
}

/// Bins of the histogram in which the best range is looked for.
const BINS: usize = 4096;
/// Shares of the range of the values that are tried.
const SHARES: std::ops::RangeInclusive<u32> = 15..=50;

impl Steps {
    /// The steps over a share of [lowest, highest], 0 included, with the least mean squared error over
    /// the values. A few values beyond are worth being clipped, as the others are then rounded less.
    pub fn best(layout: Int8Layout, values: impl Iterator<Item = f32> + Clone) -> Self {
        let (mut lowest, mut highest) = (0.0f32, 0.0f32);
        for value in values.clone() {
            (lowest, highest) = (lowest.min(value), highest.max(value));
        }
        let width = (highest - lowest) / BINS as f32;
        if width <= 0.0 || !width.is_finite() {
            return Self::over(layout, 0.0, 255.0);
        }
        let mut histogram = vec![0u32; BINS];
        for value in values {
            histogram[(((value - lowest) / width) as usize).min(BINS - 1)] += 1;
        }
        let error = |steps: &Self| -> f64 {
            let bins = histogram.iter().enumerate().filter(|(_, count)| **count > 0);
            bins.map(|(bin, &count)| {
                let middle = lowest + (bin as f32 + 0.5) * width;
                f64::from(count) * f64::from(steps.round(middle) - middle).powi(2)
            })
            .sum()
        };
        SHARES
            .map(|share| Self::over(layout, lowest * share as f32 / 50.0, highest * share as f32 / 50.0))
            .map(|steps| (error(&steps), steps))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .expect("some shares are tried")
            .1
    }

    /// Steps from about `lowest` (at most 0) to about `highest`.
    fn over(layout: Int8Layout, lowest: f32, highest: f32) -> Self {
        match layout {
            Int8Layout::Cpu => {
                let scale = ((highest - lowest) / 255.0).max(f32::MIN_POSITIVE);
                Self { scale, grid: Grid::Unsigned { zero_point: (-lowest / scale).round() as u8 } }
            }
            Int8Layout::TensorRt => {
                let scale = (highest.max(-lowest) / 127.0).max(f32::MIN_POSITIVE);
                Self { scale, grid: Grid::Signed }
            }
        }
    }

    /// Which step a value is rounded to, counted from the zero point, as QuantizeLinear does it.
    pub fn step(self, value: f32) -> f32 {
        let step = (value / self.scale).round_ties_even();
        match self.grid {
            Grid::Unsigned { zero_point } => {
                let zero = f32::from(zero_point);
                (step + zero).clamp(0.0, 255.0) - zero
            }
            Grid::Signed => step.clamp(-128.0, 127.0),
        }
    }

    /// The value that another is rounded to, as QuantizeLinear and DequantizeLinear do it.
    pub fn round(self, value: f32) -> f32 {
        self.step(value) * self.scale
    }
}

/// The largest weight in steps; −128 is left out, so that the steps are symmetric.
const LARGEST: f32 = 127.0;

/// Symmetric 8-bit steps of the weights of one output: the scale of least squared error, not below
/// `least`.
pub(super) fn round_weights(weights: &[f32], least: f32) -> (f32, Vec<i8>) {
    let largest = weights.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
    let round = |scale: f32| {
        weights.iter().map(move |weight| (weight / scale).round_ties_even().clamp(-LARGEST, LARGEST))
    };
    let error = |scale: f32| -> f64 {
        round(scale).zip(weights).map(|(step, weight)| f64::from(step * scale - weight).powi(2)).sum()
    };
    let whole = (largest / LARGEST).max(f32::MIN_POSITIVE);
    let scale = (12..=20)
        .map(|share| (whole * share as f32 / 20.0).max(least))
        .map(|scale| (error(scale), scale))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .expect("some shares are tried")
        .1;
    (scale, round(scale).map(|step| step as i8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_reach_over_the_values_and_have_zero_among_them() {
        let values: Vec<f32> = (0..1000).map(|i| i as f32 / 100.0 - 3.0).collect();
        for (layout, widest) in [(Int8Layout::Cpu, 10.0 / 250.0), (Int8Layout::TensorRt, 7.0 / 125.0)] {
            let steps = Steps::best(layout, values.iter().copied());
            assert_eq!(steps.round(0.0), 0.0);
            for &value in &values {
                assert!((steps.round(value) - value).abs() <= 0.51 * steps.scale, "{value}");
            }
            assert!(steps.scale < widest);
        }
    }

    #[test]
    fn a_lone_value_far_out_is_clipped() {
        let values = (0..1_000_000).map(|i| (i % 100) as f32 / 100.0).chain([2.0]);
        assert!(Steps::best(Int8Layout::Cpu, values.clone()).scale < 1.5 / 255.0);
        assert!(Steps::best(Int8Layout::TensorRt, values).scale < 1.5 / 127.0);
    }

    #[test]
    fn values_that_are_all_zero_are_kept() {
        for layout in Int8Layout::ALL {
            assert_eq!(Steps::best(layout, [0.0; 9].into_iter()).round(0.0), 0.0);
        }
    }

    #[test]
    fn weights_are_rounded_to_half_a_step() {
        let weights: Vec<f32> = (0..50).map(|i| (i as f32 - 20.0) * 0.013).collect();
        let (scale, steps) = round_weights(&weights, 0.0);
        for (weight, step) in weights.iter().zip(steps) {
            assert!((f32::from(step) * scale - weight).abs() <= 0.51 * scale);
        }
        assert_eq!(round_weights(&[0.0, 0.0], 0.0).1, [0, 0]);
        assert_eq!(round_weights(&[0.5, -0.5], 1.0), (1.0, vec![0, 0]));
    }
}
