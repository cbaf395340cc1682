//! One of the bundle's two graphs, ready to run.
use crate::error::RunFailure;
use crate::ports::{self, Input, Output, Owned, PerLevel, Port};
use crate::provider::Provider;
use crate::queue::Queue;
use crate::session::{Model, SessionOptions};
use crate::worker::Worker;
use crate::{Architecture, Error, GraphKind};
use std::sync::atomic::{AtomicBool, Ordering};

/// A graph whose inputs and outputs have been checked against the architecture, and the sessions that
/// run it.
pub(crate) struct Graph {
    kind: GraphKind,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    workers: Queue<Worker>,
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
        let (inputs, outputs) = ports::of(kind, architecture);
        let mut workers = Vec::new();
        for _ in 0..sessions {
            let session = model.session(&inputs, options)?;
            for (ports, outlets, side) in
                [(&inputs, session.inputs(), "input"), (&outputs, session.outputs(), "output")]
            {
                ports::check(ports, outlets, side, options.batch)
                    .map_err(|reason| Error::Graph { path: model.path.clone(), reason })?;
            }
            workers.push(Worker::new(session, model, options));
        }
        let filling = Filling::of(options);
        Ok(Self {
            kind,
            inputs,
            outputs,
            workers: Queue::new(workers),
            filling,
            lost: AtomicBool::new(false),
        })
    }

    /// What goes in.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What comes out.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
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

    /// Runs `n` images in chunks, and gives one [`Output`] for each of the graph's.
    pub fn run(&self, inputs: &[Input<'_>], n: usize, chunk: usize) -> Result<PerLevel<Output>, Error> {
        let mut outputs: PerLevel<Output> =
            self.outputs.iter().map(|port| Output::for_images(port, n)).collect();
        for begin in (0..n).step_by(chunk) {
            let range = begin..n.min(begin + chunk);
            let batch = self.filling.batch(range.len(), chunk);
            // Other callers have their turn between two chunks.
            let mut worker = self.workers.take();
            self.health()?;
            let ports = (&self.inputs[..], &self.outputs[..]);
            worker.run(ports, inputs, range, batch, &mut outputs).map_err(|error| self.failed(error))?;
        }
        Ok(outputs)
    }

    /// Runs each batch size once in every session, on zeros, so that no later call pays for what a
    /// first one does.
    pub fn warm_up(&self, batches: &[usize], chunk: usize) -> Result<(), Error> {
        let mut all: Vec<_> = std::iter::from_fn(|| self.workers.try_take()).collect();
        for &batch in batches {
            let images = batch.min(chunk);
            let zeros: Vec<Owned> = self.inputs.iter().map(|port| Owned::zeros(port, images)).collect();
            let inputs: Vec<Input<'_>> = zeros.iter().map(Owned::input).collect();
            let batch = self.filling.batch(images, chunk);
            for worker in &mut all {
                let mut outputs: Vec<Output> = self.outputs.iter().map(|_| Output::default()).collect();
                let ports = (&self.inputs[..], &self.outputs[..]);
                worker
                    .run(ports, &inputs, 0..images, batch, &mut outputs)
                    .map_err(|error| self.failed(error))?;
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
    use crate::device::fake::Poisoned;
    use crate::library;
    use crate::{Glow, GlowBuilder};
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn accelerators_see_few_batch_sizes() {
        let batches = |filling: Filling| [1, 2, 3, 5, 8, 9, 23, 24].map(|n| filling.batch(n, 24));
        assert_eq!(batches(Filling::No), [1, 2, 3, 5, 8, 9, 23, 24]);
        assert_eq!(batches(Filling::PowersOfTwo { least: 1 }), [1, 2, 4, 8, 8, 16, 24, 24]);
        assert_eq!(batches(Filling::PowersOfTwo { least: 4 }), [4, 4, 4, 8, 8, 16, 24, 24]);
    }

    fn bundle() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/bundle"))
    }

    fn decoder(device: Option<Arc<Poisoned>>) -> Graph {
        let glow: Glow = GlowBuilder::default().load(bundle()).unwrap();
        let options = SessionOptions {
            library: library::start(None, library::Preference::Usual).unwrap(),
            providers: vec![Provider::Cpu],
            threads: 1,
            spinning: false,
            cache: None,
            int8: false,
            map: true,
            trim: false,
            batch: None,
            device: device.map(|device| device as _),
        };
        let path = bundle().join(GraphKind::Decoder.file());
        let model = Model { path, constants: None, prepacked: None, optimised: false };
        Graph::load(&model, GraphKind::Decoder, glow.architecture(), &options, 1).unwrap()
    }

    /// Every number that comes from a device has been there in this very run.
    #[test]
    fn nothing_is_left_of_a_device_but_what_it_computed() {
        let device = Arc::new(Poisoned::default());
        let (host, other) = (decoder(None), decoder(Some(Arc::clone(&device))));
        other.warm_up(&[3], 4).unwrap();
        for (n, chunk, seed) in [(3, 4, 1), (1, 4, 2), (3, 4, 3), (11, 4, 4), (5, 3, 5), (0, 4, 6)] {
            let level = |size: usize, seed: usize| -> Vec<f32> {
                (0..n * size).map(|i| ((i * 37 + seed * 101) % 19) as f32 / 9.5 - 1.0).collect()
            };
            let levels = [level(96, seed), level(96, seed + 1)];
            let inputs = [Input::Floats(&levels[0]), Input::Floats(&levels[1])];
            let [expected, actual] = [&host, &other].map(|graph| graph.run(&inputs, n, chunk).unwrap());
            for (expected, actual) in expected.iter().zip(&actual) {
                assert_eq!(
                    (&expected.bytes, &expected.floats),
                    (&actual.bytes, &actual.floats),
                    "{n} images"
                );
            }
        }
        let [up, down] = [&device.uploads, &device.downloads].map(|count| count.load(Ordering::Relaxed));
        assert!(up > 0 && up == down);
    }
}
