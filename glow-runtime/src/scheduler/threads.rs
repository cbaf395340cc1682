//! The threads that run a graph's batches, and the state that they share with the callers.
use super::counters::{Batch, Counters};
use super::job::{Job, JobInput};
use super::ticket::Completion;
use super::waiting::{Item, Part, Waiting, sizes};
use super::{Listener, MAX_QUEUE, SchedulerOptions};
use crate::error::RunFailure;
use crate::graph::Graph;
use crate::ports::{Input, Output, Owned, PerLevel, Wanted};
use crate::trace::{Origin, span};
use crate::{Error, Glow, GraphKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The threads of one graph.
pub(super) struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

struct Shared {
    glow: Arc<Glow>,
    kind: GraphKind,
    max_batch: usize,
    max_queue: usize,
    on_batch: Option<Listener>,
    state: Mutex<State>,
    /// Something waits, or the threads are to end.
    work: Condvar,
    /// Nothing waits, and nothing runs.
    idle: Condvar,
}

struct State {
    waiting: Waiting<Pending>,
    counters: Counters,
    phase: Phase,
}

#[derive(PartialEq, PartialOrd)]
enum Phase {
    Open,
    /// New jobs are refused.
    Draining,
    /// Threads end.
    Ended,
}

/// A job that was accepted.
struct Pending {
    input: JobInput,
    deadline: Option<Instant>,
    submitted: Instant,
    /// Where it was submitted.
    origin: Origin,
    cancelled: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether it has got its result.
    ended: AtomicBool,
    progress: Mutex<Progress>,
}

struct Progress {
    /// One for each of the graph's outputs, of all images; empty if it is not wanted.
    outputs: PerLevel<Output>,
    /// Images that are not done.
    left: usize,
    /// Taken by whoever ends the job.
    end: Option<Box<End>>,
}

/// Gives the ticket its result; says whether that is an error.
type End = dyn FnOnce(&Glow, &JobInput, Result<PerLevel<Output>, Error>) -> bool + Send;

impl Item for Pending {
    fn images(&self) -> usize {
        self.input.images()
    }

    fn is_over(&self, now: Instant) -> bool {
        self.is_late(now) || (self.cancelled)() || self.ended.load(Ordering::Relaxed)
    }
}

impl Pending {
    fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    // Nothing panics while the lock is held, so that a poisoned state is still a valid one.
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what ends the job, if nobody did.
    fn take_end(&self) -> Option<Box<End>> {
        self.ended.store(true, Ordering::Relaxed);
        self.progress().end.take()
    }
}

impl Threads {
    pub fn start(
        glow: &Arc<Glow>,
        kind: GraphKind,
        max_batch: usize,
        options: &SchedulerOptions,
    ) -> Result<Self, Error> {
        let state = State { waiting: Waiting::new(), counters: Counters::default(), phase: Phase::Open };
        let shared = Arc::new(Shared {
            glow: Arc::clone(glow),
            kind,
            max_batch,
            max_queue: options.max_queue.unwrap_or(MAX_QUEUE),
            on_batch: options.on_batch.clone(),
            state: Mutex::new(state),
            work: Condvar::new(),
            idle: Condvar::new(),
        });
        let mut threads = Self { shared, handles: Vec::new() };
        let (warm, is_warm) = mpsc::channel();
        for number in 0..glow.graph(kind)?.sessions() {
            let (shared, warm, warm_up) = (Arc::clone(&threads.shared), warm.clone(), options.warm_up);
            let builder = std::thread::Builder::new().name(format!("glow-{kind}-{number}"));
            let handle = builder.spawn(move || {
                // Whoever waits for it may have given up.
                let _ = warm.send(if warm_up { shared.warm_up() } else { Ok(()) });
                drop(warm);
                shared.serve();
            });
            threads.handles.push(handle.map_err(|source| Error::Thread { source })?);
        }
        drop(warm);
        is_warm.iter().collect::<Result<(), Error>>()?;
        Ok(threads)
    }

    pub fn kind(&self) -> GraphKind {
        self.shared.kind
    }

    pub fn submit<T: Send + 'static>(
        &self,
        job: Job<T>,
        deadline: Option<Instant>,
        completion: Completion<T>,
    ) -> Result<(), Error> {
        let Job { input, finish, .. } = job;
        let (images, limit) = (input.images(), self.shared.max_queue);
        if images > limit {
            let value = images.to_string();
            return Err(Error::Option {
                option: "images of the job",
                value,
                allowed: "what the queue may hold",
            });
        }
        let pending = Pending {
            deadline,
            submitted: Instant::now(),
            origin: Origin::here(),
            cancelled: Box::new(completion.cancelled()),
            ended: AtomicBool::new(false),
            progress: Mutex::new(Progress {
                outputs: self.shared.outputs(&input),
                left: images,
                end: Some(Box::new(move |glow, input, outputs| {
                    let result = outputs.and_then(|outputs| finish(glow, input, outputs));
                    let failed = result.is_err();
                    completion.complete(result);
                    failed
                })),
            }),
            input,
        };
        let mut state = self.shared.lock();
        if state.phase != Phase::Open {
            return Err(Error::Stopped);
        }
        if images == 0 {
            state.counters.accepted += 1;
            drop(state);
            self.shared.end(&pending, Ok(()));
            return Ok(());
        }
        let mut over = Vec::new();
        if state.waiting.images() + images > limit {
            // Those who left make room.
            over = state.take_over(Instant::now());
        }
        let waiting = state.waiting.images();
        let full = waiting + images > limit;
        if full {
            state.counters.overloaded += 1;
        } else {
            state.counters.accepted += 1;
            state.waiting.push(Arc::new(pending));
        }
        drop(state);
        self.shared.give_up(over);
        if full {
            return Err(Error::Overloaded { waiting, limit });
        }
        self.shared.work.notify_one();
        Ok(())
    }

    pub fn counters(&self) -> Counters {
        let state = self.shared.lock();
        Counters { waiting: state.waiting.images(), ..state.counters.clone() }
    }

    pub fn refuse(&self) {
        let mut state = self.shared.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Draining;
        }
    }

    /// Waits until nothing waits or runs; gives whether that is so.
    pub fn wait_until_idle(&self, end: Option<Instant>) -> bool {
        let mut state = self.shared.lock();
        while !state.is_idle() {
            let left = match end {
                None => Duration::MAX,
                Some(end) => end.saturating_duration_since(Instant::now()),
            };
            if left.is_zero() {
                return false;
            }
            let idle = &self.shared.idle;
            state = idle.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.phase = Phase::Ended;
        let jobs = state.waiting.take_all();
        drop(state);
        self.shared.work.notify_all();
        for job in jobs {
            self.shared.end(&job, Err(Error::Stopped));
        }
        for handle in self.handles.drain(..) {
            // A thread that panicked has told why.
            let _ = handle.join();
        }
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.images() == 0 && self.counters.running == 0
    }

    /// Takes out what need not be done any more.
    fn take_over(&mut self, now: Instant) -> Vec<Arc<Pending>> {
        let over = self.waiting.take_over(now);
        // What has ended, by a failure, is counted already.
        for job in over.iter().filter(|job| !job.ended.load(Ordering::Relaxed)) {
            let late = job.is_late(now);
            let counter = if late { &mut self.counters.expired } else { &mut self.counters.cancelled };
            *counter += 1;
        }
        over
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn graph(&self) -> &Graph {
        self.glow.graph(self.kind).expect("threads are started for graphs that are loaded")
    }

    /// Room for what the graph gives for a job.
    fn outputs(&self, input: &JobInput) -> PerLevel<Output> {
        let ports = self.graph().outputs();
        let wanted = input.wanted(ports.len());
        let output = |(i, port)| match wanted.values(i) {
            true => Output::zeros(port, input.images()),
            false => Output::default(),
        };
        ports.iter().enumerate().map(output).collect()
    }

    fn warm_up(&self) -> Result<(), Error> {
        for images in sizes(self.max_batch) {
            let zeros: Vec<Owned> =
                self.graph().inputs().iter().map(|port| Owned::zeros(port, images)).collect();
            let inputs: Vec<Input<'_>> = zeros.iter().map(Owned::input).collect();
            self.graph().run(&inputs, images, images, Wanted::ALL)?;
        }
        Ok(())
    }

    /// Runs batches until the scheduler ends.
    fn serve(&self) {
        let mut inputs: Vec<Owned> = self.graph().inputs().iter().map(|port| Owned::zeros(port, 0)).collect();
        while let Some(parts) = self.next() {
            let images: usize = parts.iter().map(|(_, range)| range.len()).sum();
            // A listener that panics must not leave the others waiting for ever.
            let run = AssertUnwindSafe(|| self.run(&parts, images, &mut inputs));
            if catch_unwind(run).is_err() {
                for (job, _) in &parts {
                    let source = "a thread panicked while it ran the batch".into();
                    let kind = RunFailure::Other;
                    self.end(job, Err(Error::Run { graph: self.kind, kind, source }));
                }
            }
            // Only now, so that whoever waits for all to be done finds it so.
            let mut state = self.lock();
            state.counters.running -= images;
            if state.is_idle() {
                self.idle.notify_all();
            }
        }
    }

    /// Waits for a batch; `None` when the scheduler ends.
    fn next(&self) -> Option<Vec<Part<Pending>>> {
        let mut state = self.lock();
        loop {
            let over = state.take_over(Instant::now());
            if !over.is_empty() {
                drop(state);
                self.give_up(over);
                state = self.lock();
            }
            let parts = state.waiting.draw(self.max_batch);
            if !parts.is_empty() {
                state.counters.running += parts.iter().map(|(_, range)| range.len()).sum::<usize>();
                if state.waiting.images() > 0 {
                    // Another thread may be free for the rest.
                    self.work.notify_one();
                }
                return Some(parts);
            }
            if state.is_idle() {
                self.idle.notify_all();
            }
            if state.phase == Phase::Ended {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Runs a batch and gives each job its part.
    fn run(&self, parts: &[Part<Pending>], images: usize, inputs: &mut [Owned]) {
        let begin = Instant::now();
        span!(DEBUG, "batch", graph = %self.kind, images, jobs = parts.len(), waited = ?longest_wait(parts, begin));
        parts.iter().for_each(|(job, _)| job.origin.is_followed());
        inputs.iter_mut().for_each(Owned::clear);
        for (job, range) in parts {
            job.input.append(&self.glow, range.clone(), inputs);
        }
        let slices: PerLevel<Input<'_>> = inputs.iter().map(Owned::input).collect();
        let outputs = self.graph().outputs().len();
        let wanted = parts.iter().map(|(job, _)| job.input.wanted(outputs));
        let wanted = wanted.fold(Wanted::default(), Wanted::and);
        let result = self.graph().run(&slices, images, images, wanted);
        drop(slices);
        let ran = begin.elapsed();
        let succeeded = result.is_ok();
        let first = parts.iter().filter(|(_, range)| range.start == 0);
        let waited: Vec<Duration> =
            first.map(|(job, _)| begin.saturating_duration_since(job.submitted)).collect();
        {
            let mut state = self.lock();
            state.counters.images += images as u64;
            *state.counters.batches.entry(images).or_default() += 1;
            state.counters.ran += ran;
            state.counters.waited += waited.iter().sum::<Duration>();
        }
        if let Some(listener) = &self.on_batch {
            let (graph, jobs) = (self.kind, parts.len());
            listener(&Batch { graph, images, jobs, waited, ran, succeeded });
        }
        let mut place = 0;
        for (job, range) in parts {
            match &result {
                Ok(outputs) => {
                    if job.take_part(self.graph(), outputs, place, range.clone()) {
                        self.end(job, Ok(()));
                    }
                }
                Err(error) => self.end(job, Err(again(error))),
            }
            place += range.len();
        }
    }

    /// Ends a job that is done or failed, unless it has ended before.
    fn end(&self, job: &Pending, result: Result<(), Error>) {
        let Some(end) = job.take_end() else { return };
        let outputs = result.map(|()| std::mem::take(&mut job.progress().outputs));
        let failed = end(&self.glow, &job.input, outputs);
        let counters = &mut self.lock().counters;
        *(if failed { &mut counters.failed } else { &mut counters.completed }) += 1;
    }

    /// Ends jobs that need not be done any more, and are counted already.
    fn give_up(&self, over: Vec<Arc<Pending>>) {
        let now = Instant::now();
        for job in over {
            let error = if job.is_late(now) { Error::Deadline } else { Error::Cancelled };
            if let Some(end) = job.take_end() {
                end(&self.glow, &job.input, Err(error));
            }
        }
    }
}

impl Pending {
    /// Copies the images of `range` from the batch, where they begin at `place`; gives whether the job is done.
    fn take_part(
        &self,
        graph: &Graph,
        batch: &[Output],
        place: usize,
        range: std::ops::Range<usize>,
    ) -> bool {
        let mut progress = self.progress();
        // A job that has ended has no use for it.
        if progress.end.is_none() {
            return false;
        }
        for ((port, from), to) in graph.outputs().iter().zip(batch).zip(&mut progress.outputs) {
            to.copy(port, range.start, from, place, range.len());
        }
        progress.left -= range.len();
        progress.left == 0
    }
}

/// Of the jobs that begin with a batch.
#[cfg(feature = "tracing")]
fn longest_wait(parts: &[Part<Pending>], begin: Instant) -> Duration {
    let first = parts.iter().filter(|(_, range)| range.start == 0);
    first.map(|(job, _)| begin.saturating_duration_since(job.submitted)).max().unwrap_or_default()
}

/// The error once more, for another job of the same batch.
fn again(error: &Error) -> Error {
    match error {
        Error::Run { graph, kind, source } => {
            Error::Run { graph: *graph, kind: *kind, source: source.clone() }
        }
        Error::Unavailable { graph } => Error::Unavailable { graph: *graph },
        // A graph gives no others.
        _ => Error::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, OnnxRuntimeCode, library};

    #[test]
    fn every_job_of_a_batch_learns_the_code() {
        // The binding makes errors through the library.
        library::start(None, library::Preference::Usual).unwrap();
        let graph = GraphKind::Decoder;
        let first =
            Error::run(graph)(ort::Error::new_with_code(ort::ErrorCode::RuntimeException, "bad_alloc"));
        let second = again(&first);
        for error in [&first, &second] {
            assert_eq!(error.kind(), ErrorKind::Memory);
            assert_eq!(error.onnxruntime_code(), Some(OnnxRuntimeCode::RuntimeException));
        }
        assert_eq!(first.with_causes(), second.with_causes());
    }
}
