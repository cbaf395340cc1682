//! What can go wrong.
use crate::{GraphKind, Provider};
use glow_models::{BundleError, TensorFileError};
use std::io;
use std::path::PathBuf;

/// The cause inside ONNX Runtime.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error of this crate. Every message names the file, the array or the option that is at fault;
/// [`source`](std::error::Error::source) gives the cause below it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A bundle that is incomplete, damaged or of another format.
    #[error("the bundle cannot be used")]
    Bundle(#[from] BundleError),
    /// No ONNX Runtime was found.
    #[error(
        "no ONNX Runtime library was found; looked in{}\nrun `make setup` in a checkout of Glow, or install \
         ONNX Runtime 1.21 or newer and give its path (ORT_DYLIB_PATH, `GlowBuilder::onnxruntime`, \
         `--onnxruntime`)",
        list(.looked)
    )]
    LibraryNotFound {
        /// Where it was looked for, in order.
        looked: Vec<PathBuf>,
    },
    /// A file that is not an ONNX Runtime, or cannot be opened as a library.
    #[error("{path} cannot be used as the ONNX Runtime library: {reason}")]
    Library {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An ONNX Runtime older than this crate needs.
    #[error("{path} is ONNX Runtime {version}; version {needed} or newer is needed (run `make setup`)")]
    LibraryTooOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: String,
        /// The oldest version that will do.
        needed: String,
    },
    /// A process can open only one ONNX Runtime, and it has opened another already.
    #[error("{asked} was asked for, but this process already uses the ONNX Runtime {loaded}")]
    LibraryAlreadyLoaded {
        /// The library in use.
        loaded: PathBuf,
        /// The library asked for.
        asked: PathBuf,
    },
    /// ONNX Runtime does not start.
    #[error("ONNX Runtime cannot be initialised")]
    Environment {
        /// What ONNX Runtime says.
        source: Cause,
    },
    /// An execution provider that was asked for cannot be used.
    #[error("the provider {provider} cannot be used: {reason}")]
    Provider {
        /// The provider.
        provider: Provider,
        /// Why.
        reason: String,
    },
    /// The loaded model does not bring an image back; see [`GlowBuilder::check`](crate::GlowBuilder::check).
    #[error(
        "decoding what was encoded differs from the image by {difference} of 255, more than {allowed}: this \
         provider does not compute the model exactly enough"
    )]
    Check {
        /// The largest difference of a value.
        difference: u8,
        /// The largest that is allowed.
        allowed: u8,
    },
    /// ONNX Runtime does not take a graph.
    #[error("ONNX Runtime cannot load {path}; export the bundle again")]
    Load {
        /// The graph's file.
        path: PathBuf,
        /// What ONNX Runtime says.
        source: Cause,
    },
    /// A graph whose inputs or outputs are not those of the manifest's architecture.
    #[error("{path} is not the graph that model.json describes: {reason}; export the bundle again")]
    Graph {
        /// The graph's file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// ONNX Runtime failed in the middle of a call.
    #[error("ONNX Runtime failed to run the {graph}")]
    Run {
        /// The graph.
        graph: GraphKind,
        /// What ONNX Runtime says.
        source: Cause,
    },
    /// A call needs a graph that was left out when the bundle was loaded.
    #[error(
        "this call needs the {graph}, which was not loaded: load the bundle without `{}`",
        .graph.other().only()
    )]
    NotLoaded {
        /// The graph.
        graph: GraphKind,
    },
    /// An array of another shape than the model's.
    #[error("{array} has shape {actual:?}, expected {expected}")]
    Shape {
        /// The argument.
        array: String,
        /// The shape it should have.
        expected: String,
        /// The shape it has.
        actual: Vec<usize>,
    },
    /// An option outside of its range.
    #[error("{option} = {value} is out of range: {allowed}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Labels that do not suit the model or the batch.
    #[error("the labels do not fit: {reason}")]
    Labels {
        /// What is wrong.
        reason: String,
    },
    /// A number that is NaN or infinite.
    #[error("{array} of image {image} is NaN or infinite{hint}")]
    NonFinite {
        /// The array.
        array: &'static str,
        /// Its place in the batch.
        image: usize,
        /// What may have led to it, and the way out; may be empty.
        hint: &'static str,
    },
    /// A safetensors file that cannot be read.
    #[error("a file of tensors cannot be used")]
    TensorFile(#[from] TensorFileError),
    /// A safetensors file that does not hold latents.
    #[error("{path} does not hold latents: {reason}")]
    Latents {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file that does not hold attributes of the model.
    #[error("{path} does not hold attributes of this model: {reason}")]
    Attributes {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An attribute that a model does not have.
    #[error(
        "there is no attribute {name:?}: {}",
        if .known.is_empty() { "the model has none, fit some".into() } else { format!("there are {}", .known.join(", ")) }
    )]
    UnknownAttribute {
        /// The name asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// Latents and labels that no attribute can be fitted to.
    #[error("the attribute {name:?} cannot be fitted: {reason}")]
    Fit {
        /// Its name.
        name: String,
        /// What is in the way.
        reason: String,
    },
    /// A file of reference scores that cannot be used.
    #[error("{path} does not hold reference scores of this model: {reason}")]
    Reference {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file or folder that cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that does not hold an image.
    #[cfg(feature = "image")]
    #[error("{path} cannot be decoded as an image")]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// An image that cannot be brought to the model's size.
    #[cfg(feature = "image")]
    #[error("{image} {misfit}")]
    Misfit {
        /// The file, or the image's place in the batch.
        image: String,
        /// What is in the way.
        misfit: glow_models::Misfit,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("\n  {}", path.display())).collect()
}
