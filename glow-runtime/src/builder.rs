//! Options for loading a bundle.
use crate::load;
use crate::load::options::LoadOptions;
use crate::progress::{LoadStep, Progress};
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
    /// The execution providers, in order of preference: each node of a graph runs on the first provider of the list
    /// that supports it. All providers of the list must be usable, otherwise loading fails. Nodes run on the CPU
    /// only if [`Provider::Cpu`] is in the list; there is no silent fall-back. Default: [`Provider::Cpu`] alone.
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

    /// The only execution provider; see [`GlowBuilder::providers`].
    pub fn provider(self, provider: Provider) -> Self {
        self.providers([provider])
    }

    /// Threads that work on one call. Default: the number of physical cores, divided by the number of
    /// [sessions](Self::sessions). Each session has its own threads: encoder and decoder that run at the same time use
    /// twice as many, unless all share some ([`GlowBuilder::shared_threads`]).
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = Some(threads);
        self
    }

    /// Threads that all sessions of this process share, those of other models included, instead of threads of each
    /// session's own: fewer threads take the cores from each other. The thread that calls works as well, so one less than this
    /// number is started. docs/performance.md has what it brings.
    ///
    /// They are started with ONNX Runtime, and stay: the first loading of the process must ask for them, and every later
    /// one that asks must ask for as many ([`Error::SharedThreads`]). One that does not ask has threads of its own. Whether
    /// they [spin](Self::spinning) is up to the first. With an environment that the application has made
    /// (`environment`), they are those of its global thread pool, of whatever number. Results do not change.
    /// Default: none are shared.
    pub fn shared_threads(mut self, threads: usize) -> Self {
        self.options.shared_threads = Some(threads);
        self
    }

    /// Whether threads spin while they wait for work during a call. This is 4 to 20 % faster if nothing else
    /// uses the cores, and up to 50 % slower if something does, such as another model. Default: false.
    pub fn spinning(mut self, spinning: bool) -> Self {
        self.options.spinning = spinning;
        self
    }

    /// Number of ONNX Runtime sessions for each graph, 1 to 1024: so many calls run at the same time, and further
    /// calls wait in the order in which they came. On the CPU the sessions share one copy of the weights.
    /// Several sessions give more throughput with many small calls, since the threads of a session synchronise
    /// after every node. A single call is slower, as it has fewer threads. Default: 1.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.options.sessions = sessions;
        self
    }

    /// Whether sessions on the CPU share one copy of the weights. ONNX Runtime reorders the weights for the CPU
    /// in each session. If they are shared, this is done once, before the sessions are created, and the result is
    /// written to the [cache](Self::cache). Without a cache it stays in memory on Linux, once, and no file is written;
    /// on other systems it is in a temporary file as large as the weights. If the temporary folder cannot be written
    /// there, the weights are not shared, and [`LoadStep::NotShared`] reports it. With one session
    /// of one graph and no cache there is nothing to share. Default: true. False loads faster without a cache, and
    /// needs memory for the weights once for each session of each graph.
    pub fn share_weights(mut self, share: bool) -> Self {
        self.options.share_weights = share;
        self
    }

    /// Whether files of weights are mapped into memory instead of read, on the CPU. Mapped, they load faster, and
    /// processes that use the same file share its memory. But the file must not be changed in place
    /// while the model is in use: new contents would change the model, and if the file gets shorter, the system
    /// ends the process (SIGBUS). Replace files by renaming new ones over them, as `glow-export` does, or set this to
    /// false. Default: true.
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

    /// A folder that caches what loading computes for this machine: optimised graphs and their weights for
    /// the CPU, TensorRT engines, compiled OpenVINO models. Any number of bundles and processes can use the same
    /// folder. The key of an entry is a hash of the bundle's files, the version of ONNX Runtime, the providers with
    /// their options, and the processor, or the GPU with its driver. Entries for the CPU have checksums, which are
    /// verified at every loading; a damaged entry is replaced ([`LoadStep::CacheDamaged`]). Checksums do not protect
    /// against an attacker: the folder must be writable only by users that the application trusts. An entry that
    /// was not used for 90 days is removed when a new one is made. A folder that cannot be written serves the entries
    /// that it has; what it lacks is computed at each loading, as without a cache
    /// ([`LoadStep::NotCached`]). Default: no cache.
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.cache = Some(folder.into());
        self
    }

    /// The ONNX Runtime library, or the folder that it is in. Default: the first of
    ///
    /// 1. the environment variable `ORT_DYLIB_PATH`, a file or a folder,
    /// 2. the executable's folder,
    /// 3. the folder `lib` beside that one, as programs are installed,
    /// 4. the folder that `make setup` fills, if this crate was compiled in a checkout; for OpenVINO, the folder that
    ///    `make setup OPENVINO=1` fills,
    /// 5. the system's libraries: `libonnxruntime.so.1` by the loader (`libonnxruntime.dylib` on macOS).
    ///
    /// Version 1.21 or newer is required. Older versions are refused, since they load the graphs and compute wrong
    /// pixels.
    ///
    /// A process uses only one library, that of the first bundle it loads. Naming another library later is an error
    /// ([`Error::LibraryAlreadyLoaded`]).
    pub fn onnxruntime(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.onnxruntime = Some(path.into());
        self
    }

    /// The environment that the application has made through the crate [`ort`](crate::ort), for sessions of its own: a
    /// process can have only one. Its logger and its log level stay as they are, and its execution providers are not used. The
    /// library must be of version 1.21 or newer, and one that [`GlowBuilder::onnxruntime`] names must be the same.
    ///
    /// An environment that this crate has made is
    /// [`OnnxRuntime::environment`](crate::OnnxRuntime::environment). Without either, whoever comes second gets an
    /// error, here [`Error::EnvironmentTaken`].
    #[cfg(feature = "ort")]
    pub fn environment(mut self, environment: ort::environment::Environment) -> Self {
        self.options.environment = Some(environment);
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

    /// Whether loading encodes and decodes an image, to check that the provider computes the model accurately. The
    /// image is a sample of the model's own, of seed 0 at temperature 0.7, and of class 0 in a conditional model.
    ///
    /// A bundle in fp32 must reconstruct every pixel exactly. A pixel may differ by 4 of the model's 2^n_bits levels if
    /// the bundle is in fp16, or the provider computes in less than 32-bit float: CUDA with
    /// [TF32](crate::Cuda::tf32), TensorRT unless `NVIDIA_TF32_OVERRIDE=0` is set, OpenVINO in bf16 or f16. In int8 it
    /// may differ by 4 levels or by 16 of 255, whichever is more.
    ///
    /// This costs two samples and one encoding of one image, each the first of its kind:
    /// [`LoadTimes::check`](crate::LoadTimes::check) tells how long they took. On two cores that is 150 ms for the
    /// cifar10 preset in fp32 (181 MB of weights) and 20 ms for `faces64`, of 910 and 300 ms that they load in. On the CPU an
    /// entry of the [cache](Self::cache) gives the same results at every loading, so it is checked once.
    ///
    /// If only one graph is loaded, there is nothing to compare with, and nothing is checked here. Every call checks that
    /// its results are finite, in any case. Default: true.
    pub fn check(mut self, check: bool) -> Self {
        self.options.check = check;
        self
    }

    /// Batch sizes that loading runs once in every session, so that the first call is as fast as later
    /// ones. The first run of a size allocates memory, searches for algorithms and captures CUDA graphs. On a GPU,
    /// batches are padded to a power of two, so the sizes 1, 2, 4, 8, 16 and 32 cover all calls. Sizes above
    /// [`Glow::max_batch`] are reduced to it. Default: none.
    pub fn warm_up(mut self, batches: impl IntoIterator<Item = usize>) -> Self {
        self.options.warm_up = batches.into_iter().collect();
        self
    }

    /// The most images that run at once: larger batches go through in chunks, to the same result. It
    /// overrides [`GlowBuilder::memory_budget`], and is overridden by a bundle's own batch size
    /// ([`Manifest::batch`](crate::Manifest::batch)).
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

    /// Calls this function at each step of loading, from several threads.
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
    /// does not come back and [`Error::NonFinite`] if it has no numbers to come back with, and [`Error::Option`] for
    /// threads, sessions or batches of 0.
    pub fn load(self, folder: impl AsRef<Path>) -> Result<Glow, Error> {
        load::load(Bundle::open(folder.as_ref())?, &self.options)
    }

    /// Loads a bundle from memory, for example one that is embedded in the executable. On Linux no file is written. The
    /// bundle's own weights are let go once the sessions share what was made of them.
    ///
    /// # Errors
    /// Those of [`GlowBuilder::load`].
    pub fn load_bytes(self, files: BundleBytes) -> Result<Glow, Error> {
        load::load(Bundle::from_bytes(files)?, &self.options)
    }
}
