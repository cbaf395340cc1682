//! Errors.
use crate::{GraphKind, OnnxRuntimeCode, OnnxRuntimeError, Provider};
use glow_models::{BundleError, TensorFileError};
use std::io;
use std::path::{Path, PathBuf};

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
    /// ONNX Runtime was started by the process that this one was forked from. Its threads are not here, and a call would
    /// wait for them for ever.
    #[error(
        "ONNX Runtime was started in process {started_in}, from which this one was forked, and cannot run here: start \
         it after the fork, or start a new process (in Python, multiprocessing's start method \"spawn\")"
    )]
    Forked {
        /// The process that started it.
        started_in: u32,
    },
    /// Another part of this process has started ONNX Runtime through the crate `ort`, and there can be only one.
    #[error(
        "another part of this process has started ONNX Runtime: give its environment to this one \
         (`GlowBuilder::environment`, with the feature `ort`), or load a bundle first and use \
         `OnnxRuntime::environment` there"
    )]
    EnvironmentTaken,
    /// The threads that sessions share are started once a process.
    #[error(
        "{asked} shared threads were asked for, but this process has {running}: ask for as many at every loading, and at \
         the first one (`GlowBuilder::shared_threads`)"
    )]
    SharedThreads {
        /// Threads that are shared; 0 for none.
        running: usize,
        /// Threads asked for.
        asked: usize,
    },
    /// ONNX Runtime does not start.
    #[error("ONNX Runtime cannot be initialised")]
    Environment {
        /// What ONNX Runtime says.
        source: OnnxRuntimeError,
    },
    /// An execution provider that was asked for cannot be used.
    #[error("the provider {provider} cannot be used: {reason}")]
    Provider {
        /// The provider.
        provider: Provider,
        /// Why.
        reason: String,
        /// ONNX Runtime's code, if it is ONNX Runtime that says so.
        code: Option<OnnxRuntimeCode>,
    },
    /// The loaded model does not reconstruct a sample of its own; see [`GlowBuilder::check`](crate::GlowBuilder::check).
    #[error(
        "encoding and decoding a sample of the model changes it by {difference} of 255, more than {allowed}: this \
         provider does not compute the model accurately enough; use another one, or switch this check off \
         (`GlowBuilder::check`, `--no-check`)"
    )]
    Check {
        /// The largest difference of a value; 255 if the decoder gives the same for all latents.
        difference: u8,
        /// The largest that is allowed.
        allowed: u8,
    },
    /// ONNX Runtime rejects a graph.
    #[error("ONNX Runtime cannot load {path}; export the bundle again")]
    Load {
        /// The graph's file.
        path: PathBuf,
        /// What ONNX Runtime says.
        source: OnnxRuntimeError,
    },
    /// A graph whose inputs or outputs are not those of the manifest's architecture.
    #[error("{path} is not the graph that model.json describes: {reason}; export the bundle again")]
    Graph {
        /// The graph's file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// ONNX Runtime failed during a call.
    #[error("ONNX Runtime failed to run the {graph}{}", .kind.hint())]
    Run {
        /// The graph.
        graph: GraphKind,
        /// What kind of failure it is.
        kind: RunFailure,
        /// What ONNX Runtime says.
        source: OnnxRuntimeError,
    },
    /// The device was lost in an earlier call, so that every further one would fail; see [`Glow::health`](crate::Glow::health).
    #[error("the {graph} has lost its device: load the bundle again, in a new process if that fails")]
    Unavailable {
        /// The graph.
        graph: GraphKind,
    },
    /// A [`Scheduler`](crate::Scheduler)'s queue is full. Try again later.
    #[error("the queue is full: {waiting} of {limit} images are waiting")]
    Overloaded {
        /// Images that wait.
        waiting: usize,
        /// The most that may wait.
        limit: usize,
    },
    /// A job of a [`Scheduler`](crate::Scheduler) was not done before its deadline.
    #[error("the job was not done before its deadline")]
    Deadline,
    /// A job of a [`Scheduler`](crate::Scheduler) was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// A [`Scheduler`](crate::Scheduler) takes no more jobs, since it is being stopped.
    #[error("the scheduler is stopped and takes no more jobs")]
    Stopped,
    /// A thread of a [`Scheduler`](crate::Scheduler) cannot be started.
    #[error("a thread cannot be started")]
    Thread {
        /// What the system says.
        source: io::Error,
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
    #[error("{array} of {} is NaN or infinite{hint}", named(.images))]
    NonFinite {
        /// The array.
        array: &'static str,
        /// The images' places in the batch, in ascending order.
        images: Vec<usize>,
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
    /// A folder of images that cannot be read.
    #[cfg(feature = "image")]
    #[error("the images cannot be read")]
    Data(#[from] glow_data::DataError),
    /// An image that cannot be brought to the model's size.
    #[cfg(feature = "image")]
    #[error("{image} {misfit}")]
    Misfit {
        /// The file, or the image's place in the batch.
        image: String,
        /// What is in the way.
        misfit: glow_data::Misfit,
    },
}

/// What kind of failure an [`Error::Run`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunFailure {
    /// Memory ran out, of the host or of the device. Fewer images at once may do:
    /// [`GlowBuilder::max_batch`](crate::GlowBuilder::max_batch).
    OutOfMemory,
    /// The device is lost to this process: a sticky CUDA error, or a reset. Calls that follow give
    /// [`Error::Unavailable`].
    DeviceLost,
    /// The graph does something that this version of ONNX Runtime or the provider cannot do.
    InvalidModel,
    /// Anything else.
    Other,
}

impl RunFailure {
    /// Told by ONNX Runtime's code, and by CUDA's words in the message, for which it has no code.
    pub(crate) fn of(code: Option<OnnxRuntimeCode>, message: &str) -> Self {
        use OnnxRuntimeCode::{DeviceReset, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented};
        const MEMORY: [&str; 6] = [
            "out of memory",
            "bad_alloc",
            "Failed to allocate memory",
            "ALLOC_FAILED",
            "OutOfMemory",
            "Available memory of",
        ];
        // Errors after which CUDA's documentation has the process relaunched, and those of a driver that is gone.
        const LOST: [&str; 8] = [
            "illegal memory access",
            "illegal instruction",
            "misaligned address",
            "unspecified launch failure",
            "device-side assert",
            "uncorrectable ECC",
            "hardware stack error",
            "no CUDA-capable device",
        ];
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        match code {
            Some(DeviceReset) => Self::DeviceLost,
            _ if says(&LOST) => Self::DeviceLost,
            _ if says(&MEMORY) => Self::OutOfMemory,
            Some(InvalidArgument | InvalidGraph | InvalidProtobuf | NotImplemented) => Self::InvalidModel,
            _ => Self::Other,
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::OutOfMemory => ": memory ran out, run fewer images at once (`GlowBuilder::max_batch`)",
            Self::DeviceLost => ": the device is lost",
            _ => "",
        }
    }
}

impl Error {
    /// A graph's failure in the middle of a call.
    pub(crate) fn run(graph: GraphKind) -> impl Fn(ort::Error) -> Self {
        move |source| {
            let source = OnnxRuntimeError::from(source);
            Self::Run { graph, kind: RunFailure::of(source.code(), source.message()), source }
        }
    }

    /// For `map_err`: a file that cannot be read.
    pub(crate) fn reading(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Read { path: path.into(), source }
    }

    /// For `map_err`: a file that cannot be written.
    pub(crate) fn writing(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Write { path: path.into(), source }
    }
}

/// Images by their numbers, of many the first.
fn named(images: &[usize]) -> String {
    const MOST: usize = 8;
    match images {
        [one] => format!("image {one}"),
        _ => {
            let numbers: Vec<String> = images.iter().take(MOST).map(usize::to_string).collect();
            let more = if images.len() > MOST {
                format!(" and {} more", images.len() - MOST)
            } else {
                String::new()
            };
            format!("images {}{more}", numbers.join(", "))
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("\n  {}", path.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        for (code, message, expected) in [
            (None, "CUDA failure 2: out of memory ; GPU=0", RunFailure::OutOfMemory),
            (
                Some(OnnxRuntimeCode::RuntimeException),
                "Failed to allocate memory for requested buffer",
                RunFailure::OutOfMemory,
            ),
            (Some(OnnxRuntimeCode::Fail), "std::bad_alloc", RunFailure::OutOfMemory),
            (
                Some(OnnxRuntimeCode::Fail),
                "CUDA failure 700: an illegal memory access was encountered",
                RunFailure::DeviceLost,
            ),
            (Some(OnnxRuntimeCode::DeviceReset), "", RunFailure::DeviceLost),
            (
                Some(OnnxRuntimeCode::InvalidArgument),
                "Got invalid dimensions for input",
                RunFailure::InvalidModel,
            ),
            (Some(OnnxRuntimeCode::Fail), "CUDNN failure 5000", RunFailure::Other),
        ] {
            assert_eq!(RunFailure::of(code, message), expected, "{message}");
        }
    }
}
