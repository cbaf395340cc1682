//! Criterion benchmarks of the trainer, the exporter and the runtime: models to measure, and the
//! work that they do.
//!
//! Random weights suffice for time. Throughput is given in multiply-adds, so that criterion's
//! elements a second compare directly with `ceiling`, a large matrix product in the same run.
use glow_models::{Checkpoint, Config};
use glow_train::Trainer;
use glow_train::data::Batch;
use std::path::PathBuf;
use tch::Device;

/// The configuration of a preset.
///
/// # Panics
/// If there is none of this name.
pub fn preset(name: &str) -> Config {
    Config::preset(name).unwrap_or_else(|error| panic!("{error}"))
}

/// A batch of `n` random images; every call gives the same.
pub fn batch(config: &Config, n: usize) -> Batch {
    let mut state = 1u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
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
    trainer.initialise_actnorm(&first);
    trainer
}

/// A frozen model in a folder of its own, which goes with the value.
#[derive(Debug)]
pub struct FrozenModel {
    folder: tempfile::TempDir,
}

impl FrozenModel {
    /// Freezes an untrained model of a configuration.
    ///
    /// # Panics
    /// If it cannot be written or exported.
    pub fn new(config: Config) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let frozen = Self { folder };
        trainer(config).save(&frozen.checkpoint()).expect("a checkpoint");
        Checkpoint::open(&frozen.checkpoint()).expect("what was written reads back");
        let options = glow_export::ExportOptions { verify: false, ..Default::default() };
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
