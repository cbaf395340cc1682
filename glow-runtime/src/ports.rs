//! Inputs and outputs of the graphs: what the architecture says they are, and the numbers that go through them.
use crate::{Architecture, GraphKind};
use ort::value::{Outlet, TensorElementType, ValueType};
use smallvec::SmallVec;

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

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F32 => 4,
            Self::I64 => 8,
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

impl Port {
    /// Numbers an image.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What goes into a graph, and what comes out of it.
#[derive(Debug)]
pub(crate) struct Ports {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// What a caller wants of each output, by its number: its values, whether they are finite, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    values: u64,
    checked: u64,
}

impl Wanted {
    pub const ALL: Self = Self { values: u64::MAX, checked: 0 };

    /// The images of the decoder. The numbers that they are rounded from are looked through, and left.
    pub const IMAGES: Self = Self { values: 1, checked: 2 };

    /// The last output of so many: the encoder's likelihoods, without the latents.
    pub fn last(outputs: usize) -> Self {
        Self { values: 1 << (outputs - 1), checked: 0 }
    }

    /// Whether the values of an output are.
    pub fn values(self, output: usize) -> bool {
        self.values >> output & 1 == 1
    }

    /// Whether an output must come back at all.
    pub fn needs(self, output: usize) -> bool {
        (self.values | self.checked) >> output & 1 == 1
    }

    /// What either wants.
    pub fn and(self, other: Self) -> Self {
        Self { values: self.values | other.values, checked: self.checked | other.checked }
    }
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
    /// The images with numbers that are NaN or infinite.
    pub non_finite: Vec<usize>,
}

/// A batch of one input that is put together here.
pub(crate) enum Owned {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
    Labels(Vec<i64>),
}

impl Owned {
    /// Zeros for so many images.
    pub fn zeros(port: &Port, images: usize) -> Self {
        let size = images * port.size();
        match port.element {
            Element::U8 => Self::Bytes(vec![0; size]),
            Element::F32 => Self::Floats(vec![0.0; size]),
            Element::I64 => Self::Labels(vec![0; size]),
        }
    }

    pub fn input(&self) -> Input<'_> {
        match self {
            Self::Bytes(all) => Input::Bytes(all),
            Self::Floats(all) => Input::Floats(all),
            Self::Labels(all) => Input::Labels(all),
        }
    }

    /// Appends some numbers.
    pub fn extend(&mut self, input: &Input<'_>, numbers: std::ops::Range<usize>) {
        match (self, input) {
            (Self::Bytes(to), Input::Bytes(from)) => to.extend_from_slice(&from[numbers]),
            (Self::Floats(to), Input::Floats(from)) => to.extend_from_slice(&from[numbers]),
            (Self::Labels(to), Input::Labels(from)) => to.extend_from_slice(&from[numbers]),
            _ => unreachable!("both are of the port's type"),
        }
    }

    /// Takes everything out, and keeps the memory.
    pub fn clear(&mut self) {
        match self {
            Self::Bytes(all) => all.clear(),
            Self::Floats(all) => all.clear(),
            Self::Labels(all) => all.clear(),
        }
    }

    pub fn bytes(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Bytes(all) => all,
            _ => unreachable!("the input is of bytes"),
        }
    }

    pub fn floats(&mut self) -> &mut Vec<f32> {
        match self {
            Self::Floats(all) => all,
            _ => unreachable!("the input is of floats"),
        }
    }

    pub fn labels(&mut self) -> &mut Vec<i64> {
        match self {
            Self::Labels(all) => all,
            _ => unreachable!("the input is of labels"),
        }
    }
}

impl Output {
    /// Zeros for so many images.
    pub fn zeros(port: &Port, images: usize) -> Self {
        let size = images * port.size();
        match port.element {
            Element::U8 => Self { bytes: vec![0; size], ..Default::default() },
            _ => Self { floats: vec![0.0; size], ..Default::default() },
        }
    }

    /// Copies images from another output of the port, unless this one holds none.
    pub fn copy(&mut self, port: &Port, to: usize, other: &Self, from: usize, images: usize) {
        fn part<T: Copy>(to: &mut [T], begin: usize, other: &[T], from: usize, size: usize) {
            if !to.is_empty() {
                to[begin..begin + size].copy_from_slice(&other[from..from + size]);
            }
        }
        let of_these = other.non_finite.iter().filter(|&&image| (from..from + images).contains(&image));
        self.non_finite.extend(of_these.map(|image| image - from + to));
        let [to, from, size] = [to, from, images].map(|images| images * port.size());
        match port.element {
            Element::U8 => part(&mut self.bytes, to, &other.bytes, from, size),
            _ => part(&mut self.floats, to, &other.floats, from, size),
        }
    }

    pub fn for_images(port: &Port, n: usize) -> Self {
        let size = n * port.size();
        match port.element {
            Element::U8 => Self { bytes: Vec::with_capacity(size), ..Default::default() },
            _ => Self { floats: Vec::with_capacity(size), ..Default::default() },
        }
    }
}

/// The inputs and the outputs of a graph.
pub(crate) fn of(kind: GraphKind, architecture: &Architecture) -> Ports {
    let port =
        |name: &str, element, shape: &[usize]| Port { name: name.into(), element, shape: shape.into() };
    let image = [architecture.height, architecture.width, architecture.channels];
    let shapes = architecture.latent_shapes();
    let latents = shapes
        .iter()
        .enumerate()
        .map(|(level, s)| port(&format!("eps_{level}"), Element::F32, &[s.channels, s.height, s.width]));
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    match kind {
        GraphKind::Encoder => {
            inputs.extend([port("image", Element::U8, &image), port("noise", Element::F32, &image)]);
            outputs.extend(latents);
            outputs.push(port("log_prob", Element::F32, &[]));
        }
        GraphKind::Decoder => {
            inputs.extend(latents);
            outputs.extend([port("image", Element::U8, &image), port("x", Element::F32, &image)]);
        }
    }
    if architecture.classes > 0 {
        inputs.push(port("label", Element::I64, &[]));
    }
    Ports { inputs, outputs }
}

/// Compares a graph's inputs or outputs with those that the architecture needs.
/// `batch` is the only batch size, if the manifest says one.
pub(crate) fn check(
    ports: &[Port],
    outlets: &[Outlet],
    side: &str,
    batch: Option<usize>,
) -> Result<(), String> {
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
        // An open dimension is negative; the batch axis must be open, or what the manifest says.
        let fits = shape.len() == 1 + port.shape.len()
            && batch.map_or(shape[0] < 0, |batch| shape[0] == batch as i64)
            && shape[1..].iter().zip(&port.shape).all(|(&actual, &n)| actual < 0 || actual == n as i64);
        if !fits {
            let expected: String = port.shape.iter().map(|n| format!(", {n}")).collect();
            let batch = batch.map_or("N".into(), |batch| batch.to_string());
            return Err(format!(
                "its {side} {} has shape {shape:?}, expected [{batch}{expected}]",
                port.name
            ));
        }
    }
    if let Some(other) = outlets.iter().find(|outlet| ports.iter().all(|port| port.name != outlet.name())) {
        return Err(format!("it has an unknown {side} {}", other.name()));
    }
    Ok(())
}
