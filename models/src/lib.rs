//! What a Glow *is*, without any tensor library: hyperparameters, latent shapes, parameter names and
//! shapes, the checkpoint and bundle formats and their validation, and the paper's presets.
//!
//! Glow is the flow of Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1×1 Convolutions"
//! (2018). `glow-train`, `glow-export` and `glow-runtime` all take their facts about it from here, so
//! that each is written once.
//!
//! ```
//! use glow_models::{Config, LatentShape};
//!
//! let config = Config::preset("cifar10")?;
//! assert_eq!((config.model.levels, config.model.depth, config.model.hidden), (3, 32, 512));
//! assert_eq!(config.model.latent_shapes()[0], LatentShape { channels: 6, height: 16, width: 16 });
//! # Ok::<(), glow_models::ConfigError>(())
//! ```
mod architecture;
mod atomic;
mod bundle;
mod celeba;
mod checkpoint;
mod config;
mod fields;
mod grid;
mod latent;
mod parameters;
mod pixels;
pub mod protobuf;
mod tensor_file;
mod tensors;
mod training;

pub use architecture::{Architecture, ArchitectureError, Coupling, Permutation};
pub use atomic::{remove_partial_files, write_atomically};
pub use bundle::{
    ATTRIBUTES_FILE, Bundle, BundleBytes, BundleError, DECODER_FILE, ENCODER_FILE, FileEntry, MANIFEST_FILE,
    Manifest, Precision, Provenance, WEIGHTS_FILE, Weights, check_graph,
};
pub use celeba::{CelebaAttributes, CelebaError};
pub use checkpoint::{Checkpoint, CheckpointError, CheckpointMeta, Group, find_checkpoint};
pub use config::{Config, ConfigError, Data, preset_names};
pub use fields::Field;
pub use grid::{Grid, GridLayout};
pub use latent::{LatentShape, LevelShape};
pub use parameters::{Dtype, Parameter, Role};
pub use pixels::{Misfit, check_fit, fit_image, jpeg_is_complete};
pub use tensor_file::{MAX_HEADER_BYTES, TensorFile, parse_tensors, read_tensor_file};
pub use tensors::{
    ALIGNMENT, Placed, TensorBytes, TensorFileError, TensorSpec, stream_tensors, write_tensors,
};
pub use training::{Memory, NetworkPrecision, Optimizer, Schedule, Training};
