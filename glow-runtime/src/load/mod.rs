//! The steps of loading a bundle.
pub(crate) mod cache;
mod engines;
pub(crate) mod optimised;
pub(crate) mod options;
pub(crate) mod scratch;
pub(crate) mod source;
mod trial;

use crate::graph::Graph;
use crate::library::{self, Library, Start};
use crate::progress::{LoadStep, LoadTimes, timed};
use crate::provider::Provider;
use crate::registration;
use crate::session::{Models, SessionOptions};
use crate::{Error, Glow, GraphKind, device, trace};
use cache::{Checksums, Purpose};
use engines::Engines;
use glow_models::{Bundle, BundleError, Precision, WEIGHTS_FILE};
use optimised::Optimised;
use options::LoadOptions;
use source::plain;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Loads a bundle as the options say.
pub(crate) fn load(bundle: Bundle, options: &LoadOptions) -> Result<Glow, Error> {
    options.validate()?;
    trace::span!(INFO, "load");
    let begin = Instant::now();
    let mut times = LoadTimes::default();
    let kinds = options.kinds();
    for file in kinds.iter().map(|kind| kind.file()) {
        if options.verify {
            bundle.verify(file)?;
        }
        bundle.check_graph(file)?;
    }
    times.bundle = begin.elapsed();
    let library = timed(&mut times.library, || {
        library::start_as(Start {
            path: options.onnxruntime.as_deref(),
            preference: registration::preference(&options.providers),
            shared_threads: options.shared_threads,
            spinning: options.spinning,
            environment: options.environment.clone(),
        })
    })?;
    let loading = Loading { options, bundle: &bundle, kinds: &kinds, library: &library };
    let mut passed_over = Vec::new();
    let mut alternatives = registration::alternatives(&options.providers).into_iter().peekable();
    loop {
        let providers = alternatives.next().expect("the last one returns");
        let first = providers[0].clone();
        match loading.with_providers(providers, &mut times) {
            Ok(mut glow) => {
                times.total = begin.elapsed();
                glow.times = times;
                glow.passed_over = passed_over;
                options.progress.report(LoadStep::Ready);
                return Ok(glow);
            }
            // Only what lies with the provider can be better with another one.
            Err(
                error @ (Error::Provider { .. }
                | Error::Run { .. }
                | Error::Check { .. }
                | Error::NonFinite { .. }),
            ) if alternatives.peek().is_some() => {
                let reason = match error {
                    Error::Provider { reason, .. } => reason,
                    other => other.to_string(),
                };
                options
                    .progress
                    .report(LoadStep::PassedOver { provider: first.clone(), reason: reason.clone() });
                passed_over.push((first, reason));
            }
            Err(error) => return Err(error),
        }
    }
}

/// What does not change from one list of providers to the next.
struct Loading<'a> {
    options: &'a LoadOptions,
    bundle: &'a Bundle,
    kinds: &'a [GraphKind],
    library: &'a Library,
}

impl Loading<'_> {
    fn with_providers(&self, providers: Vec<Provider>, times: &mut LoadTimes) -> Result<Glow, Error> {
        let manifest = self.bundle.manifest();
        for provider in &providers {
            if let Some(reason) = provider.refuses(manifest.precision, manifest.int8_layout()) {
                return Err(Error::Provider {
                    provider: provider.clone(),
                    reason: reason.into(),
                    code: None,
                });
            }
            provider.check(self.library)?;
        }
        let on_cpu = providers.iter().all(Provider::is_cpu);
        let entry = self.entry(&providers, on_cpu);
        let mut session_options = SessionOptions {
            library: self.library.clone(),
            threads: self.options.threads_per_session(),
            shares_threads: self.options.shared_threads.is_some(),
            spinning: self.options.spinning,
            cache: entry.clone().filter(|_| !on_cpu),
            int8: manifest.precision == Precision::Int8,
            map: self.options.map_weights,
            trim: self.options.trim_memory,
            batch: self.bundle.manifest().batch,
            device: device::of(&providers),
            captures: providers.iter().any(Provider::captures_graphs),
            providers,
        };
        let engines = self.engines(&mut session_options);
        let found = match &entry {
            Some(entry) if on_cpu => self.load_cached(entry, &session_options, times)?,
            _ => None,
        };
        let glow = match found {
            Some(glow) => glow,
            None => self.load_new(entry.as_deref(), &session_options, times)?,
        };
        trace::span!(DEBUG, "try_out");
        timed(&mut times.warm_up, || self.warm_up(&glow))?;
        timed(&mut times.check, || self.check(&glow, entry.as_deref().filter(|_| on_cpu)))?;
        if let Some(engines) = engines
            && let Err(error) = engines.seal()
        {
            self.not_cached(&engines.folder, &error.to_string());
        }
        Ok(glow)
    }

    /// The place in the cache of what is made for these providers; `None` if nothing is kept.
    fn entry(&self, providers: &[Provider], on_cpu: bool) -> Option<PathBuf> {
        let cache = self.options.cache.as_ref()?;
        let kept = if on_cpu { self.options.share_weights } else { providers.iter().any(Provider::compiles) };
        if !kept {
            return None;
        }
        let files = &self.bundle.manifest().files;
        let hashes = self
            .kinds
            .iter()
            .map(|kind| kind.file())
            .chain([WEIGHTS_FILE])
            .map(|file| files.get(file).map_or("", |entry| entry.sha256.as_str()));
        let gpu = providers.iter().find_map(Provider::cuda_device);
        let machine = gpu.map_or_else(String::new, library::gpu::fingerprint);
        let names: Vec<String> = providers.iter().map(|provider| format!("{provider:?}")).collect();
        // Two builds of one version may compute differently.
        let parts = hashes
            .chain([self.library.info.version.as_str(), ort::info(), machine.as_str()])
            .chain(names.iter().map(String::as_str));
        let purpose = if on_cpu { Purpose::Cpu } else { Purpose::Engine };
        Some(cache.join(cache::key(purpose, parts)))
    }

    /// The model from an entry of the cache. It was made of files with the manifest's hashes, so nothing
    /// of the bundle's weights is read. An entry that cannot be used is removed, and gives nothing.
    fn load_cached(
        &self,
        entry: &Path,
        options: &SessionOptions,
        times: &mut LoadTimes,
    ) -> Result<Option<Glow>, Error> {
        if !entry.is_dir() {
            return Ok(None);
        }
        cache::touch(entry);
        let opened = timed(&mut times.preparation, || {
            let checksums = Checksums::of(entry)?;
            checksums.check_but(optimised::WEIGHTS, entry)?;
            let opened = optimised::open(entry, self.kinds, options);
            opened.map(|(models, weights)| (checksums, models, weights)).map_err(|error| error.to_string())
        });
        let reason = match opened {
            Ok((checksums, models, weights)) => {
                // The weights are mere numbers, and sessions are made of them before they are known to be right.
                let (whole, glow) = std::thread::scope(|scope| {
                    let check = scope.spawn(|| checksums.check(optimised::WEIGHTS, &weights));
                    let glow = self.assemble(models, options, times);
                    (check.join().expect("a checksum does not panic"), glow)
                });
                match (whole, glow) {
                    (Ok(()), Ok(glow)) => {
                        // 8-bit convolutions have packed copies; others use most of the weights where they are.
                        if options.int8 {
                            weights.release();
                        }
                        return Ok(Some(glow));
                    }
                    (Err(reason), _) => reason,
                    (Ok(()), Err(error)) => error.to_string(),
                }
            }
            Err(reason) => reason,
        };
        self.options.progress.report(LoadStep::CacheDamaged { entry: entry.into(), reason });
        // Where it cannot be removed, nothing can be put in its place either, and that is reported.
        let _ = cache::remove(entry);
        Ok(None)
    }

    /// The model from the bundle's files.
    fn load_new(
        &self,
        entry: Option<&Path>,
        options: &SessionOptions,
        times: &mut LoadTimes,
    ) -> Result<Glow, Error> {
        let hashing = match entry {
            // What goes into the cache is found by the hashes, so they must be right.
            Some(_) => Hashing::Before,
            None if self.options.verify => Hashing::Meanwhile,
            None => Hashing::Never,
        };
        if hashing != Hashing::Never {
            self.options.progress.report(LoadStep::Verifying);
        }
        if hashing == Hashing::Before {
            timed(&mut times.weights, || verify_weights(self.bundle))?;
        }
        let origin = trace::Origin::here();
        let (glow, verified) = std::thread::scope(|scope| {
            let hashing = (hashing == Hashing::Meanwhile).then(|| {
                scope.spawn(|| {
                    let begin = Instant::now();
                    origin.within(|| verify_weights(self.bundle)).map(|()| begin.elapsed())
                })
            });
            let glow = self.prepare_and_assemble(entry, options, times);
            (glow, hashing.map(|thread| thread.join().expect("hashing does not panic")))
        });
        // Damaged weights explain whatever else failed.
        if let Some(verified) = verified {
            times.weights = verified?;
        }
        glow
    }

    /// The folder for what the provider compiles, if there is one that can be used.
    fn engines(&self, options: &mut SessionOptions) -> Option<Engines> {
        let folder = options.cache.take()?;
        match Engines::open(&folder, &self.options.progress) {
            Ok(engines) => {
                options.cache = Some(folder);
                Some(engines)
            }
            Err(error) => {
                self.not_cached(&folder, &error.to_string());
                None
            }
        }
    }

    fn not_cached(&self, entry: &Path, reason: &str) {
        let reason = reason.to_string();
        self.options.progress.report(LoadStep::NotCached { entry: entry.into(), reason });
    }

    fn prepare_and_assemble(
        &self,
        entry: Option<&Path>,
        options: &SessionOptions,
        times: &mut LoadTimes,
    ) -> Result<Glow, Error> {
        let models = timed(&mut times.preparation, || self.prepare(entry, options))?;
        let glow = self.assemble(models, options, times)?;
        for (_, model) in &glow.models {
            if let Some(constants) = &model.constants {
                constants.weights().release();
            }
        }
        Ok(glow)
    }

    /// The graphs, optimised once for all sessions where they share the weights.
    fn prepare(&self, entry: Option<&Path>, options: &SessionOptions) -> Result<Models, Error> {
        trace::span!(DEBUG, "prepare");
        let on_cpu = options.providers.iter().all(Provider::is_cpu);
        let worthwhile = entry.is_some() || self.kinds.len() * self.options.sessions > 1;
        if on_cpu && self.options.share_weights && worthwhile {
            self.options.progress.report(LoadStep::Preparing);
            match Optimised::new(self.bundle, self.kinds, options) {
                Ok(optimised) => return self.keep(optimised, entry, options),
                // Without a place for files of its own it needs more memory, and no more.
                Err(Error::Write { path, source }) => {
                    let reason = format!("{}: {source}", path.display());
                    self.options.progress.report(LoadStep::NotShared { reason });
                }
                Err(error) => return Err(error),
            }
        }
        plain(self.bundle, self.kinds, options)
    }

    /// What was optimised, from the cache if it can be kept there: then it is shared with other processes.
    fn keep(
        &self,
        optimised: Optimised,
        entry: Option<&Path>,
        options: &SessionOptions,
    ) -> Result<Models, Error> {
        if let Some(entry) = entry {
            match optimised.keep(entry) {
                Ok(()) => return Ok(optimised::open(entry, self.kinds, options)?.0),
                Err(error) => self.not_cached(entry, &error.to_string()),
            }
        }
        optimised.models(self.bundle, options)
    }

    /// Makes the sessions.
    fn assemble(
        &self,
        models: Models,
        options: &SessionOptions,
        times: &mut LoadTimes,
    ) -> Result<Glow, Error> {
        trace::span!(DEBUG, "sessions");
        let architecture = &self.bundle.manifest().architecture;
        let (mut encoder, mut decoder) = (None, None);
        timed(&mut times.sessions, || -> Result<(), Error> {
            for (kind, model) in &models {
                let graph = self.options.progress.during(*kind, || {
                    Graph::load(model, *kind, architecture, options, self.options.sessions)
                })?;
                match kind {
                    GraphKind::Encoder => encoder = Some(graph),
                    GraphKind::Decoder => decoder = Some(graph),
                }
            }
            Ok(())
        })?;
        Ok(Glow {
            encoder,
            decoder,
            // Graphs of a fixed batch size run just that many images.
            chunk: options.batch.unwrap_or_else(|| self.options.chunk(architecture, &options.providers)),
            session_options: options.clone(),
            times: *times,
            passed_over: Vec::new(),
            bundle: self.bundle.clone().without_graphs(),
            models,
        })
    }

    fn warm_up(&self, glow: &Glow) -> Result<(), Error> {
        let batches = &self.options.batches_to_run(glow.providers());
        if batches.is_empty() {
            return Ok(());
        }
        self.options.progress.report(LoadStep::WarmingUp);
        let mut graphs = [&glow.encoder, &glow.decoder].into_iter().flatten();
        graphs.try_for_each(|graph| graph.warm_up(batches, glow.chunk))
    }

    /// Checks that an image comes back. The CPU computes the same every time, so what an entry of the cache holds is
    /// checked once.
    fn check(&self, glow: &Glow, entry: Option<&Path>) -> Result<(), Error> {
        let both = glow.encoder.is_some() && glow.decoder.is_some();
        if !self.options.check || !both || entry.is_some_and(cache::is_checked) {
            return Ok(());
        }
        self.options.progress.report(LoadStep::Checking);
        trial::check(glow)?;
        entry.inspect(|entry| cache::note_checked(entry));
        Ok(())
    }
}

/// When the weights are hashed.
#[derive(Clone, Copy, PartialEq)]
enum Hashing {
    /// Before anything is made of them.
    Before,
    /// At the same time.
    Meanwhile,
    Never,
}

/// Checks the weights' file, unless the graphs hold the weights.
fn verify_weights(bundle: &Bundle) -> Result<(), BundleError> {
    trace::span!(DEBUG, "weights");
    if bundle.manifest().is_inline() { Ok(()) } else { bundle.verify(WEIGHTS_FILE) }
}
