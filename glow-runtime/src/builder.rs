//! Options for loading a bundle.
use crate::provider::Provider;
use crate::{Error, Glow, GraphKind};
use glow_models::{Architecture, Bundle, BundleBytes};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// How a bundle is loaded; see [`Glow::builder`].
///
/// ```no_run
/// # fn main() -> Result<(), glow_runtime::Error> {
/// let sampler = glow_runtime::Glow::builder().threads(2).decoder_only().load("models/faces")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct GlowBuilder {
    pub(crate) providers: Vec<Provider>,
    threads: Option<usize>,
    pub(crate) spinning: bool,
    pub(crate) sessions: usize,
    pub(crate) share_weights: bool,
    pub(crate) cache: Option<PathBuf>,
    pub(crate) onnxruntime: Option<PathBuf>,
    only: Option<GraphKind>,
    pub(crate) verify: bool,
    pub(crate) check: bool,
    pub(crate) warm_up: Vec<usize>,
    max_batch: Option<usize>,
    memory_budget: usize,
    progress: Option<Progress>,
}

#[derive(Clone)]
struct Progress(Arc<dyn Fn(LoadStep) + Send + Sync>);

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fn(LoadStep)")
    }
}

/// What loading is at; see [`GlowBuilder::on_progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadStep {
    /// The weights are being hashed, at the same time as what follows.
    Verifying,
    /// ONNX Runtime optimises the graphs for this machine.
    Preparing,
    /// The sessions of a graph are being made, for this long already: told once a second. A TensorRT
    /// engine that is not in the cache takes minutes.
    Building {
        /// The graph.
        graph: GraphKind,
        /// Time since this began.
        elapsed: Duration,
    },
    /// The batch sizes of [`GlowBuilder::warm_up`] are run.
    WarmingUp,
    /// An image is encoded and decoded.
    Checking,
    /// Done.
    Ready,
}

/// Bytes that the activations of all sessions may take.
const MEMORY_BUDGET: usize = 512 << 20;
/// More images at once than this gain nothing.
const MAX_BATCH: usize = 32;
/// Hidden activations of an image that are alive at once, counted in float, with ONNX Runtime's arena
/// around them: measured.
const ACTIVATIONS: usize = 8;

impl Default for GlowBuilder {
    fn default() -> Self {
        Self {
            providers: vec![Provider::default()],
            threads: None,
            spinning: false,
            sessions: 1,
            share_weights: true,
            cache: None,
            onnxruntime: None,
            only: None,
            verify: true,
            check: false,
            warm_up: Vec::new(),
            max_batch: None,
            memory_budget: MEMORY_BUDGET,
            progress: None,
        }
    }
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
    /// let engine = Provider::TensorRt(TensorRt { fp16: true, ..Default::default() });
    /// let glow = Glow::builder()
    ///     .providers([engine, Provider::Cuda(Default::default())])
    ///     .cache("engines")
    ///     .load("models/faces")?;
    /// # Ok(()) }
    /// ```
    pub fn providers(mut self, providers: impl IntoIterator<Item = Provider>) -> Self {
        self.providers = providers.into_iter().collect();
        self
    }

    /// One provider alone.
    pub fn provider(self, provider: Provider) -> Self {
        self.providers([provider])
    }

    /// Threads that work on one call. Default: one a physical core, divided among the sessions.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Whether threads wait for work by spinning while a call runs: 4 to 20 % faster where nothing else
    /// wants the cores, but up to half as slow again where something does, another model for one. Default
    /// false.
    pub fn spinning(mut self, spinning: bool) -> Self {
        self.spinning = spinning;
        self
    }

    /// Calls that are executed at the same time, each in a session of its own; further ones wait in the
    /// order in which they came. On the CPU the sessions share one copy of the weights. Several serve many
    /// small calls better than one does, since the threads of a session wait for each other after every
    /// node; a single call is slower, as it has fewer threads. Default 1.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self
    }

    /// Whether sessions on the CPU share one copy of the weights. ONNX Runtime lays them out anew for the
    /// CPU, for each session; shared, this is done once, before the sessions are made, and written to the
    /// [cache](Self::cache) or to a temporary file as large as the weights. With one session of one graph
    /// and no cache there is nothing to share. Default true: false loads faster without a cache, and
    /// takes the weights' size for each session of each graph.
    pub fn share_weights(mut self, share: bool) -> Self {
        self.share_weights = share;
        self
    }

    /// A folder for what is made of the bundle for this machine: optimised graphs and their weights for
    /// the CPU, engines of TensorRT, compiled models of OpenVINO. It may serve many bundles; what is in it
    /// is found by the hashes of the bundle's files, the version of ONNX Runtime, the providers with their
    /// options, and the processor or the GPU with its driver. Loading trusts it, so it must be writable
    /// only by whom the application trusts. Default: none, and all of it is made at every loading.
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
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
        self.onnxruntime = Some(path.into());
        self
    }

    /// Loads only what [`Glow::encode`] and [`Glow::log_prob`] need.
    pub fn encoder_only(mut self) -> Self {
        self.only = Some(GraphKind::Encoder);
        self
    }

    /// Loads only what [`Glow::sample`] and [`Glow::decode`] need.
    pub fn decoder_only(mut self) -> Self {
        self.only = Some(GraphKind::Decoder);
        self
    }

    /// Whether size and SHA-256 of each file that is loaded are compared with the manifest. The weights
    /// are hashed while the sessions are made. Default true.
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Whether an image is encoded and decoded once loaded, to prove that this provider computes the model
    /// exactly enough: a bundle in float must give every pixel back, one whose networks are in less may
    /// be off by 4 steps of the model's 2^n_bits. Needs both graphs, otherwise it does nothing. Default
    /// false.
    pub fn check(mut self, check: bool) -> Self {
        self.check = check;
        self
    }

    /// Batch sizes to run once at loading, in every session, so that the first call is as fast as later
    /// ones. What a first run of a size does: it allocates, searches for algorithms and captures CUDA
    /// graphs. Default none.
    pub fn warm_up(mut self, batches: impl IntoIterator<Item = usize>) -> Self {
        self.warm_up = batches.into_iter().collect();
        self
    }

    /// The most images that run at once: larger batches go through in chunks, to the same result. It
    /// overrides [`GlowBuilder::memory_budget`].
    pub fn max_batch(mut self, images: usize) -> Self {
        self.max_batch = Some(images);
        self
    }

    /// Bytes that the activations of all sessions together may take, from which the size of the chunks
    /// follows: at least one image, and at most 32. Default 512 MiB.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.memory_budget = bytes;
        self
    }

    /// Is told what loading is at, from several threads.
    pub fn on_progress(mut self, progress: impl Fn(LoadStep) + Send + Sync + 'static) -> Self {
        self.progress = Some(Progress(Arc::new(progress)));
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
        self.load_bundle(Bundle::open(folder.as_ref())?)
    }

    /// Loads a bundle that is in memory, such as one that an executable holds within itself. ONNX Runtime
    /// maps files and copies memory, so the weights go through a temporary file.
    ///
    /// # Errors
    /// Those of [`GlowBuilder::load`].
    pub fn load_bytes(self, files: BundleBytes) -> Result<Glow, Error> {
        self.load_bundle(Bundle::from_bytes(files)?)
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let batches = self.warm_up.iter().min().copied();
        let sessions = Some(self.sessions);
        for (option, value) in [
            ("threads", self.threads),
            ("max_batch", self.max_batch),
            ("sessions", sessions),
            ("warm_up", batches),
        ] {
            if value == Some(0) {
                return Err(Error::Option { option, value: "0".into(), allowed: "at least 1" });
            }
        }
        let auto = self.providers.contains(&Provider::Auto);
        if self.providers.is_empty() || auto && self.providers.len() > 1 {
            let value = format!("{:?}", self.providers);
            let allowed = "at least one provider, and Auto only alone";
            return Err(Error::Option { option: "providers", value, allowed });
        }
        Ok(())
    }

    pub(crate) fn kinds(&self) -> Vec<GraphKind> {
        match self.only {
            Some(kind) => vec![kind],
            None => vec![GraphKind::Encoder, GraphKind::Decoder],
        }
    }

    pub(crate) fn threads_per_session(&self) -> usize {
        self.threads.unwrap_or_else(|| (physical_cores() / self.sessions).max(1))
    }

    /// Images that run at once.
    pub(crate) fn chunk(&self, architecture: &Architecture, providers: &[Provider]) -> usize {
        let budget = self.memory_budget / self.sessions;
        let chunk = self.max_batch.unwrap_or_else(|| images_within(budget, architecture));
        providers.iter().filter_map(Provider::max_batch).fold(chunk, usize::min)
    }

    pub(crate) fn report(&self, step: LoadStep) {
        if let Some(progress) = &self.progress {
            (progress.0)(step);
        }
    }

    /// Tells once a second that the work goes on.
    pub(crate) fn while_reporting<T>(&self, graph: GraphKind, work: impl FnOnce() -> T) -> T {
        if self.progress.is_none() {
            return work();
        }
        let begin = Instant::now();
        let (done, waits) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                loop {
                    self.report(LoadStep::Building { graph, elapsed: begin.elapsed() });
                    // Only the sender's end is ever received.
                    if waits.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Disconnected)
                    {
                        return;
                    }
                }
            });
            let result = work();
            drop(done);
            result
        })
    }
}

fn images_within(budget: usize, architecture: &Architecture) -> usize {
    let activation =
        size_of::<f32>() * architecture.hidden * (architecture.height / 2) * (architecture.width / 2);
    (budget / (ACTIVATIONS * activation.max(1))).clamp(1, MAX_BATCH)
}

/// Cores, of which each may show as two processors.
fn physical_cores() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let number = |line: &str| line.rsplit(' ').next().map(str::to_string);
    let cores: std::collections::HashSet<_> = text
        .split("\n\n")
        .filter_map(|processor| {
            let field = |name: &str| processor.lines().find(|line| line.starts_with(name)).and_then(number);
            Some((field("physical id")?, field("core id")?))
        })
        .collect();
    // A container may be given fewer processors than the machine has cores.
    if cores.is_empty() { processors } else { cores.len().min(processors) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn chunks_shrink_as_images_grow() {
        let of = |size| {
            let architecture = Architecture { height: size, width: size, ..Default::default() };
            images_within(MEMORY_BUDGET, &architecture)
        };
        assert_eq!([32, 64, 128, 256, 1024].map(of), [32, 32, 8, 2, 1]);
    }

    #[test]
    fn the_budget_is_that_of_all_sessions() {
        let cifar = Architecture { height: 32, width: 32, hidden: 512, ..Default::default() };
        let chunk = |builder: GlowBuilder| builder.chunk(&cifar, &[Provider::Cpu]);
        let small = || Glow::builder().memory_budget(64 << 20);
        assert_eq!([chunk(small()), chunk(small().sessions(4)), chunk(small().max_batch(100))], [16, 4, 100]);
        let engine = [Provider::TensorRt(Default::default())];
        assert_eq!(small().max_batch(100).chunk(&cifar, &engine), 32);
    }

    #[test]
    fn threads_are_divided_among_sessions() {
        assert_eq!(Glow::builder().threads(3).sessions(2).threads_per_session(), 3);
        assert_eq!(Glow::builder().sessions(10_000).threads_per_session(), 1);
        assert!(physical_cores() >= 1);
    }

    #[test]
    fn work_is_reported_while_it_goes_on() {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        let builder = Glow::builder().on_progress(move |step| seen.lock().unwrap().push(step));
        let answer = builder.while_reporting(GraphKind::Decoder, || {
            while steps.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            42
        });
        assert_eq!(answer, 42);
        let first = steps.lock().unwrap()[0];
        assert!(matches!(first, LoadStep::Building { graph: GraphKind::Decoder, .. }), "{first:?}");
    }
}
