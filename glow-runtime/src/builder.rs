//! Options for loading a bundle.
use crate::load;
use crate::load::options::LoadOptions;
use crate::load::progress::{LoadStep, Progress};
use crate::provider::Provider;
use crate::{Error, Glow, GraphKind};
use glow_models::{Bundle, BundleBytes};
use std::path::{Path, PathBuf};

impl Glow {
    /// Loads the bundle in a folder, all of it, with the defaults of [`GlowBuilder`].
    ///
    /// # Errors
    /// Those of [`GlowBuilder::load`].
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().load(folder)
    }

    /// Loads a bundle in memory, with the defaults of [`GlowBuilder`].
    ///
    /// # Errors
    /// Those of [`GlowBuilder::load_bytes`].
    pub fn from_bytes(files: BundleBytes) -> Result<Self, Error> {
        Self::builder().load_bytes(files)
    }

    /// Options for loading.
    pub fn builder() -> GlowBuilder {
        GlowBuilder::default()
    }
}

/// How a bundle is loaded; see [`Glow::builder`].
///
/// ```no_run
/// # fn main() -> Result<(), glow_runtime::Error> {
/// let sampler = glow_runtime::Glow::builder().threads(2).decoder_only().load("models/faces")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct GlowBuilder {
    options: LoadOptions,
}

impl GlowBuilder {
    /// What executes the graphs: each node goes to the first provider of the list that can run it. All of
    /// them must be usable, and without [`Provider::Cpu`] in the list no node may be left to the CPU: what
    /// does not hold is an error, never a silent fall-back. Default [`Provider::Cpu`] alone.
    ///
    /// ```no_run
    /// use glow_runtime::{Glow, Provider, TensorRt};
    ///
    /// # fn main() -> Result<(), glow_runtime::Error> {
    /// let engine = Provider::TensorRt(TensorRt::default().fp16(true));
    /// let glow = Glow::builder()
    ///     .providers([engine, Provider::Cuda(Default::default())])
    ///     .cache("engines")
    ///     .load("models/faces")?;
    /// # Ok(()) }
    /// ```
    pub fn providers(mut self, providers: impl IntoIterator<Item = Provider>) -> Self {
        self.options.providers = providers.into_iter().collect();
        self
    }

    /// One provider alone.
    pub fn provider(self, provider: Provider) -> Self {
        self.providers([provider])
    }

    /// Threads that work on one call. Default: one a physical core, divided among the sessions.
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = Some(threads);
        self
    }

    /// Whether threads wait for work by spinning while a call runs: 4 to 20 % faster where nothing else
    /// wants the cores, but up to half as slow again where something does, another model for one. Default
    /// false.
    pub fn spinning(mut self, spinning: bool) -> Self {
        self.options.spinning = spinning;
        self
    }

    /// Calls that are executed at the same time, each in a session of its own; further ones wait in the
    /// order in which they came. On the CPU the sessions share one copy of the weights. Several serve many
    /// small calls better than one does, since the threads of a session wait for each other after every
    /// node; a single call is slower, as it has fewer threads. Default 1.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.options.sessions = sessions;
        self
    }

    /// Whether sessions on the CPU share one copy of the weights. ONNX Runtime lays them out anew for the
    /// CPU, for each session; shared, this is done once, before the sessions are made, and written to the
    /// [cache](Self::cache) or to a temporary file as large as the weights. With one session of one graph
    /// and no cache there is nothing to share. Where the temporary folder cannot be written, they are not shared,
    /// and [`LoadStep::NotShared`] says so. Default true: false loads faster without a cache, and takes the
    /// weights' size for each session of each graph.
    pub fn share_weights(mut self, share: bool) -> Self {
        self.options.share_weights = share;
        self
    }

    /// Whether files of weights are mapped into memory instead of read, on the CPU. Mapped, they load faster, and
    /// processes that use the same file share its memory. But the file must not be changed in place
    /// while the model is in use: new contents would change the model, and a shorter file ends the
    /// process (SIGBUS). Put new files in place by renaming, as `glow-export` does, or say false.
    /// Default true.
    pub fn map_weights(mut self, map: bool) -> Self {
        self.options.map_weights = map;
        self
    }

    /// Whether memory that loading has freed is given back to the system at once (`malloc_trim`, on Linux with
    /// glibc). It is about as much as the weights, and takes some milliseconds during which other
    /// threads cannot allocate. Default false: the process keeps it for later.
    pub fn trim_memory(mut self, trim: bool) -> Self {
        self.options.trim_memory = trim;
        self
    }

    /// A folder for what is made of the bundle for this machine: optimised graphs and their weights for
    /// the CPU, engines of TensorRT, compiled models of OpenVINO. It may serve many bundles; what is in it
    /// is found by the hashes of the bundle's files, the version of ONNX Runtime, the providers with their
    /// options, and the processor or the GPU with its driver. What is there for the CPU is compared with its checksums; a
    /// damaged entry is made again ([`LoadStep::CacheDamaged`]). Against people they are no defence: the folder must
    /// be writable only by whom the application trusts. Nothing is ever removed from it for lack of use.
    /// Default: none, and all of it is made at every loading.
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.cache = Some(folder.into());
        self
    }

    /// The ONNX Runtime library, or the folder that it is in. Default: the first of
    ///
    /// 1. the environment variable `ORT_DYLIB_PATH`, a file or a folder,
    /// 2. the executable's folder,
    /// 3. the folder `lib` beside that one, as programs are installed,
    /// 4. the folder that `make setup` fills, of the checkout that this crate was compiled in, if it was; for
    ///    OpenVINO that of `make setup OPENVINO=1`,
    /// 5. the system's libraries: `libonnxruntime.so.1` by the loader (`libonnxruntime.dylib` on macOS).
    ///
    /// Version 1.21 or newer is needed. Older ones are refused: they take the graphs and compute wrong pixels.
    ///
    /// A process uses one library: the first that a bundle was loaded with. To ask for another one
    /// later is an error; not to ask is not.
    pub fn onnxruntime(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.onnxruntime = Some(path.into());
        self
    }

    /// Loads only what [`Glow::encode`] and [`Glow::log_prob`] need.
    pub fn encoder_only(mut self) -> Self {
        self.options.only = Some(GraphKind::Encoder);
        self
    }

    /// Loads only what [`Glow::sample`] and [`Glow::decode`] need.
    pub fn decoder_only(mut self) -> Self {
        self.options.only = Some(GraphKind::Decoder);
        self
    }

    /// Whether size and SHA-256 of each file that is loaded are compared with the manifest. The weights
    /// are hashed while the sessions are made. Default true.
    pub fn verify(mut self, verify: bool) -> Self {
        self.options.verify = verify;
        self
    }

    /// Whether an image is encoded and decoded once loaded, to prove that this provider computes the model
    /// exactly enough: a bundle in float must give every pixel back, one whose networks are in less may
    /// be off by 4 steps of the model's 2^n_bits. Needs both graphs, otherwise it does nothing. Default
    /// false.
    pub fn check(mut self, check: bool) -> Self {
        self.options.check = check;
        self
    }

    /// Batch sizes to run once at loading, in every session, so that the first call is as fast as later
    /// ones. A first run of a size allocates, searches for algorithms and captures CUDA graphs. On a GPU
    /// batches are filled up to a power of two, so these sizes are all there are: 1, 2, 4, 8, 16 and 32, up to
    /// [`Glow::max_batch`], which larger ones are cut to. Default none.
    pub fn warm_up(mut self, batches: impl IntoIterator<Item = usize>) -> Self {
        self.options.warm_up = batches.into_iter().collect();
        self
    }

    /// The most images that run at once: larger batches go through in chunks, to the same result. It
    /// overrides [`GlowBuilder::memory_budget`].
    pub fn max_batch(mut self, images: usize) -> Self {
        self.options.max_batch = Some(images);
        self
    }

    /// Bytes that the activations of all sessions together may take, from which the size of the chunks
    /// follows: at least one image, and at most 32. Default 512 MiB.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.options.memory_budget = bytes;
        self
    }

    /// Is told what loading is at, from several threads.
    pub fn on_progress(mut self, progress: impl Fn(LoadStep) + Send + Sync + 'static) -> Self {
        self.options.progress = Progress::to(progress);
        self
    }

    /// Loads the bundle in a folder.
    ///
    /// # Errors
    /// [`Error::Bundle`] if files are missing or damaged, [`Error::Load`] and [`Error::Graph`] if
    /// they are not a Glow's, [`Error::LibraryNotFound`] and its like without an ONNX Runtime that
    /// can be used, [`Error::Provider`] for a provider that cannot be used, [`Error::Check`] if an image
    /// does not come back, [`Error::Write`] if the cache cannot be written, and [`Error::Option`] for
    /// threads, sessions or batches of 0.
    pub fn load(self, folder: impl AsRef<Path>) -> Result<Glow, Error> {
        load::load(Bundle::open(folder.as_ref())?, &self.options)
    }

    /// Loads a bundle that is in memory, such as one that an executable holds within itself. ONNX Runtime
    /// maps files and copies memory, so the weights go through a temporary file.
    ///
    /// # Errors
    /// Those of [`GlowBuilder::load`].
    pub fn load_bytes(self, files: BundleBytes) -> Result<Glow, Error> {
        load::load(Bundle::from_bytes(files)?, &self.options)
    }
}
