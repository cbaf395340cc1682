//! Runs a frozen Glow.
mod builder;
mod error;
mod glow;
mod graph;
#[cfg(feature = "image")]
pub mod images;
mod latents;
mod library;
mod options;
mod queue;
mod random;

pub use builder::{GlowBuilder, Provider};
pub use error::Error;
pub use glow::{Decoded, Encoded, Glow};
pub use glow_models::{
    Architecture, BundleError, Coupling, FileEntry, LatentShape, Manifest, Permutation, Precision, Provenance,
    TensorFileError, Weights,
};
pub use graph::GraphKind;
pub use latents::Latents;
pub use library::OnnxRuntime;
pub use options::{EncodeOptions, Interpolation, Noise, SampleOptions, ScoreOptions};
