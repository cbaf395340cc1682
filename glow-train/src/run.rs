//! A run: the training loop over a folder with checkpoints, metrics and sample grids.
use crate::error::TrainError;
use crate::events::EventFile;
use crate::metrics::{Metrics, MetricsFile};
use crate::progress::Progress;
use crate::trainer::{Score, Trainer};
use glow_data::{Batch, Dataset, Grid, GridLayout, ImageShape, Loader, LoaderOptions, OpenOptions, Splits};
use glow_models::{
    Checkpoint, Config, Interval as Every, Training, Weights, remove_partial_files, write_atomically,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tch::Device;

/// Seed of the latents on the sample grids: the same at every step, so that grids can be compared.
const SAMPLE_SEED: u64 = 0;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Steps done.
    pub step: u64,
    /// Whether it was stopped before its last step.
    pub stopped: bool,
    /// Validation before the first step of this process.
    pub before: Option<Score>,
    /// The last validation.
    pub after: Option<Score>,
    /// The best validation bits/dim.
    pub best_bits_per_dim: Option<f64>,
    /// Steps that were not taken because loss or gradient were not finite.
    pub skipped_steps: u64,
    /// Images of the data set that could not be used.
    pub skipped_images: usize,
}

/// The files of a run's folder.
#[derive(Debug, Clone)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The folder at `path`, whether it is there or not.
    pub fn new(path: &Path) -> Self {
        Self(path.into())
    }

    /// `checkpoints/latest.safetensors`.
    pub fn latest(&self) -> PathBuf {
        self.0.join("checkpoints/latest.safetensors")
    }

    /// `checkpoints/best.safetensors`.
    pub fn best(&self) -> PathBuf {
        self.0.join("checkpoints/best.safetensors")
    }

    fn create(&self) -> Result<(), TrainError> {
        for folder in ["checkpoints", "samples"].map(|name| self.0.join(name)) {
            std::fs::create_dir_all(&folder)
                .map_err(|source| TrainError::Write { path: folder.clone(), source })?;
            remove_partial_files(&folder);
        }
        remove_partial_files(&self.0);
        Ok(())
    }
}

/// Opens the data set of a configuration, and checks its classes against the model's.
///
/// # Errors
/// The data set cannot be used, or has no classes or more than a model with classes.
pub fn open_data(config: &Config) -> Result<Splits, TrainError> {
    let shape = ImageShape {
        height: config.model.height,
        width: config.model.width,
        channels: config.model.channels,
    };
    let options = OpenOptions {
        validation_fraction: config.data.validation_fraction,
        seed: config.training.seed,
        cache_bytes: config.data.cache_bytes,
        random_crop: config.data.random_crop,
        classes: config.model.classes,
        attribute: config.data.attribute.clone(),
    };
    let splits = glow_data::open(&config.data.data.parse()?, shape, &options)?;
    let classes = splits.train.classes().len();
    if config.model.classes > 0 && (classes > config.model.classes || classes == 0) {
        return Err(TrainError::Classes { data: classes, model: config.model.classes });
    }
    Ok(splits)
}

/// Bits/dim of the first `images` (0 for all) of a data set, with `draws` dequantization draws an image.
///
/// # Errors
/// An image cannot be read.
pub fn evaluate(
    trainer: &Trainer,
    dataset: Arc<dyn Dataset>,
    weights: Weights,
    images: usize,
    draws: u64,
) -> Result<Score, TrainError> {
    let images = if images == 0 { dataset.len() } else { images.min(dataset.len()) };
    let Config { model, training, .. } = trainer.config();
    let batch_size = training.images_per_step(model.height, model.width).min(images);
    let threads = LoaderOptions::default().threads;
    let mut values = Vec::with_capacity(images);
    for batch in Loader::sequential(dataset, batch_size, threads, 4)? {
        let batch = batch?;
        let mut means = vec![0.0; batch.count];
        for draw in 0..draws {
            for (mean, value) in means.iter_mut().zip(trainer.bits_per_dim(&batch, draw, weights)) {
                *mean += value / draws as f64;
            }
        }
        values.extend(means);
        if values.len() >= images {
            break;
        }
    }
    values.truncate(images);
    Ok(Score::of(&values))
}

/// Trains in the folder `out` until the last step, or until `stop` is set; then the run can be gone on
/// with. With `resume`, goes on from its latest checkpoint.
///
/// # Errors
/// See [`TrainError`]. What was saved before stands.
pub fn train(
    config: Config,
    out: &Path,
    resume: bool,
    device: Device,
    stop: &AtomicBool,
) -> Result<Outcome, TrainError> {
    config.validate()?;
    let folder = RunFolder::new(out);
    let checkpoint = match (resume, folder.latest().exists()) {
        (false, true) => return Err(TrainError::RunExists { path: out.into() }),
        (false, false) => None,
        (true, _) => Some(Checkpoint::open(&folder.latest())?),
    };
    let splits = open_data(&config)?;
    config.flips()?;
    let text = config.to_toml()?;
    let trainer = match &checkpoint {
        Some(checkpoint) => Trainer::resume(checkpoint, config, device)?,
        None => Trainer::new(config, splits.train.len(), device)?,
    };
    // Only now, as a configuration that the checkpoint refuses must not take the place of the run's own.
    folder.create()?;
    let config_file = out.join("config.toml");
    write_atomically(&config_file, |file| file.write_all(text.as_bytes()))
        .map_err(|source| TrainError::Write { path: config_file, source })?;
    if let Some(began) = checkpoint.map(|checkpoint| checkpoint.meta().train_images)
        && began != splits.train.len() as u64
    {
        let now = splits.train.len();
        eprintln!(
            "warning: the data set has {now} training images, and had {began} when the run began: the order of the \
             images is another, and what was best on the former ones may not be so on these"
        );
    }
    Run::new(trainer, splits, folder)?.train(stop)
}

/// A run under way.
struct Run {
    trainer: Trainer,
    splits: Splits,
    folder: RunFolder,
    metrics: MetricsFile,
    events: EventFile,
    progress: Progress,
    interval: Interval,
    /// Step of the last validation, so that the end does not repeat it.
    validated: Option<(u64, Score)>,
    saved: Option<u64>,
    /// The last batch, to see whether the weights are sound.
    last: Option<Batch>,
    /// Step of the last sample grids, so that the end does not repeat them.
    sampled: Option<u64>,
}

impl Run {
    fn new(trainer: Trainer, splits: Splits, folder: RunFolder) -> Result<Self, TrainError> {
        let metrics = MetricsFile::open(&folder.0.join("metrics.jsonl"), trainer.step_count())?;
        let events = EventFile::create(&folder.0, trainer.step_count())?;
        let progress = Progress::new(trainer.plan().total_steps(), trainer.step_count());
        let interval = Interval::new(Duration::ZERO);
        Ok(Self {
            trainer,
            splits,
            folder,
            metrics,
            events,
            progress,
            interval,
            validated: None,
            saved: None,
            last: None,
            sampled: None,
        })
    }

    fn train(mut self, stop: &AtomicBool) -> Result<Outcome, TrainError> {
        let training = self.trainer.config().training.clone();
        let model = &self.trainer.config().model;
        let batch_size = training.images_per_step(model.height, model.width);
        self.progress.note(&format!(
            "{:.2} M parameters · {} training and {} validation images · epochs of {:.1} steps",
            model.parameter_count() as f64 / 1e6,
            self.splits.train.len(),
            self.splits.validation.len(),
            self.trainer.plan().steps_per_epoch(),
        ));
        let flip = self.trainer.config().flips()?;
        self.progress.note(&format!(
            "{batch_size} images a step, {}, {}",
            if flip { "flipped left to right at random (--flip false for none)" } else { "none flipped" },
            match training.shift {
                0 => "none shifted".to_string(),
                pixels => format!("shifted at random by up to {pixels} pixels"),
            },
        ));
        let options = LoaderOptions {
            batch_size,
            seed: training.seed,
            flip,
            shift: training.shift,
            start_image: self.trainer.images_seen(),
            ..LoaderOptions::default()
        };
        if !self.trainer.actnorm_initialised() {
            let batch_size = training.init_images(model.height, model.width).min(self.splits.train.len());
            let first = LoaderOptions { batch_size, prefetch: 1, threads: 1, ..options.clone() };
            let mut first = Loader::new(self.splits.train.clone(), &first)?;
            let batch = first.next().expect("the stream of batches does not end")?;
            self.trainer.initialise_actnorm(&batch);
        }
        let before = self.validate()?;
        if !self.folder.latest().exists() {
            self.save()?;
        }
        let mut loader = Loader::new(self.splits.train.clone(), &options)?;
        self.interval = Interval::new(Duration::ZERO);
        let plan = self.trainer.plan().clone();
        let [log, validate, checkpoint] =
            [training.log_every, training.validate_every, training.checkpoint_every].map(|i| plan.every(i));
        let sample = training.sample_every.map(|interval| plan.every(interval));
        let total = plan.total_steps().unwrap_or(u64::MAX);
        let total_minutes = plan.total_minutes().unwrap_or(f64::INFINITY);
        let limit = match training.time_limit {
            Some(glow_models::Duration::Minutes(minutes)) => minutes,
            _ => f64::INFINITY,
        };
        let (started, earlier) = (Instant::now(), self.trainer.minutes());
        let mut out_of_time = earlier >= total_minutes;
        while self.trainer.step_count() < total && !stop.load(Ordering::Relaxed) && !out_of_time {
            let batch = loader.next().expect("the stream of batches does not end")?;
            self.trainer.step(&batch)?;
            let (step, before) = (self.trainer.step_count(), self.trainer.minutes());
            let minutes = earlier + started.elapsed().as_secs_f64() / 60.0;
            self.trainer.set_minutes(minutes);
            let due = |every: Every| every.is_due(step, before, minutes);
            self.interval.images += batch.count;
            self.last = Some(batch);
            self.progress.step(step);
            if due(log) {
                self.log(loader.waited())?;
            }
            if sample.is_some_and(due) {
                self.sample()?;
            }
            if due(validate) {
                self.validate()?;
            }
            if due(checkpoint) {
                self.save()?;
            }
            out_of_time = minutes - earlier >= limit || minutes >= total_minutes;
        }
        let stopped = self.trainer.step_count() < total && !out_of_time;
        // What is dear comes first: an impatient second Ctrl-C must not lose the run.
        self.save()?;
        if !stopped {
            self.validate()?;
            if training.sample_every.is_some() {
                self.sample()?;
            }
            self.save()?;
        }
        Ok(Outcome {
            step: self.trainer.step_count(),
            stopped,
            before: Some(before),
            after: self.validated.map(|(_, score)| score),
            best_bits_per_dim: self.trainer.best_bits_per_dim(),
            skipped_steps: self.trainer.skipped(),
            skipped_images: self.splits.skipped.count(),
        })
    }

    fn line(&self, split: &'static str) -> Metrics {
        Metrics {
            step: self.trainer.step_count(),
            epoch: self.trainer.epoch(),
            images_seen: self.trainer.images_seen(),
            n_bits: self.trainer.config().model.n_bits,
            split,
            ..Default::default()
        }
    }

    /// Notes a line of metrics, and its numbers for TensorBoard.
    fn record(&mut self, line: &Metrics) -> Result<(), TrainError> {
        if self.metrics.append(line)? {
            self.events.scalars(line.step, line.scalars())?;
        }
        Ok(())
    }

    fn log(&mut self, waited: Duration) -> Result<(), TrainError> {
        let report = self.trainer.report();
        let seconds = self.interval.seconds();
        let images_per_s = self.interval.images as f64 / seconds;
        // Where no step was taken there is nothing to take means of.
        let taken = report.steps > 0;
        let line = Metrics {
            bits_per_dim: taken.then_some(report.bits_per_dim),
            level_bits_per_dim: taken.then_some(report.level_bits_per_dim),
            label_bits: report.label_bits.filter(|_| taken),
            lr: Some(self.trainer.plan().lr(self.trainer.step_count() - 1)),
            gradient_norm: taken.then_some(report.gradient_norm),
            clipped_steps: taken.then_some(report.clipped),
            images_per_s: Some(images_per_s),
            data_wait: Some(waited.saturating_sub(self.interval.waited).as_secs_f64() / seconds),
            skipped_steps: Some(report.skipped),
            ..self.line("train")
        };
        self.record(&line)?;
        let bits_per_dim = match line.bits_per_dim {
            Some(bits_per_dim) => format!("{bits_per_dim:.3} bits/dim"),
            None => "no step taken, as loss or gradient are not finite".into(),
        };
        let figures = format!("{bits_per_dim} · {images_per_s:.1} images/s");
        self.progress.figures(line.step, &figures);
        self.interval = Interval::new(waited);
        Ok(())
    }

    fn validate(&mut self) -> Result<Score, TrainError> {
        let step = self.trainer.step_count();
        if let Some((validated, score)) = self.validated
            && validated == step
        {
            return Ok(score);
        }
        let Training { validate_images: images, weights, .. } = self.trainer.config().training;
        let started = Instant::now();
        let dataset = self.splits.validation.clone();
        let score = evaluate(&self.trainer, dataset, weights, images.unwrap_or(0), 1)?;
        let best = self.trainer.note_validation(score.bits_per_dim);
        self.record(&Metrics {
            bits_per_dim: Some(score.bits_per_dim),
            standard_error: Some(score.standard_error),
            ..self.line("validation")
        })?;
        self.progress.note(&format!(
            "step {step}: validation {:.4} bits/dim at {} bits ± {:.4} on {} images{}",
            score.bits_per_dim,
            self.trainer.config().model.n_bits,
            score.standard_error,
            score.images,
            if best { ", the best so far" } else { "" },
        ));
        self.validated = Some((step, score));
        if best {
            self.trainer.save(&self.folder.best())?;
        }
        self.interval.pause(started.elapsed());
        Ok(score)
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let step = self.trainer.step_count();
        let validated = self.validated.map_or(0, |(step, _)| step);
        // A validation changes what a checkpoint says, so it is saved again after one.
        if self.saved == Some(step) && validated != step {
            return Ok(());
        }
        let started = Instant::now();
        if self.is_sound() {
            self.trainer.save(&self.folder.latest())?;
        } else {
            self.progress.note(&format!("step {step}: the loss is not finite; the checkpoint before stands"));
        }
        self.saved = Some(step);
        self.interval.pause(started.elapsed());
        Ok(())
    }

    /// Whether the weights give the last batch a finite loss: a step may lead to where no further one can
    /// be taken, and a run must not go on from there.
    fn is_sound(&self) -> bool {
        self.last.as_ref().is_none_or(|batch| {
            self.trainer.bits_per_dim(batch, 0, Weights::Raw).into_iter().all(f64::is_finite)
        })
    }

    fn sample(&mut self) -> Result<(), TrainError> {
        let step = self.trainer.step_count();
        if self.sampled.replace(step) == Some(step) {
            return Ok(());
        }
        let started = Instant::now();
        let training = &self.trainer.config().training;
        let (n, temperatures) = (training.sample_images.max(1), training.sample_temperatures.clone());
        for &temperature in &temperatures {
            let pixels = self.trainer.sample(n, temperature, SAMPLE_SEED);
            let model = &self.trainer.config().model;
            let layout = GridLayout {
                columns: (n as f64).sqrt().ceil() as usize,
                padding: 2,
                scale: (64 / model.width).max(1),
            };
            let file = match temperatures.len() {
                1 => format!("samples/step-{step:08}.png"),
                _ => format!("samples/step-{step:08}-temperature-{temperature}.png"),
            };
            let grid = Grid::new(&pixels, [model.height, model.width, model.channels], layout);
            let path = self.folder.0.join(&file);
            let png = png(&grid, &path)?;
            write_atomically(&path, |out| out.write_all(&png))
                .map_err(|source| TrainError::Write { path, source })?;
            let tag = format!("samples/temperature {temperature}");
            self.events.image(step, &tag, [grid.height, grid.width, grid.channels], png)?;
            self.record(&Metrics {
                temperature: Some(temperature),
                file: Some(file),
                ..self.line("samples")
            })?;
        }
        self.interval.pause(started.elapsed());
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

/// The time since the last line of metrics.
struct Interval {
    started: Instant,
    /// Time spent on other things than training.
    paused: Duration,
    /// The loader's waiting time when the interval began.
    waited: Duration,
    images: usize,
}

impl Interval {
    fn new(waited: Duration) -> Self {
        Self { started: Instant::now(), paused: Duration::ZERO, waited, images: 0 }
    }

    fn pause(&mut self, time: Duration) {
        self.paused += time;
    }

    /// Seconds of training.
    fn seconds(&self) -> f64 {
        self.started.elapsed().saturating_sub(self.paused).as_secs_f64().max(1e-9)
    }
}
