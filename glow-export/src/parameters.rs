//! A checkpoint's parameters in memory, checked to be numbers.
use crate::ExportError;
use glow_models::{Architecture, Checkpoint, Dtype, Group, Parameter, Role};
use ndarray::{Array1, Array2, Array4, ArrayD, Dimension, Ix1, Ix2, Ix4};
use std::collections::HashMap;

/// The parameters of a model by name: one group of a checkpoint together with the fixed tensors.
#[derive(Debug)]
pub(crate) struct Parameters {
    architecture: Architecture,
    floats: HashMap<String, ArrayD<f32>>,
    permutations: HashMap<String, Vec<usize>>,
}

impl Parameters {
    /// Takes the trained parameters from a group.
    pub fn load(checkpoint: &Checkpoint, trained: Group) -> Result<Self, ExportError> {
        let mut parameters = Self {
            architecture: checkpoint.meta().config.model.clone(),
            floats: HashMap::new(),
            permutations: HashMap::new(),
        };
        checkpoint.each(trained, |parameter, bytes| match parameter.role {
            Role::Trained => parameters.insert(trained, parameter, bytes),
            Role::Fixed => Ok(()),
        })?;
        checkpoint.each(Group::Params, |parameter, bytes| match parameter.role {
            Role::Trained => Ok(()),
            Role::Fixed => parameters.insert(Group::Params, parameter, bytes),
        })?;
        Ok(parameters)
    }

    fn insert(&mut self, group: Group, parameter: &Parameter, bytes: &[u8]) -> Result<(), ExportError> {
        let tensor = || group.tensor_name(&parameter.name);
        match parameter.dtype {
            Dtype::F32 => {
                let (chunks, _) = bytes.as_chunks();
                let values: Vec<f32> = chunks.iter().copied().map(f32::from_le_bytes).collect();
                if let Some(&value) = values.iter().find(|value| !value.is_finite()) {
                    return Err(ExportError::NotFinite { tensor: tensor(), value });
                }
                let array = ArrayD::from_shape_vec(parameter.shape.clone(), values)
                    .expect("the checkpoint's shapes were checked");
                self.floats.insert(parameter.name.clone(), array);
            }
            Dtype::I64 => {
                let (chunks, _) = bytes.as_chunks();
                let mut seen = vec![false; chunks.len()];
                let mut order = Vec::with_capacity(chunks.len());
                for index in chunks.iter().copied().map(i64::from_le_bytes) {
                    let index = usize::try_from(index).unwrap_or(usize::MAX);
                    match seen.get_mut(index) {
                        Some(seen) if !*seen => *seen = true,
                        _ => return Err(ExportError::NotPermutation { tensor: tensor() }),
                    }
                    order.push(index);
                }
                self.permutations.insert(parameter.name.clone(), order);
            }
        }
        Ok(())
    }

    /// What the parameters belong to.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// A vector, such as an actnorm's `logs`.
    pub fn vector(&self, name: &str) -> Array1<f64> {
        self.float::<Ix1>(name)
    }

    /// A matrix, such as a permutation's `lower`.
    pub fn matrix(&self, name: &str) -> Array2<f64> {
        self.float::<Ix2>(name)
    }

    /// A convolution's weight, [outputs, inputs, rows, columns].
    pub fn kernel(&self, name: &str) -> Array4<f64> {
        self.float::<Ix4>(name)
    }

    /// A fixed permutation of the channels.
    pub fn permutation(&self, name: &str) -> &[usize] {
        self.permutations.get(name).unwrap_or_else(|| panic!("no permutation {name}"))
    }

    fn float<D: Dimension>(&self, name: &str) -> ndarray::Array<f64, D> {
        let array = self.floats.get(name).unwrap_or_else(|| panic!("no parameter {name}"));
        array
            .mapv(f64::from)
            .into_dimensionality()
            .unwrap_or_else(|_| panic!("parameter {name} has {:?}", array.shape()))
    }
}
