//! Frozen graphs: a GraphDef whose `Const` nodes have the variables' names.
use super::{Kind, MAX_NAME, elements, read_at_most, shape, varint};
use crate::import::ImportError;
use crate::import::tensors::{Entry, Tensors};
use glow_models::protobuf::{Fields, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The most that a protobuf message can be.
const MAX_GRAPH: u64 = (1 << 31) - 1;
/// A constant whose elements are one number may stand for as many as this, if the graph is smaller.
const MAX_FILLED: usize = 1 << 20;

/// The constants of a frozen graph.
pub(in crate::import) fn read_graph(path: &Path) -> Result<Tensors, ImportError> {
    let damaged = |reason: &str| ImportError::Damaged {
        path: path.into(),
        form: "a frozen TensorFlow graph",
        reason: reason.into(),
    };
    let bytes: Arc<[u8]> = read_at_most(path, MAX_GRAPH).map_err(ImportError::io("read", path))?.into();
    let begin = bytes.as_ptr() as usize;
    let mut entries = BTreeMap::new();
    for field in Fields::new(&bytes) {
        let (1, Value::Bytes(node)) = field.map_err(|_| damaged("it is no complete protobuf message"))?
        else {
            continue;
        };
        let Some((name, tensor)) = constant(node).map_err(damaged)? else { continue };
        let place = tensor.as_ptr() as usize - begin;
        let range = place..place + tensor.len();
        let Some((kind, shape)) = tensor_kind(tensor).map_err(damaged)? else { continue };
        let (bytes, limit, of) = (bytes.clone(), bytes.len().max(MAX_FILLED), shape.clone());
        let read = move || {
            let elements = elements(&of).filter(|&elements| elements <= limit).ok_or("is too large")?;
            tensor_numbers(&bytes[range.clone()], kind, elements).map_err(str::to_string)
        };
        entries.insert(name, Entry { shape, read: Box::new(read) });
    }
    Ok(Tensors::new(entries))
}

/// Name and TensorProto of a NodeDef {1 name, 2 op, 5 attributes} that is a `Const`.
fn constant(node: &[u8]) -> Result<Option<(String, &[u8])>, &'static str> {
    let (mut name, mut is_constant, mut value) = (None, false, None);
    for field in Fields::new(node) {
        match field.map_err(|_| "a node is damaged")? {
            (1, Value::Bytes(bytes)) => name = std::str::from_utf8(bytes).ok(),
            (2, Value::Bytes(operator)) => is_constant = operator == b"Const",
            (5, Value::Bytes(attribute)) => value = tensor_attribute(attribute)?.or(value),
            _ => {}
        }
    }
    Ok(match (name, value) {
        (Some(name), Some(value)) if is_constant && name.len() <= MAX_NAME => Some((name.into(), value)),
        _ => None,
    })
}

/// The TensorProto of the attribute `value`: {1 key, 2 AttrValue {8 tensor}}.
fn tensor_attribute(attribute: &[u8]) -> Result<Option<&[u8]>, &'static str> {
    let (mut is_value, mut tensor) = (false, None);
    for field in Fields::new(attribute) {
        match field.map_err(|_| "an attribute is damaged")? {
            (1, Value::Bytes(key)) => is_value = key == b"value",
            (2, Value::Bytes(value)) => {
                for field in Fields::new(value) {
                    if let (8, Value::Bytes(bytes)) = field.map_err(|_| "an attribute is damaged")? {
                        tensor = Some(bytes);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(tensor.filter(|_| is_value))
}

/// Type and shape of a TensorProto {1 type, 2 shape}; `None` for types that no model has.
fn tensor_kind(tensor: &[u8]) -> Result<Option<(Kind, Vec<usize>)>, &'static str> {
    let (mut kind, mut sizes) = (None, Vec::new());
    for field in Fields::new(tensor) {
        match field.map_err(|_| "a constant is damaged")? {
            (1, Value::Number(number)) => kind = Kind::of(number),
            (2, Value::Bytes(bytes)) => sizes = shape(bytes)?,
            _ => {}
        }
    }
    Ok(kind.map(|kind| (kind, sizes)))
}

/// The elements of a TensorProto: 4 all bytes, or 5 floats, 6 doubles, 7 ints, 10 long ints, of which the last
/// stands for all that are missing.
pub(super) fn tensor_numbers(tensor: &[u8], kind: Kind, elements: usize) -> Result<Vec<f64>, &'static str> {
    let mut numbers = Vec::new();
    for field in Fields::new(tensor) {
        match (field.map_err(|_| "is damaged")?, kind) {
            ((4, Value::Bytes(bytes)), _) if !bytes.is_empty() => {
                if Some(bytes.len()) != elements.checked_mul(kind.size()) {
                    return Err("has a number of bytes that does not fit its shape");
                }
                return Ok(kind.numbers(bytes));
            }
            ((5, Value::Bytes(bytes) | Value::Fixed(bytes)), Kind::F32)
            | ((6, Value::Bytes(bytes) | Value::Fixed(bytes)), Kind::F64) => {
                numbers.extend(kind.numbers(bytes))
            }
            ((7, Value::Number(number)), Kind::I32) | ((10, Value::Number(number)), Kind::I64) => {
                numbers.push(number as i64 as f64);
            }
            ((7, Value::Bytes(mut packed)), Kind::I32) | ((10, Value::Bytes(mut packed)), Kind::I64) => {
                while !packed.is_empty() {
                    numbers.push(varint(&mut packed)? as f64);
                }
            }
            _ => {}
        }
    }
    let last = numbers.last().copied();
    match last {
        _ if numbers.len() > elements => Err("has more elements than its shape"),
        None if elements > 0 => Err("has no elements"),
        last => {
            numbers.resize(elements, last.unwrap_or(0.0));
            Ok(numbers)
        }
    }
}
