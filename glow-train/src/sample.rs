//! Images drawn from a model.
use crate::distributed::Team;
use crate::error::TrainError;
use crate::flow::{Glow, to_pixels};
use crate::torch;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use tch::{Device, Kind, Tensor};

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// Images.
    pub images: usize,
    /// Factor of the standard normal latents.
    pub temperature: f64,
    /// Seed of the latents: the same ones at every call.
    pub seed: u64,
    /// Images that are decoded at once, at least 1.
    pub batch_size: usize,
    /// Where the model's parameters are.
    pub device: Device,
}

/// Draws images, which a team shares out: uint8 [n, H, W, C], row-major; classes take turns where the model
/// has them. `None` if `stop` was set in one of its processes before the last of them.
///
/// # Errors
/// libtorch refuses: memory ran out, above all; or another process fails.
pub fn sample(
    glow: &Glow,
    draw: &Draw,
    team: &Team,
    stop: &AtomicBool,
) -> Result<Option<Vec<u8>>, TrainError> {
    const DOING: &str = "gathering the samples";
    let ours = sample_part(glow, draw, team.part().range(draw.images), stop)?;
    let [stopped] = team.any([ours.is_none()], DOING)?;
    match ours {
        Some(ours) if !stopped => Ok(Some(team.gather(ours, DOING)?.concat())),
        _ => Ok(None),
    }
}

fn sample_part(
    glow: &Glow,
    draw: &Draw,
    part: Range<usize>,
    stop: &AtomicBool,
) -> Result<Option<Vec<u8>>, TrainError> {
    let model = glow.architecture();
    let mut pixels = Vec::with_capacity(part.len() * model.dims());
    for begin in part.clone().step_by(draw.batch_size.max(1)) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let end = part.end.min(begin + draw.batch_size.max(1));
        pixels.extend(torch::attempt("drawing samples", || {
            let options = (Kind::Float, draw.device);
            let eps = glow.latents(begin as u64..end as u64, draw.temperature, draw.seed, options);
            let labels = (model.classes > 0).then(|| {
                let turns: Vec<i64> = (begin..end).map(|image| (image % model.classes) as i64).collect();
                Tensor::from_slice(&turns).to_device(draw.device)
            });
            let x = glow.decode(&eps, labels.as_ref())?;
            let images = to_pixels(model, &x).flatten(0, -1).to_device(Device::Cpu);
            Ok::<_, TrainError>(Vec::<u8>::try_from(images).expect("a flat tensor of bytes"))
        })??);
    }
    Ok(Some(pixels))
}
