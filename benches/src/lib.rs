//! Criterion benchmarks of the trainer, the exporter and the runtime: models to measure, and the
//! work that they do.
//!
//! Random weights suffice for time. Rates of arithmetic are printed beside those of a large matrix product
//! in the same run; see [`Ceiling`].
mod measure;
mod photographs;

pub use measure::{Ceiling, measure};
pub use photographs::write_photographs;

use criterion::Criterion;
use glow_data::{Batch, DataKind, DataSpec};
use glow_export::ExportOptions;
use glow_models::{Architecture, Checkpoint, Config, Memory, Precision};
use glow_runtime::Provider;
use glow_train::Trainer;
use ndarray::Array4;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tch::Device;

/// Samples that count, of each benchmark.
const SAMPLES: usize = 10;

/// Criterion for work that takes milliseconds to seconds: ten samples, and no more seconds than they need.
/// What the command line says counts.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args()
}

/// The configuration of a preset, with every activation kept: the presets' own gradient checkpointing, as
/// published, would be measured as a step that is a third slower. A benchmark of a memory mode sets it anew.
///
/// # Panics
/// If there is none of this name.
pub fn preset(name: &str) -> Config {
    let mut config = Config::preset(name).unwrap_or_else(|error| panic!("{error}"));
    config.training.memory = Memory::Autograd;
    config
}

/// A function of bytes without a pattern; a seed gives the same.
fn random_bytes(seed: u32) -> impl FnMut() -> u8 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }
}

/// A batch of `n` random images; every call gives the same.
pub fn batch(config: &Config, n: usize) -> Batch {
    let mut byte = random_bytes(1);
    let images = (0..n * config.model.dims()).map(|_| byte()).collect();
    Batch { images, labels: vec![0; n], count: n, first_image: 0 }
}

/// A model of a preset, its actnorms initialised.
///
/// # Panics
/// If the configuration is not valid.
pub fn trainer(config: Config) -> Trainer {
    let first = batch(&config, 4);
    let mut trainer = Trainer::new(config, 50_000, Device::Cpu).expect("a preset is valid");
    trainer.initialise_actnorm(&first).expect("memory suffices");
    trainer
}

/// `n` random images [n, H, W, C]; every call gives the same.
pub fn images(architecture: &Architecture, n: usize) -> Array4<u8> {
    let config = Config { model: architecture.clone(), ..Default::default() };
    let dim = (n, architecture.height, architecture.width, architecture.channels);
    Array4::from_shape_vec(dim, batch(&config, n).images).expect("the batch has the model's shape")
}

/// The providers to measure: the CPU's, and with the feature `openvino` OpenVINO's.
pub fn providers() -> Vec<Provider> {
    vec![
        Provider::Cpu,
        #[cfg(feature = "openvino")]
        Provider::OpenVino(Default::default()),
    ]
}

/// A frozen model in a folder of its own, which goes with the value.
#[derive(Debug)]
pub struct FrozenModel {
    folder: tempfile::TempDir,
}

impl FrozenModel {
    /// Freezes an untrained model of a configuration; int8 is calibrated on random images.
    ///
    /// # Panics
    /// If it cannot be written or exported.
    pub fn new(config: Config, precision: Precision) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let frozen = Self { folder };
        let random = frozen.folder.path().join("images");
        let images = (precision == Precision::Int8).then(|| {
            write_images(&config.model, 4, &random);
            DataSpec { kind: DataKind::Images, path: random }
        });
        trainer(config).save(&frozen.checkpoint()).expect("a checkpoint");
        Checkpoint::open(&frozen.checkpoint()).expect("what was written reads back");
        let options = ExportOptions { precision, images, verify: false, ..Default::default() };
        glow_export::export(frozen.checkpoint(), frozen.bundle(), &options).expect("an export");
        frozen
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.folder.path().join("checkpoint.safetensors")
    }

    /// The bundle.
    pub fn bundle(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }
}

fn write_images(architecture: &Architecture, n: usize, folder: &Path) {
    std::fs::create_dir(folder).expect("a folder");
    for (image, number) in images(architecture, n).outer_iter().zip(0..) {
        let bytes = image.to_slice().expect("standard layout");
        let (width, height) = (architecture.width as u32, architecture.height as u32);
        let color = if architecture.channels == 1 { image::ColorType::L8 } else { image::ColorType::Rgb8 };
        let path = folder.join(format!("{number}.png"));
        image::save_buffer(path, bytes, width, height, color).expect("a picture");
    }
}
