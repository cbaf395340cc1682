//! One of the bundle's two graphs, ready to run.
use crate::library::Library;
use crate::queue::Queue;
use crate::{Architecture, Error};
use glow_models::{DECODER_FILE, ENCODER_FILE};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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

    fn ports(self, architecture: &Architecture) -> (Vec<Port>, Vec<Port>) {
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

/// How sessions are made.
#[derive(Debug, Clone)]
pub(crate) struct SessionOptions {
    pub threads: Option<usize>,
    pub spinning: bool,
}

/// Element type of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    U8,
    F32,
    I64,
}

impl Element {
    fn onnx(self) -> TensorElementType {
        match self {
            Self::U8 => TensorElementType::Uint8,
            Self::F32 => TensorElementType::Float32,
            Self::I64 => TensorElementType::Int64,
        }
    }
}

/// An input or output of a graph.
#[derive(Debug)]
struct Port {
    name: String,
    element: Element,
    /// Without the batch axis.
    shape: Vec<usize>,
}

/// The whole batch of one input, row-major.
pub(crate) enum Input<'a> {
    Bytes(&'a [u8]),
    Floats(&'a [f32]),
    Labels(&'a [i64]),
}

/// One output of the images run so far.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub bytes: Vec<u8>,
    pub floats: Vec<f32>,
}

/// A graph whose inputs and outputs have been checked against the architecture.
pub(crate) struct Graph {
    kind: GraphKind,
    path: PathBuf,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    sessions: Queue<Session>,
}

/// Sessions are created one at a time: concurrent creation has crashed ONNX Runtime.
static CREATION: Mutex<()> = Mutex::new(());

impl Graph {
    pub fn load(
        library: &Library,
        path: &Path,
        kind: GraphKind,
        architecture: &Architecture,
        options: &SessionOptions,
    ) -> Result<Self, Error> {
        let session = session(library, path, options)
            .map_err(|source| Error::Load { path: path.into(), source: source.into() })?;
        let (inputs, outputs) = kind.ports(architecture);
        for (ports, outlets, side) in
            [(&inputs, session.inputs(), "input"), (&outputs, session.outputs(), "output")]
        {
            check_ports(ports, outlets, side).map_err(|reason| Error::Graph { path: path.into(), reason })?;
        }
        Ok(Self { kind, path: path.into(), inputs, outputs, sessions: Queue::new(vec![session]) })
    }

    /// Runs the images of `range` and appends what comes out, one [`Output`] for each of the graph's.
    pub fn run(
        &self,
        inputs: &[Input<'_>],
        range: Range<usize>,
        outputs: &mut [Output],
    ) -> Result<(), Error> {
        let failed = |source: ort::Error| Error::Run { graph: self.kind, source: source.into() };
        let batch = range.len();
        let feed: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = self
            .inputs
            .iter()
            .zip(inputs)
            .map(|(port, input)| Ok((port.name.as_str().into(), part(port, input, range.clone())?)))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let mut session = self.sessions.take();
        let results = session.run(feed).map_err(failed)?;
        for (port, output) in self.outputs.iter().zip(outputs) {
            let value = &results[port.name.as_str()];
            let expected = [&[batch], &port.shape[..]].concat();
            if value.shape().iter().map(|&n| n as usize).ne(expected.iter().copied()) {
                let (name, actual) = (&port.name, value.shape());
                return Err(Error::Graph {
                    path: self.path.clone(),
                    reason: format!("its output {name} came out as {actual:?}, expected {expected:?}"),
                });
            }
            match port.element {
                Element::U8 => output.bytes.extend_from_slice(value.try_extract_tensor().map_err(failed)?.1),
                _ => output.floats.extend_from_slice(value.try_extract_tensor().map_err(failed)?.1),
            }
        }
        Ok(())
    }
}

fn session(library: &Library, path: &Path, options: &SessionOptions) -> ort::Result<Session> {
    let _one_at_a_time = CREATION.lock().unwrap_or_else(PoisonError::into_inner);
    let mut builder = Session::builder(&library.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_op_spinning(options.spinning)?
        .with_inter_op_spinning(options.spinning)?;
    if let Some(threads) = options.threads {
        builder = builder.with_intra_threads(threads)?;
    }
    builder.commit_from_file(path)
}

/// The tensor of some of the images, in place.
fn part<'a>(port: &Port, input: &Input<'a>, images: Range<usize>) -> ort::Result<SessionInputValue<'a>> {
    let shape: Vec<usize> = [&[images.len()], &port.shape[..]].concat();
    let size: usize = port.shape.iter().product();
    let elements = images.start * size..images.end * size;
    Ok(match input {
        Input::Bytes(all) => TensorRef::from_array_view((shape, &all[elements]))?.into(),
        Input::Floats(all) => TensorRef::from_array_view((shape, &all[elements]))?.into(),
        Input::Labels(all) => TensorRef::from_array_view((shape, &all[elements]))?.into(),
    })
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
