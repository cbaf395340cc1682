//! A worker on a thread of its own.
use crate::ports::{Input, Output, Owned, PerLevel, Ports};
use crate::worker::{Work, Worker};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// All that has to do with a GPU's session happens on one thread, from the first run to the end: ONNX Runtime keeps
/// captured graphs, streams and handles of cuDNN and cuBLAS for each thread that runs a session.
pub(crate) struct WorkerThread {
    /// The worker ends when this is dropped.
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    /// Goes back and forth, so that a call allocates nothing.
    inputs: PerLevel<Owned>,
}

struct Job {
    inputs: PerLevel<Owned>,
    work: Work,
    outputs: PerLevel<Output>,
}

struct Done {
    inputs: PerLevel<Owned>,
    outputs: PerLevel<Output>,
    result: ort::Result<()>,
}

impl WorkerThread {
    pub fn start(worker: Worker, ports: &Ports, name: String) -> std::io::Result<Self> {
        let inputs = ports.inputs.iter().map(|port| Owned::zeros(port, 0)).collect();
        let (jobs, next) = channel::<Job>();
        let (finished, done) = channel();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let mut worker = worker;
            for Job { inputs, work, mut outputs } in next {
                let slices: PerLevel<Input<'_>> = inputs.iter().map(Owned::input).collect();
                let result = worker.run(&slices, &work, &mut outputs);
                drop(slices);
                if finished.send(Done { inputs, outputs, result }).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread), inputs })
    }

    /// As [`Worker::run`], on the worker's thread.
    pub fn run(
        &mut self,
        ports: &Ports,
        inputs: &[Input<'_>],
        work: &Work,
        outputs: &mut PerLevel<Output>,
    ) -> ort::Result<()> {
        let mut copies = std::mem::take(&mut self.inputs);
        for ((copy, port), input) in copies.iter_mut().zip(&ports.inputs).zip(inputs) {
            copy.clear();
            copy.extend(input, work.range.start * port.size()..work.range.end * port.size());
        }
        let work = Work { range: 0..work.range.len(), ..work.clone() };
        let job = Job { inputs: copies, work, outputs: std::mem::take(outputs) };
        let ended = || {
            // The thread panicked, and took the session with it.
            let message = "the thread that ran this session has ended";
            ort::Error::new_with_code(ort::ErrorCode::DeviceReset, message)
        };
        self.jobs.as_ref().expect("there until it is dropped").send(job).map_err(|_| ended())?;
        let done = self.done.recv().map_err(|_| ended())?;
        (self.inputs, *outputs) = (done.inputs, done.outputs);
        done.result
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Whoever drops the model finds the device's memory free. A thread that panicked has told why.
            let _ = thread.join();
        }
    }
}
