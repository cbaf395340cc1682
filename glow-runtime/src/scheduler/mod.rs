//! Merging the calls of many callers into batches.
mod counters;
mod job;
mod threads;
mod ticket;
mod waiting;

pub use counters::{Batch, Counters};
pub use job::Job;
pub use ticket::Ticket;

use crate::{Error, Glow, GraphKind};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use threads::Threads;

/// A queue in front of a [`Glow`], for services: what waits is merged into batches, which take less time an
/// image than single images do, and each caller gets the same bits as without it.
///
/// ```
/// use glow_runtime::{Error, Glow, Job, SampleOptions, Scheduler, SchedulerOptions};
/// use std::time::Duration;
///
/// # let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/bundle");
/// let scheduler = Scheduler::new(Glow::load(bundle)?, SchedulerOptions::new().max_queue(100))?;
///
/// // From any thread. In async code, `.await` the ticket instead of waiting for it.
/// let job = Job::sample(3, SampleOptions::new().seed(1)).within(Duration::from_secs(10));
/// match scheduler.submit(job) {
///     Ok(ticket) => assert_eq!(ticket.wait()?.dim(), (3, 8, 8, 3)),
///     Err(Error::Overloaded { .. }) => println!("try again later"),
///     Err(error) => return Err(error),
/// }
/// # Ok::<(), Error>(())
/// ```
///
/// # How it works
/// - Each graph has a queue, and as many threads as [sessions](crate::GlowBuilder::sessions). A thread that is free
///   takes what waits at once: as many images as there are, cut to a power of two and to
///   [`max_batch`](SchedulerOptions::max_batch). Nothing is delayed in the hope of more, so a lone caller loses
///   nothing, and under load batches grow by themselves.
/// - Jobs take turns. One of many images goes through in several batches, with others in between.
/// - A job that is cancelled, whose ticket is dropped, or whose deadline has passed, is not computed as far as it has
///   not begun. A batch that runs is not interrupted.
/// - Arguments are checked by [`Scheduler::submit`], with the errors of the call itself.
/// - Calls to the [`Glow`] itself go on working; they share its sessions with these threads.
///
/// # Stopping
/// [`Scheduler::drain`] refuses new jobs and waits for those that were accepted. A scheduler that is dropped ends at
/// once: waiting jobs give [`Error::Stopped`], and running batches are waited for.
pub struct Scheduler {
    glow: Arc<Glow>,
    options: SchedulerOptions,
    /// Of the encoder, of the decoder; of those that are loaded.
    threads: Vec<Threads>,
}

/// Options of a [`Scheduler`].
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SchedulerOptions {
    /// The most images of a batch. Default: 8, and at most [`Glow::max_batch`]. More gain little, and have everybody
    /// wait longer for the batch that runs.
    pub max_batch: Option<usize>,
    /// The most images that may wait at each graph; a job beyond them is [`Error::Overloaded`]. Default 256.
    pub max_queue: Option<usize>,
    /// Deadline of jobs that have none of their own, from their submission on. Default none.
    pub deadline: Option<Duration>,
    /// Whether each thread runs each size of batch once before the first job, so that no caller waits for what a
    /// first run does. Default false.
    pub warm_up: bool,
    on_batch: Option<Listener>,
}

type Listener = Arc<dyn Fn(&Batch) + Send + Sync>;

const MAX_BATCH: usize = 8;
const MAX_QUEUE: usize = 256;

impl SchedulerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`SchedulerOptions::max_batch`].
    pub fn max_batch(mut self, images: usize) -> Self {
        self.max_batch = Some(images);
        self
    }

    /// Sets [`SchedulerOptions::max_queue`].
    pub fn max_queue(mut self, images: usize) -> Self {
        self.max_queue = Some(images);
        self
    }

    /// Sets [`SchedulerOptions::deadline`].
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// Sets [`SchedulerOptions::warm_up`].
    pub fn warm_up(mut self, warm_up: bool) -> Self {
        self.warm_up = warm_up;
        self
    }

    /// Is told of each batch that was run, by the thread that ran it: for histograms and traces. It should be quick:
    /// the batch's callers wait for it. If it panics, they get an error.
    pub fn on_batch(mut self, listener: impl Fn(&Batch) + Send + Sync + 'static) -> Self {
        self.on_batch = Some(Arc::new(listener));
        self
    }
}

impl fmt::Debug for SchedulerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerOptions")
            .field("max_batch", &self.max_batch)
            .field("max_queue", &self.max_queue)
            .field("deadline", &self.deadline)
            .field("warm_up", &self.warm_up)
            .finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Starts the threads for the graphs that are loaded.
    ///
    /// # Errors
    /// [`Error::Option`] for limits of 0, [`Error::Thread`] if a thread cannot be started, and [`Error::Run`] if
    /// warming up fails.
    pub fn new(glow: impl Into<Arc<Glow>>, options: SchedulerOptions) -> Result<Self, Error> {
        let glow = glow.into();
        for (option, value) in [("max_batch", options.max_batch), ("max_queue", options.max_queue)] {
            if value == Some(0) {
                return Err(Error::Option { option, value: "0".into(), allowed: "at least 1" });
            }
        }
        let max_batch = options.max_batch.unwrap_or(MAX_BATCH).min(glow.max_batch());
        let mut threads = Vec::new();
        for kind in [GraphKind::Encoder, GraphKind::Decoder] {
            if glow.graph(kind).is_ok() {
                threads.push(Threads::start(&glow, kind, max_batch, &options)?);
            }
        }
        Ok(Self { glow, options, threads })
    }

    /// Puts a job into the queue.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if the queue is full, [`Error::Option`] if the job alone is larger than the queue,
    /// [`Error::Stopped`] after [`Scheduler::drain`], [`Error::Unavailable`] once the device is lost, and what the
    /// call itself gives for arguments that do not suit the model.
    pub fn submit<T: Send + 'static>(&self, job: Job<T>) -> Result<Ticket<T>, Error> {
        job.input.check(&self.glow)?;
        let default = self.options.deadline.and_then(|time| Instant::now().checked_add(time));
        let deadline = job.deadline.or(default);
        let (ticket, completion) = Ticket::new(deadline);
        let kind = job.input.graph();
        let threads = self.threads.iter().find(|threads| threads.kind() == kind);
        let threads = threads.ok_or(Error::NotLoaded { graph: kind })?;
        threads.submit(job, deadline, completion)?;
        Ok(ticket)
    }

    /// What has happened so far, and what waits, for each graph that is loaded.
    pub fn counters(&self) -> Vec<(GraphKind, Counters)> {
        self.threads.iter().map(|threads| (threads.kind(), threads.counters())).collect()
    }

    /// The model behind the queue.
    pub fn glow(&self) -> &Arc<Glow> {
        &self.glow
    }

    /// Refuses new jobs from now on, and waits until those that were accepted are done, at most so long. Gives whether
    /// they are; those that are not go on.
    pub fn drain(&self, most: Duration) -> bool {
        self.threads.iter().for_each(Threads::refuse);
        let end = Instant::now().checked_add(most);
        self.threads.iter().all(|threads| threads.wait_until_idle(end))
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("glow", &self.glow)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
