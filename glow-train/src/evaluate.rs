//! Bits/dim of a model on a data set.
use crate::error::TrainError;
use crate::flow::Glow;
use crate::input::Inputs;
use crate::torch;
use glow_data::{Batch, Dataset, Loader, LoaderOptions};
use glow_models::random::Purpose;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tch::{Device, Kind};

/// Bits/dim over a number of images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Images.
    pub images: usize,
    /// Mean bits/dim.
    pub bits_per_dim: f64,
    /// Standard error of the mean; times 1.96 it is half of a 95 % confidence interval.
    pub standard_error: f64,
}

impl Score {
    /// Of the bits/dim of single images.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        Self { images: values.len(), bits_per_dim: mean, standard_error: (variance / n).sqrt() }
    }
}

/// How a model is evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Images used, from the first; 0 for all.
    pub images: usize,
    /// Dequantisation draws an image, at least 1; its bits/dim is their mean.
    pub draws: u64,
    /// Images that are encoded at once, at least 1.
    pub batch_size: usize,
    /// Seed of the dequantisation noise.
    pub seed: u64,
    /// Where the model's parameters are.
    pub device: Device,
}

/// Bits/dim of a model on the images of a data set; `None` if `stop` was set before the last of them.
///
/// # Errors
/// An image cannot be read, or libtorch refuses: memory ran out, above all.
pub fn evaluate(
    glow: &Glow,
    dataset: Arc<dyn Dataset>,
    how: &Evaluation,
    stop: &AtomicBool,
) -> Result<Option<Score>, TrainError> {
    let images = if how.images == 0 { dataset.len() } else { how.images.min(dataset.len()) };
    let threads = LoaderOptions::default().threads;
    let mut values = Vec::with_capacity(images);
    for batch in Loader::sequential(dataset, how.batch_size.clamp(1, images.max(1)), threads, 4)? {
        let batch = batch?;
        let mut means = vec![0.0; batch.count];
        for draw in 0..how.draws {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            for (mean, value) in means.iter_mut().zip(bits_per_dim(glow, &batch, draw, how.seed, how.device)?)
            {
                *mean += value / how.draws as f64;
            }
        }
        values.extend(means);
        if values.len() >= images {
            break;
        }
    }
    values.truncate(images);
    Ok(Some(Score::of(&values)))
}

/// Bits/dim of every image of a batch; `draw` picks the dequantisation noise, the same at every call.
///
/// # Errors
/// The batch is not one for this model, or libtorch refuses.
pub fn bits_per_dim(
    glow: &Glow,
    batch: &Batch,
    draw: u64,
    seed: u64,
    device: Device,
) -> Result<Vec<f64>, TrainError> {
    let model = glow.architecture();
    let inputs = Inputs { model: model.clone(), device, seed };
    torch::attempt("evaluating a batch of images", || {
        let (x, labels) = inputs.of(batch, Purpose::Noise { draw })?;
        let encoded = tch::no_grad(|| glow.encode(&x, labels.as_ref()))?;
        let log_prob =
            Vec::<f64>::try_from(encoded.log_prob.to_kind(Kind::Double)).expect("one number an image");
        Ok(log_prob.into_iter().map(|log_prob| model.bits_per_dim(log_prob)).collect())
    })?
}
