//! Runs a frozen Glow: samples images, turns images into latents and back, and computes likelihoods.
//!
//! A bundle is a folder that `glow-export` wrote. This crate executes it through ONNX Runtime, on
//! the CPU or on a GPU, and needs nothing of what trained the model.
//!
//! ```
//! use glow_runtime::{EncodeOptions, Glow, SampleOptions, ScoreOptions};
//!
//! # let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bundle");
//! let glow = Glow::load(bundle)?;
//!
//! // Eight images, uint8 [N, H, W, C]. Each depends on the seed and its number alone.
//! let images = glow.sample(8, &SampleOptions { seed: 1, ..Default::default() })?;
//! assert_eq!(images.dim(), (8, 8, 8, 3));
//!
//! // To latents, and back: the same pixels.
//! let encoded = glow.encode(&images, &EncodeOptions::default())?;
//! assert_eq!(glow.decode(&encoded.latents, None)?.images, images);
//!
//! // Halfway between the first two.
//! let (a, b) = (encoded.latents.slice(0..1)?, encoded.latents.slice(1..2)?);
//! let between = glow.decode(&a.lerp(&b, 0.5)?, None)?.images;
//! # assert_eq!(between.dim().0, 1);
//!
//! // How likely the model finds them.
//! let bits = glow.bits_per_dim(&images, &ScoreOptions { draws: 4, ..Default::default() })?;
//! # assert!(bits.iter().all(|bits| bits.is_finite()));
//! # Ok::<(), glow_runtime::Error>(())
//! ```
//!
//! # Conventions
//! - Images are `ndarray` arrays of `u8`, [N, H, W, C], in the model's size; the feature `image` reads
//!   files of any larger size.
//! - Latents are one value, [`Latents`]: an image comes back only from all of its levels.
//! - Likelihoods are ln p(image) in nats, with the discretisation term; bits/dim is
//!   −ln p / (ln 2 · H·W·C).
//! - A [`Glow`] is `Send + Sync`, and every method takes `&self`. A batch of any size will do: it goes
//!   through in chunks, to the same result.
//! - Whatever comes from outside may be wrong and gives an [`Error`] that says what is and what to do;
//!   nothing panics.
//!
//! # ONNX Runtime
//! The library is opened at run time; [`GlowBuilder::onnxruntime`] says where it is looked for. Version
//! 1.21 or newer is needed: older ones compute wrong pixels, and are refused. A process has one ONNX Runtime, and this crate starts it: programs that
//! use the crate `ort` for themselves as well cannot share it.
//!
//! # Memory and time
//! ONNX Runtime lays the weights out anew for the CPU. This is done once for all sessions and both graphs,
//! which then share one copy ([`GlowBuilder::share_weights`]); with a folder to keep it in
//! ([`GlowBuilder::cache`]) a model loads in a fraction of the time. `glow info BUNDLE --timings` tells where
//! the time goes and what is resident. A call copies to and from tensors that its session has for each
//! batch size, and allocates its result alone.
//!
//! On the CPU, an image's result is the same bit by bit in a batch of any size and on any number of threads:
//! the kernels that run the exported graphs divide the work among outputs, never within a sum. No such
//! promise is made across providers, processors or versions of ONNX Runtime.
//!
//! # More
//! - [`Attributes`]: named directions in latent space, to edit images along.
//! - [`ReferenceScores`]: whether an image is of the kind that the model knows.
//! - The examples `sample_thumbnails`, `ood_scores` and `edit_attributes` are small programs to start from.
//!
//! # Features
//! | feature | gives | default |
//! | --- | --- | --- |
//! | `image` | `images`: conversion to and from the `image` crate, image files, grids; `Glow::complexity_corrected` | no |
//! | `openvino` | the provider OpenVINO | no |
mod attributes;
mod builder;
mod error;
#[cfg(test)]
mod fixtures;
mod folders;
mod glow;
mod graph;
#[cfg(feature = "image")]
pub mod images;
mod latents;
mod library;
mod load;
mod nodes;
mod onnx;
mod options;
mod prepared;
mod provider;
mod queue;
mod random;
mod score;
mod session;
mod weights;

pub use attributes::{Attribute, Attributes, FitOptions, FitStatistics, Method};
pub use builder::{GlowBuilder, LoadStep};
pub use error::Error;
pub use glow::{Decoded, Encoded, Glow};
pub use glow_models::{
    Architecture, BundleBytes, BundleError, Coupling, FileEntry, LatentShape, Manifest, Permutation,
    Precision, Provenance, TensorFileError, Weights,
};
pub use graph::GraphKind;
pub use latents::Latents;
pub use library::OnnxRuntime;
pub use load::LoadTimes;
pub use nodes::Node;
pub use options::{EncodeOptions, Interpolation, Noise, SampleOptions, ScoreOptions};
pub use provider::{Cuda, Provider, TensorRt};
#[cfg(feature = "openvino")]
pub use provider::{OpenVino, OpenVinoPrecision};
pub use score::{OodScore, ReferenceScores, Score, ScoreKind};
