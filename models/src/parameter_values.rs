//! All parameters of a model in memory, on their way into a checkpoint.
use crate::{Architecture, Dtype, Parameter};
use std::collections::HashMap;
use thiserror::Error;

/// The elements of one parameter, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Of a [`Dtype::F32`] parameter.
    F32(Vec<f32>),
    /// Of a [`Dtype::I64`] parameter.
    I64(Vec<i64>),
}

impl Values {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements' type.
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::I64(_) => Dtype::I64,
        }
    }

    /// The elements as a checkpoint holds them: little-endian.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }
}

/// Parameters that do not make up a model.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ValuesError {
    /// One of the architecture's parameters is not there.
    #[error("the parameter {name} is missing")]
    Missing {
        /// The parameter.
        name: String,
    },
    /// A parameter has another type or number of elements than the architecture asks for.
    #[error("the parameter {name} has {actual} elements of {dtype:?} instead of shape {shape:?}")]
    Shape {
        /// The parameter.
        name: String,
        /// Its elements.
        actual: usize,
        /// Their type.
        dtype: Dtype,
        /// The shape it should have.
        shape: Vec<usize>,
    },
    /// A parameter is infinite or not a number.
    #[error("the parameter {name} holds {value}")]
    NotFinite {
        /// The parameter.
        name: String,
        /// The first such value.
        value: f32,
    },
    /// A parameter that the architecture does not have.
    #[error("the architecture has no parameter {name}")]
    Unknown {
        /// The parameter.
        name: String,
    },
}

/// The parameters of a model by name, checked against its architecture: all of them, no others, finite.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterValues {
    architecture: Architecture,
    values: HashMap<String, Values>,
}

impl ParameterValues {
    /// Takes the parameters of an architecture.
    ///
    /// # Errors
    /// A parameter is missing, unknown, of another type or size, or not finite.
    pub fn new(architecture: Architecture, values: HashMap<String, Values>) -> Result<Self, ValuesError> {
        let parameters = architecture.parameters();
        for parameter in &parameters {
            let name = || parameter.name.clone();
            let found = values.get(&parameter.name).ok_or_else(|| ValuesError::Missing { name: name() })?;
            let (actual, dtype) = (found.len(), found.dtype());
            if dtype != parameter.dtype || actual != parameter.shape.iter().product::<usize>() {
                let shape = parameter.shape.clone();
                return Err(ValuesError::Shape { name: name(), actual, dtype, shape });
            }
            if let Values::F32(floats) = found
                && let Some(&value) = floats.iter().find(|value| !value.is_finite())
            {
                return Err(ValuesError::NotFinite { name: name(), value });
            }
        }
        if values.len() > parameters.len() {
            let known: std::collections::HashSet<_> = parameters.iter().map(|p| &p.name).collect();
            let unknown = values.keys().filter(|name| !known.contains(name)).min().cloned();
            return Err(ValuesError::Unknown { name: unknown.unwrap_or_default() });
        }
        Ok(Self { architecture, values })
    }

    /// What the parameters belong to.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// A parameter's elements; `None` if the architecture has none of this name.
    pub fn get(&self, name: &str) -> Option<&Values> {
        self.values.get(name)
    }

    /// A parameter's elements as a checkpoint holds them, for [`Checkpoint::write`](crate::Checkpoint::write).
    ///
    /// # Panics
    /// If the parameter is not one of this architecture's.
    pub fn bytes(&self, parameter: &Parameter) -> Vec<u8> {
        self.values[&parameter.name].to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> (Architecture, HashMap<String, Values>) {
        let architecture = Architecture { levels: 1, depth: 1, hidden: 2, ..Default::default() };
        let values = architecture.parameters().into_iter().map(|parameter| {
            let count = parameter.shape.iter().product();
            let values = match parameter.dtype {
                Dtype::F32 => Values::F32(vec![0.5; count]),
                Dtype::I64 => Values::I64((0..count as i64).collect()),
            };
            (parameter.name, values)
        });
        let values = values.collect();
        (architecture, values)
    }

    #[test]
    fn only_the_whole_set_is_taken() {
        const NAME: &str = "level0.step00.actnorm.bias";
        let (architecture, whole) = tiny();
        let with = |change: &dyn Fn(&mut HashMap<String, Values>)| {
            let mut values = whole.clone();
            change(&mut values);
            ParameterValues::new(architecture.clone(), values)
        };
        assert!(with(&|_| {}).is_ok());
        let missing = with(&|values| drop(values.remove(NAME)));
        assert!(matches!(missing, Err(ValuesError::Missing { name }) if name == NAME));
        let short = with(&|values| drop(values.insert(NAME.into(), Values::F32(vec![0.0; 11]))));
        assert!(matches!(short, Err(ValuesError::Shape { actual: 11, .. })));
        let typed = with(&|values| drop(values.insert(NAME.into(), Values::I64(vec![0; 12]))));
        assert!(matches!(typed, Err(ValuesError::Shape { dtype: Dtype::I64, .. })));
        let infinite = with(&|values| drop(values.insert(NAME.into(), Values::F32(vec![f32::NAN; 12]))));
        assert!(matches!(infinite, Err(ValuesError::NotFinite { .. })));
        let more = with(&|values| drop(values.insert("other".into(), Values::F32(vec![]))));
        assert!(matches!(more, Err(ValuesError::Unknown { name }) if name == "other"));
    }
}
