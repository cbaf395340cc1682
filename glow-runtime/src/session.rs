//! Sessions of ONNX Runtime: how they are made, and of what.
use crate::device::{self, Device};
use crate::library::Library;
use crate::load::scratch::Scratch;
use crate::ports::Port;
use crate::provider::Provider;
use crate::registration::Setting;
use crate::weights::Constants;
use crate::{Error, GraphKind};
use glow_models::{Bundle, WEIGHTS_FILE};
use ort::AsPointer;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How sessions are made.
#[derive(Clone)]
pub(crate) struct SessionOptions {
    pub library: Library,
    pub providers: Vec<Provider>,
    pub threads: usize,
    /// Whether sessions work on the threads of the environment, if it has some, instead of their own.
    pub shares_threads: bool,
    pub spinning: bool,
    /// Where providers keep what they compile.
    pub cache: Option<PathBuf>,
    /// Whether there are 8-bit integers. Sessions share what kernels make of the constants, but for those of 8-bit
    /// convolutions, which cannot.
    pub int8: bool,
    /// Whether files of weights are mapped rather than read.
    pub map: bool,
    /// Whether freed memory is given back to the system once the graphs are optimised.
    pub trim: bool,
    /// The only batch size that the graphs take; `None` where they take any.
    pub batch: Option<usize>,
    /// Where the tensors of inputs and outputs lie, if not in the host's memory.
    pub device: Option<Arc<dyn Device>>,
    /// Whether each batch size is captured as a CUDA graph.
    pub captures: bool,
}

/// Sessions are created one at a time: concurrent creation has crashed ONNX Runtime.
static CREATION: Mutex<()> = Mutex::new(());

impl SessionOptions {
    /// A builder with everything but the constants.
    pub fn builder(&self, inputs: &[Port]) -> Result<SessionBuilder, Error> {
        let setting = Setting {
            threads: self.threads,
            cache: self.cache.as_deref(),
            int8: self.int8,
            alone: self.providers.len() == 1,
            inputs: &inputs.iter().map(|port| (port.name.clone(), port.shape.clone())).collect::<Vec<_>>(),
        };
        let environment = |source: ort::Error| Error::Environment { source: source.into() };
        let mut builder = self.plain_builder().map_err(environment)?;
        for provider in &self.providers {
            provider.check(&self.library)?;
            let Some(dispatch) = provider.dispatch(&setting) else { continue };
            builder = builder
                .with_execution_providers([dispatch])
                .map_err(|error| provider.unusable(&error.into()))?;
        }
        if !self.providers.iter().any(Provider::is_cpu) {
            // Otherwise nodes that the provider does not take would land on the CPU unseen.
            builder = builder.with_disable_cpu_fallback().map_err(|error| environment(error.into()))?;
        }
        Ok(builder)
    }

    fn plain_builder(&self) -> ort::Result<SessionBuilder> {
        let mut builder = Session::builder(&self.library.environment)?
            // Those that an application has given to all of its sessions.
            .with_no_environment_execution_providers()?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_op_spinning(self.spinning)?
            .with_inter_op_spinning(self.spinning)?
            // Between calls they would take the cores from the other graph's threads.
            .with_config_entry("session.force_spinning_stop", "1")?
            .with_intra_threads(self.threads)?;
        if !self.shares_threads {
            builder = builder.with_independent_thread_pool()?;
        }
        Ok(builder)
    }

    /// Has ONNX Runtime optimise a graph for this machine's CPU and write what comes out, the large
    /// constants to a file of that name beside it.
    pub fn optimise(&self, graph: &GraphFile, into: &Path, constants: &str) -> ort::Result<()> {
        let _one_at_a_time = CREATION.lock().unwrap_or_else(PoisonError::into_inner);
        let builder = self
            .plain_builder()?
            .with_optimized_model_path(into)?
            .with_config_entry("session.optimized_model_external_initializers_file_name", constants)?
            .with_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "256")?;
        graph.commit(builder).map(drop)
    }
}

/// Where ONNX Runtime finds a graph, and the weights that it does not hold itself.
pub(crate) enum GraphFile {
    /// In a file, beside that of the weights.
    OnDisk(PathBuf),
    /// In memory.
    InMemory {
        /// Its name in the bundle, for messages.
        path: PathBuf,
        graph: Arc<[u8]>,
        weights: Elsewhere,
    },
}

/// Where the weights of a graph in memory are.
pub(crate) enum Elsewhere {
    /// In a bundle in memory; ONNX Runtime copies them. Or the graph holds them.
    Bundle(Box<Bundle>),
    /// Sessions are given all of them as constants. ONNX Runtime still looks, when it makes a session, whether the file
    /// that the graph names is in this folder.
    Given { folder: PathBuf, _kept: Arc<Scratch> },
}

impl GraphFile {
    pub fn path(&self) -> &Path {
        match self {
            Self::OnDisk(path) | Self::InMemory { path, .. } => path,
        }
    }

    fn commit(&self, mut builder: SessionBuilder) -> ort::Result<Session> {
        match self {
            Self::OnDisk(path) => builder.commit_from_file(path),
            Self::InMemory { graph, weights, .. } => {
                match weights {
                    Elsewhere::Bundle(bundle) => {
                        add_weights(&mut builder, bundle.bytes(WEIGHTS_FILE).unwrap_or_default())?;
                    }
                    Elsewhere::Given { folder, .. } => {
                        let key = "session.model_external_initializers_file_folder_path";
                        builder = builder.with_config_entry(key, folder.to_string_lossy())?;
                    }
                }
                builder.commit_from_memory(graph)
            }
        }
    }
}

/// Has ONNX Runtime take the file of weights from memory, while the builder makes a session. The crate's own function
/// would copy them once more.
fn add_weights(builder: &mut SessionBuilder, weights: &[u8]) -> ort::Result<()> {
    if weights.is_empty() {
        return Ok(());
    }
    #[cfg(windows)]
    let name: Vec<u16> = WEIGHTS_FILE.encode_utf16().chain([0]).collect();
    #[cfg(not(windows))]
    let name: Vec<std::ffi::c_char> = WEIGHTS_FILE.bytes().chain([0]).map(|byte| byte as _).collect();
    let bytes = weights.as_ptr().cast_mut().cast();
    // SAFETY: one name that ends in 0, one file of that many bytes, which are only read, and copied while the caller
    // makes the session.
    unsafe {
        let add = ort::api().AddExternalInitializersFromMemory;
        let status = add(builder.ptr_mut(), &name.as_ptr(), &bytes, &weights.len(), 1);
        ort::Error::<()>::result_from_status(status)
    }
}

/// A graph, and what a session needs besides it.
pub(crate) struct Model {
    pub graph: GraphFile,
    /// Constants that all sessions share, for the CPU.
    pub constants: Option<Constants>,
    /// What kernels make of the constants, likewise.
    pub prepacked: Option<PrepackedWeights>,
    /// Whether the graph has been optimised for this machine before.
    pub optimised: bool,
}

/// One for each graph.
pub(crate) type Models = Vec<(GraphKind, Model)>;

impl Model {
    pub fn session(&self, inputs: &[Port], options: &SessionOptions) -> Result<Session, Error> {
        let _allocating = options.device.is_some().then(device::allocating);
        let builder = options.builder(inputs)?;
        self.commit(builder).map_err(|source| match &options.providers[0] {
            Provider::Cpu => Error::Load { path: self.graph.path().into(), source: source.into() },
            provider => provider.unusable(&source),
        })
    }

    pub fn commit(&self, mut builder: SessionBuilder) -> ort::Result<Session> {
        let _one_at_a_time = CREATION.lock().unwrap_or_else(PoisonError::into_inner);
        if self.optimised {
            builder = builder.with_optimization_level(GraphOptimizationLevel::Disable)?;
        }
        if let Some(constants) = &self.constants {
            builder = constants.add_to(builder)?;
        }
        if let Some(prepacked) = &self.prepacked {
            builder = builder.with_prepacked_weights(prepacked)?;
        }
        self.graph.commit(builder)
    }
}
