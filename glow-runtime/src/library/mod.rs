//! Finding the ONNX Runtime library and starting it, once a process.
mod elf;
pub(crate) mod gpu;
mod probe;
mod search;

pub(crate) use search::Preference;

use crate::Error;
use crate::trace;
use ort::environment::{Environment, GlobalThreadPoolOptions};
use std::ffi::c_void;
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

    /// The environment of the ONNX Runtime that this crate uses in this process, for sessions of the application's own
    /// through the crate [`ort`](crate::ort): one process can have only one. `None` before a bundle is loaded or
    /// [`OnnxRuntime::open`] is called. Its log is silent unless `ORT_LOG` is set or the feature `tracing` is on.
    ///
    /// An application that has made an environment before gives it to
    /// [`GlowBuilder::environment`](crate::GlowBuilder::environment).
    #[cfg(feature = "ort")]
    pub fn environment() -> Option<Environment> {
        let library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
        library.as_ref().map(|library| library.environment.clone())
    }
}

/// ONNX Runtime, started.
#[derive(Clone)]
pub(crate) struct Library {
    pub info: OnnxRuntime,
    pub environment: Environment,
    /// Threads that sessions can share; `None` if the application has made the environment, and knows.
    shared_threads: Option<usize>,
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

    /// Whether it is what is asked for.
    fn check(&self, asked: &Start<'_>) -> Result<(), Error> {
        self.check_process()?;
        if let Some(path) = asked.path
            && !is_file(path, &self.info.path)
        {
            let loaded = self.info.path.clone();
            return Err(Error::LibraryAlreadyLoaded { loaded, asked: path.into() });
        }
        match (self.shared_threads, asked.shared_threads) {
            (Some(running), Some(asked)) if running != asked => Err(Error::SharedThreads { running, asked }),
            _ => Ok(()),
        }
    }
}

/// How ONNX Runtime is started.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// The library or its folder, if it is named.
    pub path: Option<&'a Path>,
    pub preference: Preference,
    /// Threads that sessions can share, and whether they spin.
    pub shared_threads: Option<usize>,
    pub spinning: bool,
    /// What the application has made.
    pub environment: Option<Environment>,
}

/// Never dropped: ONNX Runtime allows one environment a process.
static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

/// Starts ONNX Runtime, or gives the one that runs already.
pub(crate) fn start(path: Option<&Path>, preference: Preference) -> Result<Library, Error> {
    start_as(Start { path, preference, ..Default::default() })
}

/// Starts ONNX Runtime as it is asked for, or gives the one that runs already if it is such a one.
pub(crate) fn start_as(asked: Start<'_>) -> Result<Library, Error> {
    let mut running = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = &*running {
        library.check(&asked)?;
        return Ok(library.clone());
    }
    trace::span!(DEBUG, "library");
    let started = match &asked.environment {
        Some(environment) => {
            let info = in_use()?.ok_or_else(unknown)?;
            Library {
                info,
                environment: environment.clone(),
                shared_threads: None,
                process: std::process::id(),
            }
        }
        None => new(&asked)?,
    };
    // Whatever it is, there will be no other.
    let library = running.insert(started).clone();
    library.check(&asked)?;
    Ok(library)
}

/// Starts ONNX Runtime for the first time in this process.
fn new(asked: &Start<'_>) -> Result<Library, Error> {
    let found = search::find(asked.path, asked.preference)?;
    // A bare name would make the loader search its own folders instead.
    let path = std::path::absolute(&found).unwrap_or(found);
    let version = probe::version(&path)?;
    let unusable = |reason: String| Error::Library { path: path.clone(), reason };
    // The CUDA provider has no run path to NVIDIA's libraries.
    gpu::preload();
    let environment = ort::init_from(&path).map_err(|error| unusable(error.to_string()))?;
    // The crate may have opened another one for somebody else, which it then goes on with.
    let info = in_use()?.unwrap_or(OnnxRuntime { path, version });
    let mut environment = environment.with_name("glow").with_telemetry(false);
    if let Some(threads) = asked.shared_threads {
        let threads = shared(threads, asked.spinning);
        environment = environment.with_global_thread_pool(threads.map_err(failed)?);
    }
    #[cfg(feature = "tracing")]
    let environment = environment.with_logger(trace::onnxruntime::logger());
    let environment = environment.build().map_err(failed)?;
    #[cfg(feature = "tracing")]
    environment.set_log_level(trace::onnxruntime::level());
    // What fails comes back as an error; that it is not logged as well is up to whoever set ORT_LOG.
    #[cfg(not(feature = "tracing"))]
    if std::env::var_os("ORT_LOG").is_none() {
        environment.set_log_level(ort::logging::LogLevel::Fatal);
    }
    let shared_threads = Some(asked.shared_threads.unwrap_or(0));
    Ok(Library { info, environment, shared_threads, process: std::process::id() })
}

/// The pool of threads that sessions can share.
fn shared(threads: usize, spinning: bool) -> ort::Result<GlobalThreadPoolOptions> {
    // Graphs run their nodes one after the other, so that nothing is left for threads between nodes.
    let pool = GlobalThreadPoolOptions::default().with_intra_threads(threads)?.with_inter_threads(1)?;
    pool.with_spin_control(spinning)
}

/// The library that the crate `ort` has opened; `None` where the system does not tell its file.
fn in_use() -> Result<Option<OnnxRuntime>, Error> {
    let function = ort::api().CreateEnv as *const c_void;
    let Some(path) = probe::file_of(function) else { return Ok(None) };
    Ok(Some(OnnxRuntime { version: probe::version(&path)?, path }))
}

fn unknown() -> Error {
    let reason = "on this system it cannot be told which version an environment is of".into();
    Error::Library { path: "onnxruntime".into(), reason }
}

/// Why there is no environment.
fn failed(source: ort::Error) -> Error {
    match source.message().contains("only one environment") {
        true => Error::EnvironmentTaken,
        false => Error::Environment { source: source.into() },
    }
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
