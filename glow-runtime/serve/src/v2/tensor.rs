//! Tensors by name, type and shape, and their values.
use crate::problem::Problem;
use glow_runtime::{GraphKind, Manifest};
use serde::de::{self, DeserializeSeed, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::fmt;

/// The types of the graphs' tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataType {
    Uint8,
    Fp32,
    Int64,
}

impl DataType {
    pub fn name(self) -> &'static str {
        match self {
            Self::Uint8 => "UINT8",
            Self::Fp32 => "FP32",
            Self::Int64 => "INT64",
        }
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::Uint8 => 1,
            Self::Fp32 => 4,
            Self::Int64 => 8,
        }
    }
}

/// A tensor of a graph.
pub(super) struct Port {
    pub name: String,
    pub data_type: DataType,
    /// Sizes of one image; none for one number an image.
    pub sizes: Vec<usize>,
    /// Whether it may be left out.
    pub optional: bool,
}

/// The inputs and outputs of a bundle's graph.
pub(super) fn ports(manifest: &Manifest, graph: GraphKind) -> (Vec<Port>, Vec<Port>) {
    let a = &manifest.architecture;
    let port = |name: &str, data_type, sizes: &[usize]| Port {
        name: name.into(),
        data_type,
        sizes: sizes.into(),
        optional: false,
    };
    let image = [a.height, a.width, a.channels];
    let latents =
        manifest.latent_shapes.iter().enumerate().map(|(level, s)| {
            port(&format!("eps_{level}"), DataType::Fp32, &[s.channels, s.height, s.width])
        });
    let (mut inputs, outputs): (Vec<_>, Vec<_>) = match graph {
        GraphKind::Encoder => (
            vec![
                port("image", DataType::Uint8, &image),
                // The middle of each value where it is left out.
                Port { optional: true, ..port("noise", DataType::Fp32, &image) },
            ],
            latents.chain([port("log_prob", DataType::Fp32, &[])]).collect(),
        ),
        GraphKind::Decoder => (
            latents.collect(),
            vec![port("image", DataType::Uint8, &image), port("x", DataType::Fp32, &image)],
        ),
    };
    if a.classes > 0 {
        inputs.push(port("label", DataType::Int64, &[]));
    }
    (inputs, outputs)
}

/// The numbers of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    Uint8(Vec<u8>),
    Fp32(Vec<f32>),
    Int64(Vec<i64>),
}

impl Values {
    /// Numbers in row-major order, little endian.
    pub fn from_bytes(data_type: DataType, bytes: &[u8]) -> Self {
        match data_type {
            DataType::Uint8 => Self::Uint8(bytes.to_vec()),
            DataType::Fp32 => {
                Self::Fp32(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
            }
            DataType::Int64 => {
                Self::Int64(bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect())
            }
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Uint8(values) => values.clone(),
            Self::Fp32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Int64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    /// Numbers of JSON, which must be those of the type.
    pub fn from_numbers(data_type: DataType, numbers: &[f64], name: &str) -> Result<Self, Problem> {
        let check = |least: f64, most: f64, whole: bool| {
            let wrong =
                |value: &&f64| !(**value >= least && **value <= most && (!whole || value.fract() == 0.0));
            match numbers.iter().find(wrong) {
                None => Ok(()),
                Some(value) => {
                    let message = format!("the tensor {name}: {value} is not of type {}", data_type.name());
                    Err(Problem::invalid(message))
                }
            }
        };
        Ok(match data_type {
            DataType::Uint8 => {
                check(0.0, 255.0, true)?;
                Self::Uint8(numbers.iter().map(|&value| value as u8).collect())
            }
            DataType::Fp32 => {
                check(f64::from(f32::MIN), f64::from(f32::MAX), false)?;
                Self::Fp32(numbers.iter().map(|&value| value as f32).collect())
            }
            DataType::Int64 => {
                // Classes are few; larger numbers are not exact here.
                let exact = (1u64 << 53) as f64;
                check(-exact, exact, true)?;
                Self::Int64(numbers.iter().map(|&value| value as i64).collect())
            }
        })
    }

    pub fn to_json(&self) -> Value {
        match self {
            Self::Uint8(values) => values.as_slice().into(),
            Self::Fp32(values) => values.iter().map(|&value| Value::from(value)).collect(),
            Self::Int64(values) => values.as_slice().into(),
        }
    }
}

/// Numbers of JSON, flat or in nested lists, in the order in which they stand.
#[derive(Debug, Default)]
pub(super) struct Numbers(pub Vec<f64>);

/// Appends numbers to a list, without building a tree of lists first.
struct Append<'a>(&'a mut Vec<f64>);

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Append<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, or lists of them")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.0.push(value as f64);
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.0.push(value as f64);
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.0.push(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Append(self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut numbers = Vec::new();
        Append(&mut numbers).deserialize(deserializer)?;
        Ok(Self(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_lists_are_flattened() {
        let numbers = |text: &str| serde_json::from_str::<Numbers>(text).map(|numbers| numbers.0);
        assert_eq!(numbers("[[1, 2.5], [-3, []]]").unwrap(), [1.0, 2.5, -3.0]);
        assert_eq!(numbers("7").unwrap(), [7.0]);
        assert!(numbers("[\"1\"]").is_err());
        assert!(numbers(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn numbers_must_be_of_the_type() {
        for (data_type, good, bad) in [
            (DataType::Uint8, 255.0, [256.0, -1.0, 0.5]),
            (DataType::Fp32, 0.1, [1e39, -1e39, f64::INFINITY]),
            (DataType::Int64, -3.0, [0.5, 1e19, f64::NAN]),
        ] {
            let values = Values::from_numbers(data_type, &[good], "t").unwrap();
            assert_eq!(Values::from_bytes(data_type, &values.to_bytes()), values);
            assert_eq!(values.to_bytes().len(), data_type.size());
            for bad in bad {
                assert!(Values::from_numbers(data_type, &[bad], "t").is_err(), "{bad}");
            }
        }
    }
}
