//! Where the tensors of an ONNX file lie, read from the file's bytes.
use glow_models::onnx::{entry, graph, model, tensor};
use glow_models::protobuf::{Fields, Value, append, packed};

/// A constant of a graph whose data lies in another file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExternalTensor {
    pub name: String,
    /// ONNX's number for the element type, which is also that of ONNX Runtime.
    pub data_type: u32,
    pub shape: Vec<i64>,
    pub location: String,
    pub offset: u64,
    pub length: u64,
}

/// The constants of a model's graph that lie in other files.
pub(crate) fn external_tensors(model: &[u8]) -> Result<Vec<ExternalTensor>, String> {
    let mut tensors = Vec::new();
    for field in Fields::new(model) {
        let (model::GRAPH, Value::Bytes(graph)) = field? else { continue };
        for field in Fields::new(graph) {
            let (graph::INITIALIZER, Value::Bytes(tensor)) = field? else { continue };
            tensors.extend(external(tensor)?);
        }
    }
    Ok(tensors)
}

/// The model with its external constants at other places: `place` gives the file and the offset.
pub(crate) fn relocate(
    model: &[u8],
    mut place: impl FnMut(&ExternalTensor) -> (String, u64),
) -> Result<Vec<u8>, String> {
    let mut new_model = Vec::with_capacity(model.len());
    for field in Fields::new(model) {
        let (number, value) = field?;
        let (model::GRAPH, Value::Bytes(graph)) = (number, value) else {
            append(&mut new_model, number, value);
            continue;
        };
        let mut new_graph = Vec::with_capacity(graph.len());
        for field in Fields::new(graph) {
            let (number, value) = field?;
            if let (graph::INITIALIZER, Value::Bytes(bytes)) = (number, value)
                && let Some(tensor) = external(bytes)?
            {
                let (location, offset) = place(&tensor);
                let moved = ExternalTensor { location, offset, ..tensor };
                append(&mut new_graph, graph::INITIALIZER, Value::Bytes(&with_place(bytes, &moved)?));
            } else {
                append(&mut new_graph, number, value);
            }
        }
        append(&mut new_model, model::GRAPH, Value::Bytes(&new_graph));
    }
    Ok(new_model)
}

fn external(tensor: &[u8]) -> Result<Option<ExternalTensor>, String> {
    let mut found = ExternalTensor {
        name: String::new(),
        data_type: 0,
        shape: Vec::new(),
        location: String::new(),
        offset: 0,
        length: 0,
    };
    let mut is_external = false;
    for field in Fields::new(tensor) {
        match field? {
            (tensor::DIMS, Value::Number(size)) => found.shape.push(size as i64),
            (tensor::DIMS, Value::Bytes(sizes)) => {
                found.shape.extend(packed(sizes)?.into_iter().map(|size| size as i64));
            }
            (tensor::DATA_TYPE, Value::Number(data_type)) => found.data_type = data_type as u32,
            (tensor::NAME, Value::Bytes(name)) => found.name = text(name)?.into(),
            (tensor::DATA_LOCATION, Value::Number(kind)) => is_external = kind == 1,
            (tensor::EXTERNAL_DATA, Value::Bytes(entry)) => {
                let (key, value) = entry_of(entry)?;
                let number = || value.parse().map_err(|_| format!("{key} {value:?} is no number"));
                match key {
                    "location" => found.location = value.into(),
                    "offset" => found.offset = number()?,
                    "length" => found.length = number()?,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    Ok(is_external.then_some(found))
}

fn with_place(tensor: &[u8], place: &ExternalTensor) -> Result<Vec<u8>, String> {
    let mut new = Vec::with_capacity(tensor.len() + 16);
    for field in Fields::new(tensor) {
        let (number, value) = field?;
        if number != tensor::EXTERNAL_DATA {
            append(&mut new, number, value);
        }
    }
    let (offset, length) = (place.offset.to_string(), place.length.to_string());
    for (key, value) in [("location", &place.location), ("offset", &offset), ("length", &length)] {
        let mut pair = Vec::new();
        append(&mut pair, entry::KEY, Value::Bytes(key.as_bytes()));
        append(&mut pair, entry::VALUE, Value::Bytes(value.as_bytes()));
        append(&mut new, tensor::EXTERNAL_DATA, Value::Bytes(&pair));
    }
    Ok(new)
}

fn entry_of(entry: &[u8]) -> Result<(&str, &str), String> {
    let (mut key, mut value) = ("", "");
    for field in Fields::new(entry) {
        match field? {
            (entry::KEY, Value::Bytes(bytes)) => key = text(bytes)?,
            (entry::VALUE, Value::Bytes(bytes)) => value = text(bytes)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "a name in it is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use glow_models::WEIGHTS_FILE;

    fn decoder() -> Vec<u8> {
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/bundle/decoder.onnx")).unwrap()
    }

    #[test]
    fn the_tensors_of_a_bundle_are_those_of_its_weights() {
        let weights =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/bundle/model.safetensors"));
        let weights = weights.unwrap();
        let file = safetensors::SafeTensors::deserialize(&weights).unwrap();
        let tensors = external_tensors(&decoder()).unwrap();
        assert!(tensors.len() > 10);
        for tensor in tensors {
            let expected = file.tensor(&tensor.name).unwrap();
            let shape: Vec<i64> = expected.shape().iter().map(|&n| n as i64).collect();
            assert_eq!((tensor.shape, tensor.data_type, &*tensor.location), (shape, 1, WEIGHTS_FILE));
            let place = tensor.offset as usize..(tensor.offset + tensor.length) as usize;
            assert_eq!(&weights[place], expected.data());
        }
    }

    #[test]
    fn relocation_changes_the_places_alone() {
        let model = decoder();
        let moved = relocate(&model, |t| ("other.bin".into(), t.offset + 5)).unwrap();
        for (old, new) in external_tensors(&model).unwrap().into_iter().zip(external_tensors(&moved).unwrap())
        {
            let expected = ExternalTensor { location: "other.bin".into(), offset: old.offset + 5, ..old };
            assert_eq!(new, expected);
        }
        let offset = |t: &ExternalTensor| (WEIGHTS_FILE.into(), t.offset - 5);
        assert_eq!(external_tensors(&relocate(&moved, offset).unwrap()), external_tensors(&model));
    }
}
