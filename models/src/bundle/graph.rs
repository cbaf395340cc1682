//! What a bundle's graph may hold, checked on the bytes of the ONNX file before ONNX Runtime opens it.
//!
//! Messages are read as protobuf's wire format and
//! no further than needed; the depth of the recursion is that of the format, whatever the file says.
use super::WEIGHTS_FILE;
use crate::onnx::{attribute, entry, graph, model, node, tensor};
use crate::protobuf::{Fields, Value, packed};

/// Checks the bytes of a whole `.onnx` file, whose tensors may lie in [`WEIGHTS_FILE`] of `weights` bytes;
/// see [`Bundle::check_graph`](super::Bundle::check_graph).
///
/// # Errors
/// What is in the graph that should not be.
pub fn check(file: &[u8], weights: u64) -> Result<(), String> {
    // ONNX Runtime takes bytes with this mark for its own format, whatever else they are.
    if file.get(4..8) == Some(b"ORTM") {
        return Err("it is in the format of ONNX Runtime, not in that of ONNX".into());
    }
    let mut graphs = 0;
    for field in Fields::new(file) {
        match field? {
            (model::GRAPH, Value::Bytes(graph)) => {
                graphs += 1;
                check_graph(graph, weights)?;
            }
            (model::TRAINING_INFO, Value::Bytes(_)) => return Err("it holds graphs for training".into()),
            (model::FUNCTIONS, Value::Bytes(_)) => return Err("it holds functions".into()),
            _ => {}
        }
    }
    if graphs == 1 { Ok(()) } else { Err(format!("it holds {graphs} graphs instead of one")) }
}

fn check_graph(graph: &[u8], weights: u64) -> Result<(), String> {
    for field in Fields::new(graph) {
        match field? {
            (graph::NODE, Value::Bytes(node)) => check_node(node, weights)?,
            (graph::INITIALIZER, Value::Bytes(tensor)) => check_tensor(tensor, weights)?,
            (graph::SPARSE_INITIALIZER, Value::Bytes(_)) => return Err("it holds a sparse tensor".into()),
            _ => {}
        }
    }
    Ok(())
}

fn check_node(node: &[u8], weights: u64) -> Result<(), String> {
    let (mut name, mut operator) = ("", "");
    for field in Fields::new(node) {
        match field? {
            (node::NAME, Value::Bytes(bytes)) => name = text(bytes)?,
            (node::OP_TYPE, Value::Bytes(bytes)) => operator = text(bytes)?,
            (node::ATTRIBUTE, Value::Bytes(attribute)) => check_attribute(attribute, weights)?,
            (node::DOMAIN, Value::Bytes(domain)) if !matches!(text(domain)?, "" | "ai.onnx") => {
                let domain = text(domain)?;
                return Err(format!("the node {name:?} is {operator} of {domain:?}, no standard operator"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_attribute(attribute: &[u8], weights: u64) -> Result<(), String> {
    for field in Fields::new(attribute) {
        match field? {
            (attribute::TENSOR | attribute::TENSORS, Value::Bytes(tensor)) => check_tensor(tensor, weights)?,
            (attribute::GRAPH | attribute::GRAPHS, Value::Bytes(_)) => {
                return Err("it holds a graph within a node".into());
            }
            (attribute::SPARSE_TENSOR | attribute::SPARSE_TENSORS, Value::Bytes(_)) => {
                return Err("it holds a sparse tensor".into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// ONNX's number of an element type, and its size in bytes: those that bundles have in their weights.
const SIZES: [(u64, u64); 7] = [(1, 4), (2, 1), (3, 1), (6, 4), (7, 8), (10, 2), (16, 2)];

/// Where a tensor's data begins and how long it is: ONNX calls it external if it lies in another file. ONNX Runtime
/// reads the numbers where they lie, so they must be aligned, and as many as the shape says.
fn check_tensor(tensor: &[u8], weights: u64) -> Result<(), String> {
    let (mut name, mut external, mut location) = ("", false, None);
    let (mut offset, mut length, mut data_type) = (0, 0, 0);
    let mut shape = Vec::new();
    for field in Fields::new(tensor) {
        match field? {
            (tensor::NAME, Value::Bytes(bytes)) => name = text(bytes)?,
            (tensor::DIMS, Value::Number(size)) => shape.push(size),
            (tensor::DIMS, Value::Bytes(sizes)) => shape.extend(packed(sizes)?),
            (tensor::DATA_TYPE, Value::Number(number)) => data_type = number,
            (tensor::DATA_LOCATION, Value::Number(kind)) => external |= kind != 0,
            (tensor::EXTERNAL_DATA, Value::Bytes(entry)) => {
                external = true;
                let (key, value) = check_entry(entry)?;
                let number = || value.parse::<u64>().map_err(|_| format!("{key} {value:?} is no number"));
                match key {
                    "location" if value != WEIGHTS_FILE => {
                        return Err(format!("it points to {value:?} instead of {WEIGHTS_FILE}"));
                    }
                    "location" => location = Some(value),
                    "offset" => offset = number()?,
                    "length" => length = number()?,
                    "checksum" => {}
                    _ => return Err(format!("a tensor's place has an unknown part {key:?}")),
                }
            }
            _ => {}
        }
    }
    if !external {
        return Ok(());
    }
    if location.is_none() {
        return Err(format!("the tensor {name:?} is in another file, but not said in which"));
    }
    if offset.checked_add(length).is_none_or(|end| end > weights) {
        return Err(format!(
            "the tensor {name:?}, {length} bytes from {offset} on, leaves {WEIGHTS_FILE} of {weights} bytes"
        ));
    }
    let Some(&(_, size)) = SIZES.iter().find(|(number, _)| *number == data_type) else {
        return Err(format!("the tensor {name:?} is of ONNX's type {data_type}, which no bundle has"));
    };
    if !offset.is_multiple_of(size) {
        return Err(format!("the tensor {name:?} of {size}-byte numbers begins at byte {offset}"));
    }
    if shape.iter().try_fold(size, |bytes: u64, &n| bytes.checked_mul(n)) != Some(length) {
        return Err(format!("the tensor {name:?} has {length} bytes, which its shape {shape:?} has not"));
    }
    Ok(())
}

fn check_entry(entry: &[u8]) -> Result<(&str, &str), String> {
    let (mut key, mut value) = (None, None);
    for field in Fields::new(entry) {
        let place = match field? {
            (entry::KEY, Value::Bytes(bytes)) => (&mut key, bytes),
            (entry::VALUE, Value::Bytes(bytes)) => (&mut value, bytes),
            _ => continue,
        };
        // Which of two would count is up to the reader.
        if place.0.replace(text(place.1)?).is_some() {
            return Err("a tensor's place is said twice".into());
        }
    }
    Ok((key.unwrap_or_default(), value.unwrap_or_default()))
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "a name in it is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    /// A field that holds bytes.
    fn field(number: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
        let content = content.as_ref();
        [&varint(number << 3 | 2)[..], &varint(content.len() as u64), content].concat()
    }

    fn entry(key: &str, value: &str) -> Vec<u8> {
        field(13, [field(1, key), field(2, value)].concat())
    }

    /// A tensor in another file, of numbers of a type.
    fn typed(data_type: u64, shape: &[u64], entries: &[(&str, &str)]) -> Vec<u8> {
        let entries = entries.iter().flat_map(|(key, value)| entry(key, value));
        let shape: Vec<u8> = shape.iter().flat_map(|&n| [varint(1 << 3), varint(n)].concat()).collect();
        let data_type = [varint(2 << 3), varint(data_type)].concat();
        [shape, data_type, field(8, "w"), varint(14 << 3), varint(1), entries.collect()].concat()
    }

    fn tensor(entries: &[(&str, &str)]) -> Vec<u8> {
        typed(1, &[2, 5], entries)
    }

    /// A tensor in the weights.
    fn placed(data_type: u64, shape: &[u64], offset: u64, length: u64) -> Vec<u8> {
        let (offset, length) = (offset.to_string(), length.to_string());
        typed(data_type, shape, &[("location", WEIGHTS_FILE), ("offset", &offset), ("length", &length)])
    }

    fn model(graph: impl AsRef<[u8]>) -> Vec<u8> {
        [varint(1 << 3), varint(7), field(7, graph)].concat()
    }

    /// A tensor that a node has as an attribute.
    fn constant(tensor: &[u8]) -> Vec<u8> {
        model(field(1, [field(4, "Constant"), field(5, field(5, tensor))].concat()))
    }

    #[test]
    fn graphs_of_the_exporter_pass_and_parts_of_them_do_not() {
        let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/");
        for folder in ["bundle", "conditional-bundle"] {
            let weights = std::fs::metadata(format!("{tests}{folder}/{WEIGHTS_FILE}")).unwrap().len();
            for file in ["encoder.onnx", "decoder.onnx"] {
                let bytes = std::fs::read(format!("{tests}{folder}/{file}")).unwrap();
                check(&bytes, weights).unwrap();
                for end in 0..bytes.len() / 2 {
                    assert!(check(&bytes[..end], weights).is_err(), "{end}");
                }
            }
        }
    }

    #[test]
    fn places_in_the_weights_pass() {
        let inside = tensor(&[("location", WEIGHTS_FILE), ("offset", "60"), ("length", "40")]);
        check(&model(field(5, &inside)), 100).unwrap();
        check(&constant(&inside), 100).unwrap();
        for whole in
            [placed(1, &[], 96, 4), placed(10, &[3], 2, 6), placed(3, &[5], 95, 5), placed(7, &[0, 4], 8, 0)]
        {
            check(&model(field(5, whole)), 100).unwrap();
        }
        let shape_in_one_piece = [field(1, [2, 5]), inside[4..].to_vec()].concat();
        check(&model(field(5, shape_in_one_piece)), 100).unwrap();
        check(&model([]), 0).unwrap();
    }

    #[test]
    fn what_could_reach_elsewhere_is_refused() {
        let at = |location| tensor(&[("location", location)]);
        let outside = tensor(&[("location", WEIGHTS_FILE), ("offset", "60"), ("length", "41")]);
        let huge = u64::MAX.to_string();
        let around = tensor(&[("location", WEIGHTS_FILE), ("offset", &huge), ("length", "2")]);
        let twice = [field(1, "location"), field(2, WEIGHTS_FILE), field(2, "/etc/passwd")].concat();
        let node =
            |domain| model(field(1, [field(3, "n"), field(4, "EPContext"), field(7, domain)].concat()));
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("points to \"/etc/passwd\"", model(field(5, at("/etc/passwd")))),
            ("points to \"../model.safetensors\"", model(field(5, at("../model.safetensors")))),
            ("points to \"./model.safetensors\"", model(field(5, at("./model.safetensors")))),
            ("points to \"*/_ORT_MEM_ADDR_/*\"", model(field(5, at("*/_ORT_MEM_ADDR_/*")))),
            ("points to \"\"", model(field(5, at("")))),
            ("points to \"/etc/passwd\"", constant(&at("/etc/passwd"))),
            ("points to \"/etc/passwd\"", model(field(1, field(5, field(10, at("/etc/passwd")))))),
            ("is in another file, but not said in which", model(field(5, tensor(&[])))),
            ("not said in which", model(field(5, entry("offset", "0")))),
            ("leaves model.safetensors of 100 bytes", model(field(5, outside))),
            ("leaves model.safetensors", model(field(5, around))),
            ("begins at byte 9", model(field(5, placed(1, &[2, 5], 9, 40)))),
            ("begins at byte 4", model(field(5, placed(7, &[1], 4, 8)))),
            ("begins at byte 9", constant(&placed(1, &[2, 5], 9, 40))),
            ("has 36 bytes", model(field(5, placed(1, &[2, 5], 8, 36)))),
            ("has 44 bytes", model(field(5, placed(1, &[2, 5], 8, 44)))),
            ("has 40 bytes", model(field(5, placed(1, &[2, u64::MAX - 4], 8, 40)))),
            ("has 40 bytes", model(field(5, placed(1, &[1 << 62, 1 << 62, 10], 8, 40)))),
            ("has 0 bytes", model(field(5, at(WEIGHTS_FILE)))),
            ("ONNX's type 99", model(field(5, placed(99, &[10], 0, 40)))),
            ("ONNX's type 8", model(field(5, placed(8, &[10], 0, 40)))),
            ("a list in it is not complete", model(field(5, field(1, [0x80])))),
            ("offset \"-1\" is no number", model(field(5, tensor(&[("offset", "-1")])))),
            ("unknown part \"basepath\"", model(field(5, tensor(&[("basepath", "/")])))),
            ("said twice", model(field(5, field(13, twice)))),
            ("a graph within a node", model(field(1, field(5, field(6, []))))),
            ("a graph within a node", model(field(1, field(5, field(11, []))))),
            ("a sparse tensor", model(field(1, field(5, field(22, []))))),
            ("a sparse tensor", model(field(1, field(5, field(23, []))))),
            ("a sparse tensor", model(field(15, []))),
            ("functions", [model([]), field(25, [])].concat()),
            ("graphs for training", [model([]), field(20, [])].concat()),
            ("holds 2 graphs", [model([]), model([])].concat()),
            ("holds 0 graphs", vec![]),
            ("the node \"n\" is EPContext of \"com.microsoft\"", node("com.microsoft")),
            ("the format of ONNX Runtime", b"\x0a\x10\0\0ORTM\0\0\0\0\0\0\0\0\0\0".to_vec()),
            ("not a complete ONNX file", b"not a graph".to_vec()),
            ("not a complete ONNX file", field(7, [])[..1].to_vec()),
            // A length beyond the end, a group, field 0, a number without an end.
            ("not a complete ONNX file", vec![0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            ("not a complete ONNX file", vec![0x3b]),
            ("not a complete ONNX file", vec![0x00, 0x00]),
            ("not a complete ONNX file", vec![0xff; 12]),
            ("not UTF-8", model(field(5, field(8, [0xff])))),
        ];
        for (expected, file) in cases {
            let reason = check(&file, 100).expect_err(expected);
            assert!(reason.contains(expected), "{reason:?} does not say {expected:?}");
        }
    }
}
