//! Finding the ONNX Runtime library and starting it, once a process.
mod elf;
pub(crate) mod gpu;
mod probe;
mod search;

pub(crate) use search::Preference;

use crate::Error;
use crate::trace;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The ONNX Runtime that this process uses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnnxRuntime {
    /// The library's file.
    pub path: PathBuf,
    /// Its version, such as `1.31.1`.
    pub version: String,
}

impl OnnxRuntime {
    /// Opens ONNX Runtime as [`GlowBuilder::onnxruntime`](crate::GlowBuilder::onnxruntime) describes,
    /// before any bundle is loaded: to learn early whether there is one.
    ///
    /// # Errors
    /// [`Error::LibraryNotFound`], [`Error::Library`], [`Error::LibraryTooOld`],
    /// [`Error::LibraryAlreadyLoaded`].
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        start(path, Preference::Usual).map(|library| library.info)
    }
}

/// ONNX Runtime, started.
#[derive(Clone)]
pub(crate) struct Library {
    pub info: OnnxRuntime,
    pub environment: ort::environment::Environment,
    /// The process that started it.
    process: u32,
}

impl Library {
    /// Whether it can be used in this process.
    pub fn check_process(&self) -> Result<(), Error> {
        match self.process {
            process if process == std::process::id() => Ok(()),
            started_in => Err(Error::Forked { started_in }),
        }
    }
}

/// Never dropped: ONNX Runtime allows one environment a process.
static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

/// Starts ONNX Runtime, or gives the one that runs already.
pub(crate) fn start(asked: Option<&Path>, preference: Preference) -> Result<Library, Error> {
    let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = &*library {
        library.check_process()?;
        return match asked {
            Some(asked) if !is_file(asked, &library.info.path) => {
                let loaded = library.info.path.clone();
                Err(Error::LibraryAlreadyLoaded { loaded, asked: asked.into() })
            }
            _ => Ok(library.clone()),
        };
    }
    trace::span!(DEBUG, "library");
    let found = search::find(asked, preference)?;
    // A bare name would make the loader search its own folders instead.
    let path = std::path::absolute(&found).unwrap_or(found);
    let version = probe::version(&path)?;
    let unusable = |reason: String| Error::Library { path: path.clone(), reason };
    // The CUDA provider has no run path to NVIDIA's libraries.
    gpu::preload();
    let environment = ort::init_from(&path)
        .map_err(|error| unusable(error.to_string()))?
        .with_name("glow")
        .with_telemetry(false);
    #[cfg(feature = "tracing")]
    let environment = environment.with_logger(trace::onnxruntime::logger());
    let environment = environment.build().map_err(|source| Error::Environment { source: source.into() })?;
    #[cfg(feature = "tracing")]
    environment.set_log_level(trace::onnxruntime::level());
    // What fails comes back as an error; that it is not logged as well is up to whoever set ORT_LOG.
    #[cfg(not(feature = "tracing"))]
    if std::env::var_os("ORT_LOG").is_none() {
        environment.set_log_level(ort::logging::LogLevel::Fatal);
    }
    let info = OnnxRuntime { path, version };
    let started = Library { info, environment, process: std::process::id() };
    Ok(library.insert(started).clone())
}

/// Whether what is asked for, a file or the folder that it is in, is this library.
fn is_file(asked: &Path, library: &Path) -> bool {
    let within = if asked.is_dir() { search::in_folder(asked) } else { None };
    let asked = within.as_deref().unwrap_or(asked);
    match (asked.canonicalize(), library.canonicalize()) {
        (Ok(asked), Ok(library)) => asked == library,
        _ => asked == library,
    }
}
