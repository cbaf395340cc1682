//! Bits/dim of a model on a data set.
use crate::distributed::Team;
use crate::error::TrainError;
use crate::flow::Glow;
use crate::input::Inputs;
use crate::torch;
use glow_data::{Batch, Dataset, Loader, LoaderOptions, Part};
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

/// Bits/dim of a model on the images of a data set, which a team shares out; `None` if `stop` was set in one
/// of its processes before the last of them. All processes get the same.
///
/// # Errors
/// An image cannot be read, or libtorch refuses: memory ran out, above all; or another process fails.
pub fn evaluate(
    glow: &Glow,
    dataset: Arc<dyn Dataset>,
    how: &Evaluation,
    team: &Team,
    stop: &AtomicBool,
) -> Result<Option<Score>, TrainError> {
    Ok(evaluate_each(glow, dataset, how, team, stop)?.map(|values| Score::of(&values)))
}

/// The bits/dim of each image, in the data set's order; as [`evaluate`].
///
/// # Errors
/// As for [`evaluate`].
pub fn evaluate_each(
    glow: &Glow,
    dataset: Arc<dyn Dataset>,
    how: &Evaluation,
    team: &Team,
    stop: &AtomicBool,
) -> Result<Option<Vec<f64>>, TrainError> {
    const DOING: &str = "gathering the validation";
    let images = if how.images == 0 { dataset.len() } else { how.images.min(dataset.len()) };
    let ours = evaluate_part(glow, dataset, how, images, team.part(), stop)?;
    // Number and value of each image; nothing where it was stopped, which an evaluation is not otherwise.
    let bytes = |values: Vec<(u64, f64)>| {
        values.into_iter().flat_map(|(image, value)| [image, value.to_bits()]).flat_map(u64::to_le_bytes)
    };
    let [stopped] = team.any([ours.is_none()], DOING)?;
    let Some(ours) = ours.filter(|_| !stopped) else {
        return Ok(None);
    };
    let mut values: Vec<(u64, f64)> = Vec::with_capacity(images);
    for theirs in team.gather(bytes(ours).collect(), DOING)? {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        values.extend(
            theirs.chunks_exact(16).map(|pair| (number(&pair[..8]), f64::from_bits(number(&pair[8..])))),
        );
    }
    values.sort_unstable_by_key(|&(image, _)| image);
    Ok(Some(values.into_iter().map(|(_, value)| value).collect()))
}

/// Number and bits/dim of each image of one part of the batches.
fn evaluate_part(
    glow: &Glow,
    dataset: Arc<dyn Dataset>,
    how: &Evaluation,
    images: usize,
    part: Part,
    stop: &AtomicBool,
) -> Result<Option<Vec<(u64, f64)>>, TrainError> {
    let threads = LoaderOptions::default().threads;
    let batch_size = how.batch_size.clamp(1, images.max(1));
    let mut values = Vec::with_capacity(images / part.of + 1);
    for batch in Loader::sequential_part(dataset, batch_size, threads, 4, part)? {
        let batch = batch?;
        if batch.first_image >= images as u64 {
            break;
        }
        if batch.count == 0 {
            continue;
        }
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
        values.extend((batch.first_image..images as u64).zip(means));
    }
    Ok(Some(values))
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
        let encoded = torch::no_grad(|| glow.encode(&x, labels.as_ref()))?;
        let log_prob =
            Vec::<f64>::try_from(encoded.log_prob.to_kind(Kind::Double)).expect("one number an image");
        Ok(log_prob.into_iter().map(|log_prob| model.bits_per_dim(log_prob)).collect())
    })?
}
