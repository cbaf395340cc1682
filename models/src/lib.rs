//! What a Glow *is*, without any tensor library: hyperparameters, latent shapes, parameter names and
//! shapes, the checkpoint and bundle formats and their validation, the paper's presets, and the random
//! streams.
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
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod architecture;
mod atomic;
mod bundle;
mod checkpoint;
mod config;
mod duration;
mod fields;
mod latent;
mod legacy;
pub mod onnx;
mod optional;
mod parameter_values;
mod parameters;
mod plan;
mod preprocessing;
mod presets;
mod pretrained;
pub mod protobuf;
pub mod random;
mod tensor_file;
mod tensors;
mod thaw;
mod training;

pub use architecture::{
    Architecture, ArchitectureError, Coupling, LOGSCALE_FACTOR, Permutation, RAW_SCALE_OFFSET,
};
pub use atomic::{link_atomically, remove_partial_files, write_atomically};
pub use bundle::{
    ATTRIBUTES_FILE, Bundle, BundleBytes, BundleError, DECODER_FILE, ENCODER_FILE, FileEntry, Int8Layout,
    LargestActivation, MANIFEST_FILE, Manifest, Numerics, Precision, Provenance, Quantisation, WEIGHTS_FILE,
    check_graph,
};
pub use checkpoint::{Checkpoint, CheckpointError, CheckpointMeta, Group, find_checkpoint, keep_checkpoint};
pub use config::{Config, ConfigError, Data};
pub use duration::{Duration, DurationError};
pub use fields::Field;
pub use latent::{LatentShape, LevelShape};
pub use parameter_values::{ParameterValues, Values, ValuesError};
pub use parameters::{Dtype, Init, Parameter, Role, RotationPart};
pub use plan::{Interval, Plan};
pub use preprocessing::{Colour, Crop, Preprocessing, PreprocessingError};
pub use presets::preset_names;
pub use pretrained::{Pretrained, PretrainedError};
pub use tensor_file::{MAX_HEADER_BYTES, TensorFile, parse_tensors, read_tensor_file};
pub use tensors::{
    ALIGNMENT, Placed, TensorBytes, TensorFileError, TensorSpec, stream_tensors, write_tensors,
};
pub use thaw::{ThawError, thaw};
pub use training::{GradientSums, Memory, NetworkPrecision, Optimizer, Schedule, Training, Weights};
