//! A served model: a bundle behind its queue, which can be loaded again while requests go on.
use crate::event::chain;
use crate::images::{Cache, ImageId};
use crate::limits::Deadline;
use crate::metrics::{JobResult, Metrics};
use crate::problem::Problem;
use crate::{Event, ServeError, ServeOptions};
use glow_runtime::{
    Architecture, Attributes, Error, Glow, GlowBuilder, GraphKind, Job, Latents, Manifest, ReferenceScores,
    Scheduler, SchedulerOptions,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

/// Scores of a reference set, as `glow score --save-reference` writes them, beside the bundle's own files.
const REFERENCE_FILE: &str = "reference.json";

/// A bundle to serve, and how to load it.
#[derive(Debug, Clone)]
pub struct ModelSource {
    name: String,
    bundle: PathBuf,
    builder: GlowBuilder,
}

impl ModelSource {
    /// A bundle's folder under a name, by which requests choose it.
    pub fn new(name: impl Into<String>, bundle: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), bundle: bundle.into(), builder: Glow::builder() }
    }

    /// A bundle's folder under the folder's own name, in which '_' stands for what a name cannot hold.
    pub fn of_folder(bundle: impl Into<PathBuf>) -> Self {
        let bundle = bundle.into();
        let whole = bundle.canonicalize().unwrap_or_else(|_| bundle.clone());
        let folder = whole.file_name().unwrap_or_default().to_string_lossy();
        let name: String = folder.chars().map(|c| if is_name_part(c) { c } else { '_' }).take(64).collect();
        let name = match name.trim_start_matches('.') {
            "" => "model".to_owned(),
            name => name.to_owned(),
        };
        Self::new(name, bundle)
    }

    /// How to load it: threads, sessions, providers. Default [`Glow::builder`].
    pub fn builder(mut self, builder: GlowBuilder) -> Self {
        self.builder = builder;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let valid = (1..=64).contains(&self.name.len())
            && self.name.chars().all(is_name_part)
            && !self.name.starts_with('.');
        if valid { Ok(()) } else { Err(ServeError::Name { name: self.name.clone() }) }
    }
}

fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// A model of the server.
#[derive(Debug)]
pub(crate) struct Model {
    source: ModelSource,
    current: RwLock<Arc<Loaded>>,
    /// What the files looked like at the last loading, or try of one; one loading at a time.
    loading: Mutex<Fingerprint>,
}

/// One loading of a bundle. Requests hold it until they are answered, so that a later loading takes nothing from them.
#[derive(Debug)]
pub(crate) struct Loaded {
    name: String,
    scheduler: Scheduler,
    /// The most images that may wait.
    queue: usize,
    metrics: Arc<Metrics>,
    pub attributes: Attributes,
    pub reference: Option<ReferenceScores>,
    /// Of photographs, by class.
    pub latents: Cache<(ImageId, Option<i64>), Arc<Latents>>,
}

impl Model {
    /// Loads a bundle; takes as long as that takes.
    pub fn load(
        source: ModelSource,
        options: &ServeOptions,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, ServeError> {
        let fingerprint = Fingerprint::of(&source.bundle);
        let loaded = Loaded::load(&source, options, metrics).map_err(|cause| ServeError::Load {
            name: source.name.clone(),
            bundle: source.bundle.clone(),
            source: Box::new(cause),
        })?;
        metrics.announce(&source.name);
        Ok(Self { source, current: RwLock::new(Arc::new(loaded)), loading: Mutex::new(fingerprint) })
    }

    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// The loading that new requests use.
    pub fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Loads the bundle again. Requests that began before go on with the earlier one, which goes once they are
    /// answered; if loading fails it goes on serving.
    pub fn reload(&self, options: &ServeOptions) -> Result<(), Error> {
        let mut fingerprint = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        *fingerprint = Fingerprint::of(&self.source.bundle);
        let begin = Instant::now();
        let current = self.current();
        let result = Loaded::load(&self.source, options, &current.metrics);
        current.metrics.reload(self.name(), result.is_ok());
        match result {
            Ok(loaded) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                options.tell(&Event::Reloaded { model: self.name().into(), time: begin.elapsed() });
                Ok(())
            }
            Err(error) => {
                let reason = chain(&error);
                options.tell(&Event::ReloadFailed { model: self.name().into(), reason });
                Err(error)
            }
        }
    }

    /// Whether the bundle's files have changed since they were last loaded, or tried.
    pub fn has_changed(&self) -> bool {
        let loaded = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        *loaded != Fingerprint::of(&self.source.bundle)
    }
}

/// Sizes and times of a bundle's files.
#[derive(Debug, PartialEq)]
struct Fingerprint(Vec<Option<(u64, Option<SystemTime>)>>);

impl Fingerprint {
    fn of(bundle: &Path) -> Self {
        use glow_models::{ATTRIBUTES_FILE, DECODER_FILE, ENCODER_FILE, MANIFEST_FILE, WEIGHTS_FILE};
        let files =
            [MANIFEST_FILE, WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE, ATTRIBUTES_FILE, REFERENCE_FILE];
        let file = |name| {
            let metadata = std::fs::metadata(bundle.join(name)).ok()?;
            Some((metadata.len(), metadata.modified().ok()))
        };
        Self(files.into_iter().map(file).collect())
    }
}

impl Loaded {
    fn load(source: &ModelSource, options: &ServeOptions, metrics: &Arc<Metrics>) -> Result<Self, Error> {
        let glow = source.builder.clone().load(&source.bundle)?;
        let attributes = glow.attributes()?;
        let reference = source.bundle.join(REFERENCE_FILE);
        let reference = match reference.is_file() {
            true => Some(ReferenceScores::load(&reference, glow.manifest())?),
            false => None,
        };
        let (name, listener) = (source.name.clone(), Arc::clone(metrics));
        let queue = SchedulerOptions::new()
            .max_queue(options.queue)
            .warm_up(true)
            .on_batch(move |batch| listener.batch(&name, batch));
        Ok(Self {
            name: source.name.clone(),
            scheduler: Scheduler::new(glow, queue)?,
            queue: options.queue,
            metrics: Arc::clone(metrics),
            attributes,
            reference,
            latents: Cache::new(options.latent_cache),
        })
    }

    pub fn glow(&self) -> &Glow {
        self.scheduler.glow()
    }

    pub fn manifest(&self) -> &Manifest {
        self.glow().manifest()
    }

    pub fn architecture(&self) -> &Architecture {
        self.glow().architecture()
    }

    /// Runs a job in the queue. If this future is dropped, as when a client departs, what has not begun of the job is
    /// not computed.
    pub async fn run<T: Send + 'static>(&self, job: Job<T>, deadline: Deadline) -> Result<T, Problem> {
        let mut outcome = Outcome { loaded: self, result: JobResult::Departed };
        let result = match self.scheduler.submit(job.within(deadline.left())) {
            Ok(ticket) => match tokio::time::timeout_at(deadline.instant(), ticket).await {
                Ok(result) => result,
                Err(_) => Err(Error::Deadline),
            },
            Err(error) => Err(error),
        };
        outcome.result = match &result {
            Ok(_) => JobResult::Done,
            Err(Error::Overloaded { .. }) => JobResult::Overloaded,
            Err(Error::Deadline) => JobResult::Expired,
            Err(Error::Cancelled) => JobResult::Departed,
            Err(
                Error::Option { .. } | Error::Shape { .. } | Error::Labels { .. } | Error::NonFinite { .. },
            ) => JobResult::Refused,
            Err(_) => JobResult::Failed,
        };
        result.map_err(|error| self.problem(error))
    }

    /// Refuses a request for a picture before any work is done for it, if the decoder's queue is full.
    pub fn check_room(&self) -> Result<(), Problem> {
        for (graph, counters) in self.scheduler.counters() {
            if graph == GraphKind::Decoder && counters.waiting >= self.queue {
                self.metrics.job(&self.name, JobResult::Overloaded);
                return Err(self.problem(Error::Overloaded { waiting: counters.waiting, limit: self.queue }));
            }
        }
        Ok(())
    }

    /// The problem with the time after which what waits now is done.
    fn problem(&self, error: Error) -> Problem {
        let mut problem = Problem::from(error);
        if problem.kind == "overloaded" {
            let seconds = |(_, c): &(_, glow_runtime::Counters)| {
                c.ran.as_secs_f64() / c.images.max(1) as f64 * c.waiting as f64
            };
            let longest = self.scheduler.counters().iter().map(seconds).fold(0.0, f64::max);
            problem.retry_after = Some((longest.ceil() as u64).clamp(1, 60));
        }
        problem
    }

    /// Writes what waits and runs into the metrics.
    pub fn report(&self) {
        for (graph, counters) in self.scheduler.counters() {
            self.metrics.set_queue(&self.name, graph, counters.waiting, counters.running);
        }
    }
}

/// Counts what became of a job, also where its future is dropped.
struct Outcome<'a> {
    loaded: &'a Loaded,
    result: JobResult,
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        self.loaded.metrics.job(&self.loaded.name, self.result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_addresses() {
        for good in ["faces", "faces-64.v2_x"] {
            assert!(ModelSource::new(good, "x").check().is_ok());
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(matches!(ModelSource::new(bad, "x").check(), Err(ServeError::Name { .. })), "{bad}");
        }
        for (folder, name) in [("runs/my faces", "my_faces"), ("photos.glow", "photos.glow"), ("/", "model")]
        {
            let source = ModelSource::of_folder(folder);
            assert_eq!(source.name(), name);
            assert!(source.check().is_ok());
        }
    }
}
