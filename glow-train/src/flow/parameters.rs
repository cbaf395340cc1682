//! The parameters of a model by name: their initialisation and their bytes.
use crate::torch::filled;
use glow_models::random::{self, Purpose};
use glow_models::{Architecture, Dtype, Init, Parameter, Role, RotationPart};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

/// The tensors of a model by the names of [`Architecture::parameters`], on one device, floats in one
/// element type.
///
/// The trained ones are views of one flat buffer, in the architecture's order, so that an optimiser
/// can treat them as one.
#[derive(Debug)]
pub struct Parameters {
    list: Vec<Parameter>,
    /// In the order of the list.
    tensors: Vec<Tensor>,
    /// From a name to its place in the list.
    places: HashMap<String, usize>,
    /// From a place in the list to the place among the trained ones.
    slots: Vec<Option<usize>>,
    flat: Tensor,
}

impl Parameters {
    /// Freshly drawn parameters, as their [`Init`] says. Drawn on the CPU from the streams of
    /// [`glow_models::random`], so that a seed gives the same on any device.
    pub fn initial(architecture: &Architecture, seed: u64, device: Device, kind: Kind) -> Self {
        let list = architecture.parameters();
        let mut rotation = None;
        let initial = |(place, parameter): (usize, &Parameter)| {
            let shape = shape(parameter);
            let normal = |shape: &[i64]| -> Tensor {
                filled(shape, random::normal(seed, Purpose::Weights, place as u64, None))
            };
            let tensor = match parameter.init {
                Init::Zeros => Tensor::zeros(shape, (Kind::Float, Device::Cpu)),
                Init::Normal(std) => normal(&shape) * std,
                Init::Shuffle => {
                    let keys = Vec::<f32>::try_from(normal(&shape)).expect("a vector of floats");
                    let mut indices: Vec<i64> = (0..shape[0]).collect();
                    indices.sort_by(|&a, &b| keys[a as usize].total_cmp(&keys[b as usize]));
                    Tensor::from_slice(&indices)
                }
                Init::Rotation(part) => {
                    // The parameters of a layer follow each other in the list, and share one draw.
                    if rotation.as_ref().is_none_or(|(layer, _)| layer != parameter.layer()) {
                        let drawn = Rotation::new(&normal(&[shape[0], shape[0]]));
                        rotation = Some((parameter.layer().to_string(), drawn));
                    }
                    rotation.as_ref().expect("drawn just now").1.part(part)
                }
            };
            in_place(parameter, tensor, device, kind)
        };
        let tensors = list.iter().enumerate().map(initial).collect();
        Self::gather(list, tensors)
    }

    /// Parameters read with `bytes`, which gives each one's little-endian bytes (f32 or i64).
    ///
    /// # Errors
    /// Whatever `bytes` gives.
    pub fn from_bytes<E>(
        architecture: &Architecture,
        device: Device,
        kind: Kind,
        bytes: impl Fn(&Parameter) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let list = architecture.parameters();
        let tensor = |parameter: &Parameter| {
            Ok(in_place(parameter, tensor_from_bytes(parameter, &bytes(parameter)?), device, kind))
        };
        let tensors = list.iter().map(tensor).collect::<Result<_, E>>()?;
        Ok(Self::gather(list, tensors))
    }

    /// Copies the trained tensors into one buffer. `tensors` are in the order of `list`.
    fn gather(list: Vec<Parameter>, mut tensors: Vec<Tensor>) -> Self {
        let trained = |place: &usize| list[*place].role == Role::Trained;
        let order: Vec<usize> = (0..list.len()).filter(trained).collect();
        let flat: Vec<Tensor> = order.iter().map(|&place| tensors[place].reshape([-1])).collect();
        let flat = Tensor::cat(&flat, 0);
        let mut slots = vec![None; list.len()];
        let mut begin = 0;
        for (slot, &place) in order.iter().enumerate() {
            let (size, length) = (tensors[place].size(), tensors[place].numel() as i64);
            tensors[place] = flat.narrow(0, begin, length).view(size.as_slice()).detach();
            slots[place] = Some(slot);
            begin += length;
        }
        let places = list.iter().enumerate().map(|(place, p)| (p.name.clone(), place)).collect();
        Self { list, tensors, places, slots, flat }
    }

    /// A deep copy, without gradients.
    pub fn copy(&self) -> Self {
        Self::gather(self.list.clone(), self.tensors.iter().map(|tensor| tensor.detach().copy()).collect())
    }

    /// All trained parameters as one flat tensor, which shares their memory.
    pub fn flat(&self) -> Tensor {
        self.flat.shallow_clone()
    }

    /// The parameter of this name.
    ///
    /// # Panics
    /// If the architecture has none.
    pub fn get(&self, name: &str) -> Tensor {
        self.tensors[self.place(name)].shallow_clone()
    }

    /// The place of a trained parameter among the trained ones.
    ///
    /// # Panics
    /// If the architecture has no trained parameter of this name.
    pub(super) fn slot(&self, name: &str) -> usize {
        self.slots[self.place(name)].unwrap_or_else(|| panic!("parameter {name} is not trained"))
    }

    /// The place of a parameter in the list.
    fn place(&self, name: &str) -> usize {
        *self.places.get(name).unwrap_or_else(|| panic!("no parameter {name}"))
    }

    /// All parameters, in the architecture's order.
    pub fn list(&self) -> &[Parameter] {
        &self.list
    }

    /// The trained parameters with their tensors, in the architecture's order.
    pub fn trained(&self) -> impl Iterator<Item = (&Parameter, Tensor)> {
        let all = self.list.iter().zip(&self.tensors);
        all.filter(|(p, _)| p.role == Role::Trained).map(|(p, tensor)| (p, tensor.shallow_clone()))
    }

    /// Makes autograd record the trained parameters.
    pub fn require_grad(&self) {
        for (_, tensor) in self.trained() {
            let _ = tensor.set_requires_grad(true);
        }
    }
}

fn shape(parameter: &Parameter) -> Vec<i64> {
    parameter.shape.iter().map(|&n| n as i64).collect()
}

/// A parameter's tensor on a device, floats in an element type.
fn in_place(parameter: &Parameter, tensor: Tensor, device: Device, kind: Kind) -> Tensor {
    let kind = match parameter.dtype {
        Dtype::F32 => kind,
        Dtype::I64 => Kind::Int64,
    };
    tensor.to_device(device).to_kind(kind)
}

/// A parameter's tensor from its little-endian bytes, on the CPU.
pub(crate) fn tensor_from_bytes(parameter: &Parameter, bytes: &[u8]) -> Tensor {
    let kind = match parameter.dtype {
        Dtype::F32 => Kind::Float,
        Dtype::I64 => Kind::Int64,
    };
    Tensor::from_data_size(bytes, &shape(parameter), kind)
}

/// A tensor's little-endian bytes, row-major: f32 for floats, i64 for integers.
pub(crate) fn tensor_bytes(tensor: &Tensor) -> Vec<u8> {
    let (kind, size) = if tensor.kind() == Kind::Int64 { (Kind::Int64, 8) } else { (Kind::Float, 4) };
    let tensor = tensor.detach().to_device(Device::Cpu).to_kind(kind).contiguous();
    let mut bytes = vec![0; tensor.numel() * size];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// A random rotation W and its factors P·L·(U + diag(s)), in double.
struct Rotation {
    matrix: Tensor,
    rows: Tensor,
    lower: Tensor,
    upper: Tensor,
}

impl Rotation {
    /// From a matrix of standard normals [C, C].
    fn new(normal: &Tensor) -> Self {
        let (matrix, _) = Tensor::linalg_qr(&normal.to_kind(Kind::Double), "reduced");
        let (p, lower, upper) = Tensor::linalg_lu(&matrix, true);
        // P has its one of row i in column rows[i], so (P·M)[i] = M[rows[i]].
        Self { rows: p.argmax(1, false), matrix, lower, upper }
    }

    fn part(&self, part: RotationPart) -> Tensor {
        let diagonal = || self.upper.diagonal(0, 0, 1);
        match part {
            RotationPart::Matrix => self.matrix.shallow_clone(),
            RotationPart::Lower => self.lower.tril(-1),
            RotationPart::Upper => self.upper.triu(1),
            RotationPart::LogS => diagonal().abs().log(),
            RotationPart::SignS => diagonal().sign(),
            RotationPart::Rows => self.rows.shallow_clone(),
        }
    }
}
