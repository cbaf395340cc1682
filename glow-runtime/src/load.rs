//! The steps of loading a bundle.
use crate::builder::{GlowBuilder, LoadStep};
use crate::folders::TemporaryFolder;
use crate::graph::Graph;
use crate::library::{self, Library};
use crate::nodes::{self, Node};
use crate::prepared::Models;
use crate::provider::Provider;
use crate::session::{Model, SessionOptions};
use crate::weights::{Constants, Weights};
use crate::{Architecture, EncodeOptions, Error, Glow, GraphKind, prepared};
use glow_models::{Bundle, BundleError, Precision, WEIGHTS_FILE};
use ndarray::Array4;
use ort::session::builder::PrepackedWeights;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the time of loading went; see [`Glow::load_times`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LoadTimes {
    /// Reading and checking the manifest and the graphs.
    pub bundle: Duration,
    /// Opening ONNX Runtime; nothing for a process that has done so.
    pub library: Duration,
    /// Hashing the weights: before the rest with an empty cache, at the same time without any, and not at
    /// all when the cache has what was made of them.
    pub weights: Duration,
    /// Optimising the graphs and writing what comes out, or finding it in the cache.
    pub preparation: Duration,
    /// Making the sessions.
    pub sessions: Duration,
    /// [`GlowBuilder::warm_up`] and [`GlowBuilder::check`].
    pub warm_up: Duration,
    /// All of it.
    pub total: Duration,
}

/// What is needed to make further sessions of a loaded model.
pub(crate) struct Recipe {
    options: SessionOptions,
}

impl Recipe {
    /// Which provider runs which node.
    pub fn nodes(&self, bundle: &Bundle, kind: GraphKind) -> Result<Vec<Node>, Error> {
        let source = Source::of(bundle, &[kind])?;
        let models = plain(bundle, source.path(), &[kind], &self.options)?;
        let (inputs, _) = kind.ports(&bundle.manifest().architecture);
        nodes::nodes(&models[0].1, kind, &inputs, &self.options)
    }
}

impl GlowBuilder {
    pub(crate) fn load_bundle(self, bundle: Bundle) -> Result<Glow, Error> {
        self.validate()?;
        let begin = Instant::now();
        let mut times = LoadTimes::default();
        let kinds = self.kinds();
        for file in kinds.iter().map(|kind| kind.file()) {
            if self.verify {
                bundle.verify(file)?;
            }
            bundle.check_graph(file)?;
        }
        times.bundle = begin.elapsed();
        let library = timed(&mut times.library, || {
            library::start(self.onnxruntime.as_deref(), self.providers.iter().any(is_openvino))
        })?;
        let mut last = None;
        for providers in alternatives(&self.providers) {
            match self.try_providers(&bundle, &kinds, &library, providers, &mut times) {
                Ok(mut glow) => {
                    glow.times.total = begin.elapsed();
                    return Ok(glow);
                }
                Err(error) if self.providers == [Provider::Auto] => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.expect("at least one alternative"))
    }

    fn try_providers(
        &self,
        bundle: &Bundle,
        kinds: &[GraphKind],
        library: &Library,
        providers: Vec<Provider>,
        times: &mut LoadTimes,
    ) -> Result<Glow, Error> {
        for provider in &providers {
            provider.check(library)?;
        }
        let architecture = &bundle.manifest().architecture;
        let on_cpu = providers.iter().all(Provider::is_cpu);
        let cached = self.cache.as_ref().map(|cache| {
            let names: Vec<String> = providers.iter().map(|provider| format!("{provider:?}")).collect();
            let hashes = kinds
                .iter()
                .map(|kind| kind.file())
                .chain([WEIGHTS_FILE])
                .map(|file| bundle.manifest().files.get(file).map_or("", |entry| entry.sha256.as_str()));
            let machine = if on_cpu { String::new() } else { library::gpu::fingerprint() };
            let parts = hashes
                .chain([library.info.version.as_str(), machine.as_str()])
                .chain(names.iter().map(String::as_str));
            cache.join(prepared::key(if on_cpu { "cpu" } else { "engine" }, parts))
        });
        let options = SessionOptions {
            library: library.clone(),
            threads: self.threads_per_session(),
            spinning: self.spinning,
            cache: cached.clone().filter(|_| !on_cpu),
            prepacking: bundle.manifest().precision != Precision::Int8,
            providers,
        };
        // A hit was made of files with these hashes, and nothing of the weights' file is used.
        let hit = on_cpu && cached.as_ref().is_some_and(|folder| folder.is_dir());
        let shared = on_cpu && self.share_weights && (cached.is_some() || kinds.len() * self.sessions > 1);
        // What goes into the cache is found by the hashes, so they must be right: this comes first. Without
        // a cache it is done while the sessions are made.
        let before = cached.is_some() && !hit;
        let meanwhile = self.verify && cached.is_none();
        if before || meanwhile {
            self.report(LoadStep::Verifying);
        }
        if before {
            timed(&mut times.weights, || verify_weights(bundle))?;
        }
        if let Some(folder) = &options.cache {
            std::fs::create_dir_all(folder)
                .map_err(|source| Error::Write { path: folder.clone(), source })?;
        }
        let (glow, verified) = std::thread::scope(|scope| {
            let hashing = meanwhile.then(|| {
                scope.spawn(|| {
                    let begin = Instant::now();
                    verify_weights(bundle).map(|()| begin.elapsed())
                })
            });
            let glow = self.assemble(bundle, kinds, &options, shared, cached.as_deref(), times);
            (glow, hashing.map(|thread| thread.join().expect("hashing does not panic")))
        });
        // Damaged weights explain whatever else failed.
        if let Some(verified) = verified {
            times.weights = verified?;
        }
        let mut glow = glow?;
        timed(&mut times.warm_up, || self.try_out(&glow, architecture))?;
        glow.times = *times;
        self.report(LoadStep::Ready);
        Ok(glow)
    }

    /// Makes the sessions.
    fn assemble(
        &self,
        bundle: &Bundle,
        kinds: &[GraphKind],
        options: &SessionOptions,
        shared: bool,
        cached: Option<&Path>,
        times: &mut LoadTimes,
    ) -> Result<Glow, Error> {
        let architecture = &bundle.manifest().architecture;
        let source = Source::of(bundle, kinds)?;
        // Removed at the end, when the sessions have what they need.
        let mut _temporary = None;
        let models = timed(&mut times.preparation, || -> Result<_, Error> {
            if !shared {
                return plain(bundle, source.path(), kinds, options);
            }
            self.report(LoadStep::Preparing);
            let (models, folder) = prepared::prepare(source.path(), kinds, options, cached)?;
            _temporary = folder;
            Ok(models)
        })?;
        let (mut encoder, mut decoder) = (None, None);
        timed(&mut times.sessions, || -> Result<(), Error> {
            for (kind, model) in &models {
                let graph = self.while_reporting(*kind, || {
                    Graph::load(model, *kind, architecture, options, self.sessions)
                })?;
                match kind {
                    GraphKind::Encoder => encoder = Some(graph),
                    GraphKind::Decoder => decoder = Some(graph),
                }
            }
            Ok(())
        })?;
        for (_, model) in &models {
            if let Some(constants) = &model.constants {
                constants.weights().release();
            }
        }
        let chunk = self.chunk(architecture, &options.providers);
        Ok(Glow {
            encoder,
            decoder,
            providers: options.providers.clone(),
            onnxruntime: options.library.info.clone(),
            chunk,
            times: *times,
            recipe: Recipe { options: options.clone() },
            bundle: bundle.clone(),
        })
    }

    /// Warms up, and checks that an image comes back.
    fn try_out(&self, glow: &Glow, architecture: &Architecture) -> Result<(), Error> {
        if !self.warm_up.is_empty() {
            self.report(LoadStep::WarmingUp);
            for graph in [&glow.encoder, &glow.decoder].into_iter().flatten() {
                graph.warm_up(&self.warm_up)?;
            }
        }
        if self.check && glow.encoder.is_some() && glow.decoder.is_some() {
            self.report(LoadStep::Checking);
            check(glow, architecture)?;
        }
        Ok(())
    }
}

/// Checks the weights' file, unless the graphs hold the weights.
fn verify_weights(bundle: &Bundle) -> Result<(), BundleError> {
    if bundle.manifest().is_inline() { Ok(()) } else { bundle.verify(WEIGHTS_FILE) }
}

/// Encodes and decodes a picture with smooth and with rough parts.
fn check(glow: &Glow, a: &Architecture) -> Result<(), Error> {
    let picture = Array4::from_shape_fn((1, a.height, a.width, a.channels), |(_, y, x, c)| {
        let smooth = 255 * (x + y) / (a.width + a.height) + 40 * c;
        let rough = (x * 2_654_435_761 + y * 40_503 + c * 97) >> 3;
        (if y < a.height / 2 { smooth } else { rough }) as u8
    });
    let labels = (a.classes > 0).then(|| vec![0]);
    let options = EncodeOptions { labels: labels.clone(), ..Default::default() };
    let back = glow.decode(&glow.encode(&picture, &options)?.latents, labels.as_deref())?.images;
    let expected = glow.quantize(&picture);
    let difference = back.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    let step = 1u8.checked_shl(8 - a.n_bits).unwrap_or(1);
    // In float the values come back within a fraction of a step; networks in less leave more.
    let allowed = if glow.manifest().precision == Precision::Fp32 { 0 } else { 4 * step };
    if difference > allowed {
        return Err(Error::Check { difference, allowed });
    }
    Ok(())
}

/// The bundle's own graphs, each session with what it makes of the weights for itself.
fn plain(
    bundle: &Bundle,
    folder: &Path,
    kinds: &[GraphKind],
    options: &SessionOptions,
) -> Result<Models, Error> {
    let path = folder.join(WEIGHTS_FILE);
    let weights = match options.providers.iter().all(Provider::is_cpu) && !bundle.manifest().is_inline() {
        true => {
            Some(Arc::new(Weights::map(&path).map_err(|source| Error::Read { path: path.clone(), source })?))
        }
        // Providers read the weights by themselves, and put them where they compute; or the graphs hold them.
        false => None,
    };
    let model = |&kind: &GraphKind| {
        let path = folder.join(kind.file());
        let constants = match &weights {
            None => None,
            Some(weights) => {
                let graph =
                    std::fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
                let constants = Constants::new(&graph, weights);
                Some(constants.map_err(|reason| Error::Graph { path: path.clone(), reason })?)
            }
        };
        let prepacked = (weights.is_some() && options.prepacking).then(PrepackedWeights::new);
        Ok((kind, Model { path, constants, prepacked, optimised: false }))
    };
    kinds.iter().map(model).collect()
}

/// A folder with the bundle's files: its own, or a temporary one for a bundle in memory.
pub(crate) enum Source {
    Folder(PathBuf),
    Temporary(TemporaryFolder),
}

impl Source {
    pub fn of(bundle: &Bundle, kinds: &[GraphKind]) -> Result<Self, Error> {
        if let Some(folder) = bundle.folder() {
            return Ok(Self::Folder(folder.into()));
        }
        // ONNX Runtime maps what lies in files, and copies what it is given.
        let parent = std::env::temp_dir();
        let folder =
            TemporaryFolder::new(&parent).map_err(|source| Error::Write { path: parent.clone(), source })?;
        let weights = (!bundle.manifest().is_inline()).then_some(WEIGHTS_FILE);
        for file in kinds.iter().map(|kind| kind.file()).chain(weights) {
            let path = folder.path().join(file);
            std::fs::write(&path, bundle.bytes(file).unwrap_or_default())
                .map_err(|source| Error::Write { path, source })?;
        }
        Ok(Self::Temporary(folder))
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// The lists of providers to try, one after the other; several only for [`Provider::Auto`].
fn alternatives(asked: &[Provider]) -> Vec<Vec<Provider>> {
    if asked != [Provider::Auto] {
        return vec![asked.to_vec()];
    }
    vec![
        vec![Provider::Cuda(Default::default()), Provider::Cpu],
        #[cfg(feature = "openvino")]
        vec![Provider::OpenVino(Default::default())],
        vec![Provider::Cpu],
    ]
}

fn is_openvino(provider: &Provider) -> bool {
    #[cfg(feature = "openvino")]
    return matches!(provider, Provider::OpenVino(_));
    #[cfg(not(feature = "openvino"))]
    return {
        let _ = provider;
        false
    };
}

fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = work();
    *sum += begin.elapsed();
    result
}
