//! Sample grids.
use super::Run;
use super::clock::Task;
use crate::error::TrainError;
use crate::metrics::Metrics;
use crate::sample::{Draw, sample};
use glow_data::{Grid, GridLayout};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Seed of the latents on the sample grids: the same at every step, so that grids can be compared.
const SAMPLE_SEED: u64 = 0;

impl Run {
    /// Draws this step's grids, unless they are there or `stop` is set.
    pub(super) fn sample(&mut self, stop: &AtomicBool) -> Result<(), TrainError> {
        let step = self.trainer.step_count();
        if self.sampled == Some(step) {
            return Ok(());
        }
        let started = Instant::now();
        let training = self.trainer.config().training.clone();
        let model = self.trainer.config().model.clone();
        let images = training.sample_images.max(1);
        let glow = self.trainer.glow(training.weights)?;
        for &temperature in &training.sample_temperatures {
            let draw = Draw {
                images,
                temperature,
                seed: SAMPLE_SEED,
                batch_size: training.images_per_step(model.height, model.width),
                device: self.trainer.device(),
            };
            let Some(pixels) = sample(&glow, &draw, &self.team, stop)? else {
                return Ok(());
            };
            let Some(folder) = &self.folder else {
                continue;
            };
            let layout = GridLayout {
                columns: (images as f64).sqrt().ceil() as usize,
                padding: 2,
                scale: (64 / model.width).max(1),
            };
            let file = match training.sample_temperatures.len() {
                1 => format!("samples/step-{step:08}.png"),
                _ => format!("samples/step-{step:08}-temperature-{temperature}.png"),
            };
            let grid = Grid::new(&pixels, [model.height, model.width, model.channels], layout);
            let path = folder.path().join(&file);
            let png = png(&grid, &path)?;
            self.journal.file(&path, &png);
            let tag = format!("samples/temperature {temperature}");
            self.journal.image(step, &tag, [grid.height, grid.width, grid.channels], png);
            let line = Metrics { temperature: Some(temperature), file: Some(file), ..self.line("samples") };
            self.journal.record(&line);
        }
        self.sampled = Some(step);
        self.pause(Task::Samples, started);
        Ok(())
    }
}

/// A grid as the bytes of a PNG file, which will be at `path`.
fn png(grid: &Grid, path: &Path) -> Result<Vec<u8>, TrainError> {
    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
    let colour = if grid.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&grid.pixels, grid.width as u32, grid.height as u32, colour)
        .map_err(|source| TrainError::Picture { path: path.into(), source })?;
    Ok(png)
}
