//! Runs a frozen Glow: samples images, turns images into latents and back, and computes likelihoods.
//!
//! A bundle is a folder that `glow-export` wrote. This crate executes it through ONNX Runtime, on
//! the CPU or on a GPU, and needs nothing of what trained the model.
//!
//! ```
//! use glow_runtime::{EncodeOptions, Glow, SampleOptions, ScoreOptions};
//!
//! # let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/bundle");
//! let glow = Glow::load(bundle)?;
//!
//! // Eight images, uint8 [N, H, W, C]. Each depends on the seed and its number alone.
//! let images = glow.sample(8, &SampleOptions::new().seed(1))?;
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
//! let bits = glow.bits_per_dim(&images, &ScoreOptions::new().draws(4))?;
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
//! - Invalid input, from files, arguments or devices, gives an [`Error`] that says what is wrong and what to do;
//!   nothing panics.
//!
//! # ONNX Runtime
//! The library is opened at run time; [`GlowBuilder::onnxruntime`] says where it is looked for. Version
//! 1.21 or newer is needed: older ones compute wrong pixels, and are refused.
//! A process has one ONNX Runtime. An application that uses the crate `ort` for itself shares it through the feature `ort`:
//! it gives its environment to [`GlowBuilder`] (`environment`), or takes that of this crate (`OnnxRuntime::environment`).
//!
//! # Memory and time
//! ONNX Runtime reorders the weights for the CPU. This is done once for all sessions and both graphs,
//! which then share one copy ([`GlowBuilder::share_weights`]). With a cache folder
//! ([`GlowBuilder::cache`]) a model loads in a fraction of the time. `glow info BUNDLE --timings` prints the
//! time of each step of loading, and the resident memory. Each session keeps input and output tensors for its last
//! batch sizes, so a call allocates nothing but its result.
//!
//! Files of weights are mapped: do not overwrite them in place while a model is in use
//! ([`GlowBuilder::map_weights`]).
//!
//! On the CPU, the result for an image is bit-identical for every batch size and number of threads, since the kernels
//! that run the exported graphs split the work between outputs and never within a sum. There is no such guarantee
//! across providers, processors or versions of ONNX Runtime.
//!
//! # Services
//! Threads can share a [`Glow`]: calls wait for a session in the order in which they come. A [`Scheduler`] does more: it
//! merges what waits into batches, refuses what would wait too long, keeps deadlines, and does not compute
//! what nobody waits for any more. Its tickets are futures.
//!
//! # More
//! - [`Attributes`]: named directions in latent space, to edit images along.
//! - [`ReferenceScores`]: whether an image is of the kind that the model knows.
//! - The examples `sample_thumbnails`, `ood_scores` and `edit_attributes` are small programs to start from.
//!
//! # Features
//! | feature | gives | default |
//! | --- | --- | --- |
//! | `faces64` | [`Glow::faces64`]: a small model of faces, within the executable | no |
//! | `image` | `images`: conversion to and from the `image` crate, image files, grids; `Glow::complexity_corrected` | no |
//! | `openvino` | the provider OpenVINO | no |
//! | `ort` | the crate `ort` re-exported, and one ONNX Runtime together with it | no |
//! | `tracing` | spans of loading, calls and batches, and ONNX Runtime's log, as [below](#tracing) | no |
//!
//! # Tracing
//! With the feature `tracing` there are spans of the target `glow_runtime`, for any subscriber of the crate `tracing`:
//!
//! | span | level | fields |
//! | --- | --- | --- |
//! | `load`, and in it `library`, `weights`, `prepare`, `sessions`, `try_out` | info, debug | |
//! | `sample`, `encode`, `decode`, `score` | debug | `images` |
//! | `batch`: of a [`Scheduler`]; follows from the spans in which its jobs were submitted | debug | `graph`, `images`, `jobs`, `waited` (of the job that waited longest) |
//!
//! The steps of [`LoadStep`] are events of the same target: warnings if a provider is passed over, an entry of the cache is damaged
//! or weights cannot be shared. What ONNX Runtime logs are events of the target `onnxruntime` at its levels (verbose is trace), from
//! the lowest level on that the subscriber takes when ONNX Runtime is started. Install the subscriber before.
//! Without the feature ONNX Runtime logs nothing, unless the variable `ORT_LOG` says so, then to stderr.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod attributes;
mod builder;
mod cause;
mod device;
mod error;
mod error_kind;
#[cfg(test)]
mod fixtures;
#[cfg(fuzzing)]
pub mod fuzzed;
mod glow;
mod graph;
mod host_tensor;
#[cfg(feature = "image")]
pub mod images;
mod kind;
mod latents;
mod library;
mod load;
mod onnx;
mod options;
mod partial;
mod placement;
mod ports;
mod progress;
mod provider;
mod queue;
mod registration;
mod scheduler;
mod score;
mod session;
mod trace;
mod weights;
mod worker;
mod worker_thread;

pub use attributes::{Attribute, Attributes, FitOptions, FitStatistics, Method};
pub use builder::GlowBuilder;
pub use cause::{OnnxRuntimeCode, OnnxRuntimeError};
pub use error::{Error, RunFailure};
pub use error_kind::ErrorKind;
pub use glow::{Decoded, Encoded, Glow};
pub use glow_models::{
    Architecture, BundleBytes, BundleError, Coupling, FileEntry, Int8Layout, LatentShape, Manifest, Numerics,
    Permutation, Precision, Provenance, Quantisation, TensorFileError, Weights,
};
pub use kind::GraphKind;
pub use latents::Latents;
pub use library::OnnxRuntime;
/// The crate whose arrays are in signatures here.
pub use ndarray;
pub use options::{EncodeOptions, Interpolation, Noise, SampleOptions, ScoreOptions};
/// The crate that calls ONNX Runtime.
#[cfg(feature = "ort")]
pub use ort;
pub use partial::Partial;
pub use placement::Node;
pub use progress::{LoadStep, LoadTimes};
pub use provider::{ConvSearch, Cuda, ParseProviderError, Provider, TensorRt};
#[cfg(feature = "openvino")]
pub use provider::{OpenVino, OpenVinoPrecision};
pub use scheduler::{Batch, Counters, Job, Scheduler, SchedulerOptions, Ticket};
pub use score::{OodScore, ReferenceScores, Score, ScoreKind};
