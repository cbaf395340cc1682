//! One of the bundle's two graphs, ready to run.
use crate::queue::Queue;
use crate::session::{self, Model, SessionOptions, Worker};
use crate::{Architecture, Error};
use glow_models::{DECODER_FILE, ENCODER_FILE};
use ort::value::{Outlet, TensorElementType, ValueType};
use smallvec::SmallVec;
use std::fmt;

/// One of a bundle's two graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphKind {
    /// Images to latents and log-likelihoods.
    Encoder,
    /// Latents to images.
    Decoder,
}

impl fmt::Display for GraphKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        })
    }
}

impl GraphKind {
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Encoder => ENCODER_FILE,
            Self::Decoder => DECODER_FILE,
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Encoder => Self::Decoder,
            Self::Decoder => Self::Encoder,
        }
    }

    /// The builder's method that loads this graph alone.
    pub(crate) fn only(self) -> &'static str {
        match self {
            Self::Encoder => "encoder_only()",
            Self::Decoder => "decoder_only()",
        }
    }

    pub(crate) fn ports(self, architecture: &Architecture) -> (Vec<Port>, Vec<Port>) {
        let port =
            |name: &str, element, shape: &[usize]| Port { name: name.into(), element, shape: shape.into() };
        let image = [architecture.height, architecture.width, architecture.channels];
        let shapes = architecture.latent_shapes();
        let latents = shapes
            .iter()
            .enumerate()
            .map(|(level, s)| port(&format!("eps_{level}"), Element::F32, &[s.channels, s.height, s.width]));
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        match self {
            Self::Encoder => {
                inputs.extend([port("image", Element::U8, &image), port("noise", Element::F32, &image)]);
                outputs.extend(latents);
                outputs.push(port("log_prob", Element::F32, &[]));
            }
            Self::Decoder => {
                inputs.extend(latents);
                outputs.extend([port("image", Element::U8, &image), port("x", Element::F32, &image)]);
            }
        }
        if architecture.classes > 0 {
            inputs.push(port("label", Element::I64, &[]));
        }
        (inputs, outputs)
    }
}

/// Element type of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    U8,
    F32,
    I64,
}

impl Element {
    pub fn onnx(self) -> TensorElementType {
        match self {
            Self::U8 => TensorElementType::Uint8,
            Self::F32 => TensorElementType::Float32,
            Self::I64 => TensorElementType::Int64,
        }
    }
}

/// An input or output of a graph.
#[derive(Debug)]
pub(crate) struct Port {
    pub name: String,
    pub element: Element,
    /// Without the batch axis.
    pub shape: Vec<usize>,
}

/// The whole batch of one input, row-major.
pub(crate) enum Input<'a> {
    Bytes(&'a [u8]),
    Floats(&'a [f32]),
    Labels(&'a [i64]),
}

/// What is one a level, and one or two more: seldom more than this, and then on the heap.
pub(crate) type PerLevel<T> = SmallVec<[T; 8]>;

/// One output of the images run so far.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub bytes: Vec<u8>,
    pub floats: Vec<f32>,
}

/// A graph whose inputs and outputs have been checked against the architecture, and the sessions that
/// run it.
pub(crate) struct Graph {
    kind: GraphKind,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    workers: Queue<Worker>,
}

impl Graph {
    pub fn load(
        model: &Model,
        kind: GraphKind,
        architecture: &Architecture,
        options: &SessionOptions,
        sessions: usize,
    ) -> Result<Self, Error> {
        let (inputs, outputs) = kind.ports(architecture);
        let mut workers = Vec::with_capacity(sessions);
        for _ in 0..sessions {
            let session = model.session(&inputs, options)?;
            for (ports, outlets, side) in
                [(&inputs, session.inputs(), "input"), (&outputs, session.outputs(), "output")]
            {
                check_ports(ports, outlets, side)
                    .map_err(|reason| Error::Graph { path: model.path.clone(), reason })?;
            }
            workers.push(Worker::new(session, model, options));
        }
        Ok(Self { kind, inputs, outputs, workers: Queue::new(workers) })
    }

    /// Runs `n` images in chunks, and gives one [`Output`] for each of the graph's.
    pub fn run(&self, inputs: &[Input<'_>], n: usize, chunk: usize) -> Result<PerLevel<Output>, Error> {
        let mut outputs: PerLevel<Output> =
            self.outputs.iter().map(|port| Output::for_images(port, n)).collect();
        for begin in (0..n).step_by(chunk) {
            let range = begin..n.min(begin + chunk);
            // Other callers have their turn between two chunks.
            let mut worker = self.workers.take();
            let ports = (&self.inputs[..], &self.outputs[..]);
            worker.run(ports, inputs, range, &mut outputs).map_err(session::failed(self.kind))?;
        }
        Ok(outputs)
    }

    /// Runs each batch size once in every session, on zeros, so that no later call pays for what a
    /// first one does.
    pub fn warm_up(&self, batches: &[usize]) -> Result<(), Error> {
        let mut all: Vec<_> = std::iter::from_fn(|| self.workers.try_take()).collect();
        for &batch in batches {
            let zeros: Vec<Zeros> = self.inputs.iter().map(|port| Zeros::new(port, batch)).collect();
            let inputs: Vec<Input<'_>> = zeros.iter().map(Zeros::input).collect();
            for worker in &mut all {
                let mut outputs: Vec<Output> = self.outputs.iter().map(|_| Output::default()).collect();
                let ports = (&self.inputs[..], &self.outputs[..]);
                worker.run(ports, &inputs, 0..batch, &mut outputs).map_err(session::failed(self.kind))?;
            }
        }
        Ok(())
    }
}

/// An input of nothing but zeros.
pub(crate) enum Zeros {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
    Labels(Vec<i64>),
}

impl Zeros {
    pub fn new(port: &Port, batch: usize) -> Self {
        let size = batch * port.shape.iter().product::<usize>();
        match port.element {
            Element::U8 => Self::Bytes(vec![0; size]),
            Element::F32 => Self::Floats(vec![0.0; size]),
            Element::I64 => Self::Labels(vec![0; size]),
        }
    }

    fn input(&self) -> Input<'_> {
        match self {
            Self::Bytes(all) => Input::Bytes(all),
            Self::Floats(all) => Input::Floats(all),
            Self::Labels(all) => Input::Labels(all),
        }
    }
}

impl Output {
    fn for_images(port: &Port, n: usize) -> Self {
        let size = n * port.shape.iter().product::<usize>();
        match port.element {
            Element::U8 => Self { bytes: Vec::with_capacity(size), ..Default::default() },
            _ => Self { floats: Vec::with_capacity(size), ..Default::default() },
        }
    }
}

/// Compares a graph's inputs or outputs with those that the architecture needs.
fn check_ports(ports: &[Port], outlets: &[Outlet], side: &str) -> Result<(), String> {
    for port in ports {
        let Some(outlet) = outlets.iter().find(|outlet| outlet.name() == port.name) else {
            return Err(format!("it has no {side} {}", port.name));
        };
        let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
            return Err(format!("its {side} {} is not a tensor", port.name));
        };
        if *ty != port.element.onnx() {
            return Err(format!(
                "its {side} {} is of type {ty}, expected {}",
                port.name,
                port.element.onnx()
            ));
        }
        // An open dimension is negative; the batch axis must be open.
        let fits = shape.len() == 1 + port.shape.len()
            && shape[0] < 0
            && shape[1..].iter().zip(&port.shape).all(|(&actual, &n)| actual < 0 || actual == n as i64);
        if !fits {
            let expected: String = port.shape.iter().map(|n| format!(", {n}")).collect();
            return Err(format!("its {side} {} has shape {shape:?}, expected [N{expected}]", port.name));
        }
    }
    if let Some(other) = outlets.iter().find(|outlet| ports.iter().all(|port| port.name != outlet.name())) {
        return Err(format!("it has an unknown {side} {}", other.name()));
    }
    Ok(())
}
