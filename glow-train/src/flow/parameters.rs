//! The parameters of a model by name: their initialisation and their bytes.
use glow_models::{Architecture, Dtype, Parameter, Permutation, Role};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

/// Standard deviation of the initial weights of ordinary convolutions (published code).
const WEIGHT_STD: f64 = 0.05;

/// The tensors of a model by the names of [`Architecture::parameters`], on one device, floats in one
/// element type.
///
/// The trained ones are views of one flat buffer, in the architecture's order, so that an optimiser
/// can treat them as one.
#[derive(Debug)]
pub struct Parameters {
    list: Vec<Parameter>,
    tensors: HashMap<String, Tensor>,
    flat: Tensor,
}

impl Parameters {
    /// Freshly drawn parameters: convolutions N(0, 0.05²), last convolutions and priors 0, 1×1
    /// convolutions a random rotation. Drawn on the CPU, so that a seed gives the same on any device.
    pub fn initial(architecture: &Architecture, seed: u64, device: Device, kind: Kind) -> Self {
        tch::manual_seed(seed as i64);
        let mut tensors = HashMap::new();
        let list = architecture.parameters();
        for parameter in &list {
            if let Some((step, part)) = parameter.name.split_once(".permutation.") {
                // One draw gives all parts of a step's permutation, in the order of the list.
                if !tensors.contains_key(&parameter.name) {
                    let channels = parameter.shape[0] as i64;
                    for (part, tensor) in initial_permutation(architecture.permutation, channels) {
                        tensors.insert(format!("{step}.permutation.{part}"), tensor);
                    }
                }
                debug_assert!(tensors.contains_key(&parameter.name), "{part}");
                continue;
            }
            let shape: Vec<i64> = parameter.shape.iter().map(|&n| n as i64).collect();
            let ordinary =
                parameter.name.ends_with("conv1.weight") || parameter.name.ends_with("conv2.weight");
            let tensor = if ordinary {
                Tensor::randn(shape, (Kind::Float, Device::Cpu)) * WEIGHT_STD
            } else {
                Tensor::zeros(shape, (Kind::Float, Device::Cpu))
            };
            tensors.insert(parameter.name.clone(), tensor);
        }
        for tensor in tensors.values_mut() {
            let kind = if tensor.kind() == Kind::Int64 { Kind::Int64 } else { kind };
            *tensor = tensor.to_device(device).to_kind(kind);
        }
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
        let tensors = list
            .iter()
            .map(|parameter| {
                let tensor = tensor_from_bytes(parameter, &bytes(parameter)?).to_device(device);
                let tensor = if parameter.dtype == Dtype::F32 { tensor.to_kind(kind) } else { tensor };
                Ok((parameter.name.clone(), tensor))
            })
            .collect::<Result<_, E>>()?;
        Ok(Self::gather(list, tensors))
    }

    /// Copies the trained tensors into one buffer.
    fn gather(list: Vec<Parameter>, mut tensors: HashMap<String, Tensor>) -> Self {
        let trained = || list.iter().filter(|parameter| parameter.role == Role::Trained);
        let flat: Vec<Tensor> = trained().map(|parameter| tensors[&parameter.name].reshape([-1])).collect();
        let flat = Tensor::cat(&flat, 0);
        let mut begin = 0;
        for parameter in trained() {
            let tensor = tensors.get_mut(&parameter.name).expect("every parameter has its tensor");
            let (size, length) = (tensor.size(), tensor.numel() as i64);
            *tensor = flat.narrow(0, begin, length).view(size.as_slice()).detach();
            begin += length;
        }
        Self { list, tensors, flat }
    }

    /// A deep copy, without gradients.
    pub fn copy(&self) -> Self {
        let tensors =
            self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.detach().copy())).collect();
        Self::gather(self.list.clone(), tensors)
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
        self.tensors.get(name).unwrap_or_else(|| panic!("no parameter {name}")).shallow_clone()
    }

    /// All parameters, in the architecture's order.
    pub fn list(&self) -> &[Parameter] {
        &self.list
    }

    /// The trained parameters with their tensors, in the architecture's order.
    pub fn trained(&self) -> impl Iterator<Item = (&Parameter, Tensor)> {
        self.list.iter().filter(|p| p.role == Role::Trained).map(|p| (p, self.get(&p.name)))
    }

    /// Makes autograd record the trained parameters.
    pub fn require_grad(&self) {
        for (_, tensor) in self.trained() {
            let _ = tensor.set_requires_grad(true);
        }
    }
}

/// A parameter's tensor from its little-endian bytes, on the CPU.
pub(crate) fn tensor_from_bytes(parameter: &Parameter, bytes: &[u8]) -> Tensor {
    let shape: Vec<i64> = parameter.shape.iter().map(|&n| n as i64).collect();
    let kind = match parameter.dtype {
        Dtype::F32 => Kind::Float,
        Dtype::I64 => Kind::Int64,
    };
    Tensor::from_data_size(bytes, &shape, kind)
}

/// A tensor's little-endian bytes, row-major: f32 for floats, i64 for integers.
pub(crate) fn tensor_bytes(tensor: &Tensor) -> Vec<u8> {
    let (kind, size) = if tensor.kind() == Kind::Int64 { (Kind::Int64, 8) } else { (Kind::Float, 4) };
    let tensor = tensor.detach().to_device(Device::Cpu).to_kind(kind).contiguous();
    let mut bytes = vec![0; tensor.numel() * size];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

fn initial_permutation(permutation: Permutation, channels: i64) -> Vec<(&'static str, Tensor)> {
    let options = (Kind::Double, Device::Cpu);
    let rotation = || Tensor::linalg_qr(&Tensor::randn([channels, channels], options), "reduced").0;
    match permutation {
        Permutation::Reverse => Vec::new(),
        Permutation::Shuffle => vec![("indices", Tensor::randperm(channels, (Kind::Int64, Device::Cpu)))],
        Permutation::InvconvPlain => vec![("weight", rotation())],
        Permutation::Invconv => {
            let (p, lower, upper) = Tensor::linalg_lu(&rotation(), true);
            let diagonal = upper.diagonal(0, 0, 1);
            vec![
                // P has its one of row i in column rows[i], so (P·M)[i] = M[rows[i]].
                ("rows", p.argmax(1, false)),
                ("lower", lower.tril(-1)),
                ("upper", upper.triu(1)),
                ("log_s", diagonal.abs().log()),
                ("sign_s", diagonal.sign()),
            ]
        }
    }
}
