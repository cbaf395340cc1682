//! One of the bundle's two graphs, ready to run.
use crate::error::RunFailure;
use crate::ports::{self, Input, Output, Owned, PerLevel, Port, Ports, Wanted};
use crate::provider::Provider;
use crate::queue::Queue;
use crate::session::{Model, SessionOptions};
use crate::worker::{Work, Worker};
use crate::worker_thread::WorkerThread;
use crate::{Architecture, Error, GraphKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where a worker runs.
enum Place {
    /// On the caller's thread.
    Here(Box<Worker>),
    /// On one of its own, if it computes on a device.
    Thread(Box<WorkerThread>),
}

impl Place {
    fn run(
        &mut self,
        ports: &Ports,
        inputs: &[Input<'_>],
        work: &Work,
        outputs: &mut PerLevel<Output>,
    ) -> ort::Result<()> {
        match self {
            Self::Here(worker) => worker.run(inputs, work, outputs),
            Self::Thread(thread) => thread.run(ports, inputs, work, outputs),
        }
    }
}

/// A graph whose inputs and outputs have been checked against the architecture, and the sessions that
/// run it.
pub(crate) struct Graph {
    kind: GraphKind,
    ports: Arc<Ports>,
    workers: Queue<Place>,
    filling: Filling,
    /// Set for good when the device is lost: no call can succeed any more.
    lost: AtomicBool,
}

impl Graph {
    pub fn load(
        model: &Model,
        kind: GraphKind,
        architecture: &Architecture,
        options: &SessionOptions,
        sessions: usize,
    ) -> Result<Self, Error> {
        let ports = Arc::new(ports::of(kind, architecture));
        let mut workers = Vec::new();
        for number in 0..sessions {
            let session = model.session(&ports.inputs, options)?;
            for (ports, outlets, side) in
                [(&ports.inputs, session.inputs(), "input"), (&ports.outputs, session.outputs(), "output")]
            {
                ports::check(ports, outlets, side, options.batch)
                    .map_err(|reason| Error::Graph { path: model.graph.path().into(), reason })?;
            }
            let worker = Worker::new(session, model, Arc::clone(&ports), options);
            workers.push(match options.device {
                None => Place::Here(Box::new(worker)),
                Some(_) => {
                    let thread = WorkerThread::start(worker, &ports, format!("glow-gpu-{kind}-{number}"));
                    Place::Thread(Box::new(thread.map_err(|source| Error::Thread { source })?))
                }
            });
        }
        let filling = Filling::of(options);
        Ok(Self { kind, ports, workers: Queue::new(workers), filling, lost: AtomicBool::new(false) })
    }

    /// What goes in.
    pub fn inputs(&self) -> &[Port] {
        &self.ports.inputs
    }

    /// What comes out.
    pub fn outputs(&self) -> &[Port] {
        &self.ports.outputs
    }

    /// Calls that can run at the same time.
    pub fn sessions(&self) -> usize {
        self.workers.size()
    }

    /// [`Error::Unavailable`] once the device is lost.
    pub fn health(&self) -> Result<(), Error> {
        match self.lost.load(Ordering::Relaxed) {
            true => Err(Error::Unavailable { graph: self.kind }),
            false => Ok(()),
        }
    }

    /// Runs `n` images in chunks, and gives one [`Output`] for each of the graph's, empty where it is not wanted.
    pub fn run(
        &self,
        inputs: &[Input<'_>],
        n: usize,
        chunk: usize,
        wanted: Wanted,
    ) -> Result<PerLevel<Output>, Error> {
        let output = |(i, port)| match wanted.values(i) {
            true => Output::for_images(port, n),
            false => Output::default(),
        };
        let mut outputs: PerLevel<Output> = self.ports.outputs.iter().enumerate().map(output).collect();
        for begin in (0..n).step_by(chunk) {
            let range = begin..n.min(begin + chunk);
            let batch = self.filling.batch(range.len(), chunk);
            let work = Work { range, batch, first: begin, wanted };
            // Other callers have their turn between two chunks.
            let mut worker = self.workers.take();
            self.health()?;
            worker.run(&self.ports, inputs, &work, &mut outputs).map_err(|error| self.failed(error))?;
        }
        Ok(outputs)
    }

    /// Runs each batch size once in every session, on zeros, so that no later call pays for what a
    /// first one does.
    pub fn warm_up(&self, batches: &[usize], chunk: usize) -> Result<(), Error> {
        let mut all: Vec<_> = std::iter::from_fn(|| self.workers.try_take()).collect();
        for &batch in batches {
            let images = batch.min(chunk);
            let zeros: Vec<Owned> = self.ports.inputs.iter().map(|port| Owned::zeros(port, images)).collect();
            let inputs: Vec<Input<'_>> = zeros.iter().map(Owned::input).collect();
            let batch = self.filling.batch(images, chunk);
            let work = Work { range: 0..images, batch, first: 0, wanted: Wanted::ALL };
            for worker in &mut all {
                let mut outputs = self.ports.outputs.iter().map(|_| Output::default()).collect();
                worker.run(&self.ports, &inputs, &work, &mut outputs).map_err(|error| self.failed(error))?;
            }
        }
        Ok(())
    }

    fn failed(&self, error: ort::Error) -> Error {
        let error = Error::run(self.kind)(error);
        if matches!(error, Error::Run { kind: RunFailure::DeviceLost, .. }) {
            self.lost.store(true, Ordering::Relaxed);
        }
        error
    }
}

/// How many images are run for those that there are. Accelerators prepare for each batch size that they
/// meet, which takes seconds, so there batches are filled up to a power of two. On the CPU every
/// size is as good as any other.
#[derive(Debug, Clone, Copy)]
enum Filling {
    No,
    PowersOfTwo {
        least: usize,
    },
    /// The graphs take batches of this size alone.
    Fixed(usize),
}

impl Filling {
    fn of(options: &SessionOptions) -> Self {
        if let Some(batch) = options.batch {
            return Self::Fixed(batch);
        }
        if options.device.is_none() {
            return Self::No;
        }
        let least = options.providers.iter().filter_map(Provider::batches).map(|(least, _)| least).max();
        Self::PowersOfTwo { least: least.unwrap_or(1) }
    }

    fn batch(self, images: usize, chunk: usize) -> usize {
        match self {
            Self::No => images,
            Self::Fixed(batch) => batch,
            Self::PowersOfTwo { least } => images.next_power_of_two().min(chunk).max(images).max(least),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accelerators_see_few_batch_sizes() {
        let batches = |filling: Filling| [1, 2, 3, 5, 8, 9, 23, 24].map(|n| filling.batch(n, 24));
        assert_eq!(batches(Filling::No), [1, 2, 3, 5, 8, 9, 23, 24]);
        assert_eq!(batches(Filling::PowersOfTwo { least: 1 }), [1, 2, 4, 8, 8, 16, 24, 24]);
        assert_eq!(batches(Filling::PowersOfTwo { least: 4 }), [4, 4, 4, 8, 8, 16, 24, 24]);
    }
}
