//! Which layer went wrong first.
use super::glow::{Glow, Level};
use super::squeeze::halves;
use crate::torch::no_grad;
use tch::Tensor;

impl Glow {
    /// The name of the first layer whose output for x [N, C, H, W] is not finite; `None` where all are.
    ///
    /// # Panics
    /// If libtorch fails, as in [`Glow::encode`].
    pub fn first_not_finite(&self, x: &Tensor, labels: Option<&Tensor>) -> Option<String> {
        no_grad(|| {
            let top = match self.walk(x, |index, level, z| level.first_not_finite(index, z)) {
                Ok(z) => self.score_top(&z, labels).ok()?,
                Err(layer) => return Some(layer),
            };
            let finite = is_finite(&top.log_prob) && top.label_bits.is_none_or(|bits| is_finite(&bits));
            (!finite).then(|| "top".to_string())
        })
    }
}

impl Level {
    /// The output of the steps of level `index`, or the name of its first layer that is not finite.
    fn first_not_finite(&self, index: usize, mut z: Tensor) -> Result<Tensor, String> {
        let maps = self.linear.maps();
        let log_dets = maps.log_det.unbind(0);
        for ((step, map), log_det) in self.steps.iter().zip(maps.forward(z.kind())).zip(&log_dets) {
            z = map.apply(&z);
            if !is_finite(&z) || !is_finite(log_det) {
                return Err(format!("{}.permutation or its actnorm", step.name));
            }
            let (y, log_det) = step.coupling.forward(&z);
            if !is_finite(&y) || log_det.is_some_and(|log_det| !is_finite(&log_det)) {
                return Err(format!("{}.coupling", step.name));
            }
            z = y;
        }
        if let Some(split) = &self.split {
            let (z1, z2) = halves(&z);
            if !is_finite(&split.given(&z1).score(&z2).1) {
                return Err(format!("level{index}.split"));
            }
        }
        Ok(z)
    }
}

fn is_finite(t: &Tensor) -> bool {
    t.isfinite().all().int64_value(&[]) != 0
}
