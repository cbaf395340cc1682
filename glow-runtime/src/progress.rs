//! Progress of loading, and the time that each step took.
use crate::{GraphKind, Provider};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// A step of loading; see [`GlowBuilder::on_progress`](crate::GlowBuilder::on_progress).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadStep {
    /// The weights are being hashed, in parallel with the following steps.
    Verifying,
    /// ONNX Runtime optimises the graphs for this machine.
    Preparing,
    /// The sessions of a graph are being created. Reported once a second, since a TensorRT engine that is not in
    /// the cache takes minutes to build.
    Building {
        /// The graph.
        graph: GraphKind,
        /// Time since the start of this step.
        elapsed: Duration,
    },
    /// [`Provider::Auto`] goes on to its next choice, as this provider does not work here; see
    /// [`Glow::passed_over`](crate::Glow::passed_over).
    PassedOver {
        /// The provider.
        provider: Provider,
        /// Why it does not work.
        reason: String,
    },
    /// An entry of the cache is damaged. It is removed and created again.
    CacheDamaged {
        /// The entry's folder.
        entry: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process compiles engines into the same entry of the cache. Loading continues when it is done.
    WaitingForCache {
        /// The entry's folder.
        entry: PathBuf,
    },
    /// The cache cannot be written. Loading continues as if there were none. See
    /// [`GlowBuilder::cache`](crate::GlowBuilder::cache).
    NotCached {
        /// The entry that is not made.
        entry: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no memory for files, and the temporary folder cannot be written either, so the sessions do not share the weights: each session has its own
    /// copy. Loading continues. See [`GlowBuilder::share_weights`](crate::GlowBuilder::share_weights).
    NotShared {
        /// Why the folder cannot be written.
        reason: String,
    },
    /// The batch sizes of [`GlowBuilder::warm_up`](crate::GlowBuilder::warm_up) are run.
    WarmingUp,
    /// An image is encoded and decoded; see [`GlowBuilder::check`](crate::GlowBuilder::check).
    Checking,
    /// Done.
    Ready,
}

/// The time that each step of loading took; see [`Glow::load_times`](crate::Glow::load_times).
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
    /// Optimising the graphs and writing what comes out, or reading the graphs of the cache.
    pub preparation: Duration,
    /// Making the sessions, and checking the weights of the cache at the same time.
    pub sessions: Duration,
    /// [`GlowBuilder::warm_up`](crate::GlowBuilder::warm_up).
    pub warm_up: Duration,
    /// [`GlowBuilder::check`](crate::GlowBuilder::check).
    pub check: Duration,
    /// All of it.
    pub total: Duration,
}

/// Who is told of each step, if anybody.
#[derive(Clone, Default)]
pub(crate) struct Progress(Option<Arc<dyn Fn(LoadStep) + Send + Sync>>);

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Fn(LoadStep)" } else { "None" })
    }
}

impl Progress {
    pub fn to(listener: impl Fn(LoadStep) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub fn report(&self, step: LoadStep) {
        event(&step);
        if let Some(listener) = &self.0 {
            listener(step);
        }
    }

    /// Tells once a second that the work goes on.
    pub fn during<T>(&self, graph: GraphKind, work: impl FnOnce() -> T) -> T {
        if self.0.is_none() {
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

/// A step of loading as an event: a warning if something is not as it was asked for.
fn event(step: &LoadStep) {
    #[cfg(feature = "tracing")]
    match step {
        LoadStep::PassedOver { provider, reason } => {
            tracing::warn!(target: "glow_runtime", %provider, reason, "a provider is passed over");
        }
        LoadStep::CacheDamaged { entry, reason } => {
            tracing::warn!(target: "glow_runtime", entry = %entry.display(), reason, "an entry of the cache is damaged");
        }
        LoadStep::NotCached { entry, reason } => {
            tracing::warn!(target: "glow_runtime", entry = %entry.display(), reason, "nothing is kept in the cache");
        }
        LoadStep::NotShared { reason } => {
            tracing::warn!(target: "glow_runtime", reason, "the sessions do not share the weights");
        }
        step => tracing::debug!(target: "glow_runtime", ?step, "loading"),
    }
    #[cfg(not(feature = "tracing"))]
    let _ = step;
}

/// Does some work and adds its time to a sum.
pub(crate) fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = work();
    *sum += begin.elapsed();
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn work_is_reported_while_it_goes_on() {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        let progress = Progress::to(move |step| seen.lock().unwrap().push(step));
        let answer = progress.during(GraphKind::Decoder, || {
            while steps.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            42
        });
        assert_eq!(answer, 42);
        let first = &steps.lock().unwrap()[0];
        assert!(matches!(first, LoadStep::Building { graph: GraphKind::Decoder, .. }), "{first:?}");
    }
}
