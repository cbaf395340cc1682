//! The model repository for Triton: what its configurations say is what the graphs take and give.
#[path = "../src/onnx.rs"]
#[allow(dead_code, unreachable_pub, reason = "the crate's own messages, which it does not publish")]
mod onnx;
mod support;

use glow_export::{ExportOptions, export, write_triton};
use glow_models::Architecture;
use onnx::{DataType, ModelProto, ValueInfoProto};
use prost::Message;
use std::collections::BTreeMap;
use std::fs;
use std::iter::Peekable;
use std::num::NonZeroUsize;
use std::path::Path;

/// The fields that are used of the messages of Triton's `model_config.proto` (triton-inference-server/common), with
/// their kinds: text, a number, a name of an enumeration, another message; `[]` for repeated ones.
const SCHEMA: [(&str, &[(&str, &str)]); 4] = [
    (
        "ModelConfig",
        &[
            ("name", "string"),
            ("backend", "string"),
            ("default_model_filename", "string"),
            ("max_batch_size", "int32"),
            ("input", "ModelInput[]"),
            ("output", "ModelInput[]"),
            ("dynamic_batching", "ModelDynamicBatching"),
        ],
    ),
    // Of ModelOutput the same fields.
    (
        "ModelInput",
        &[
            ("name", "string"),
            ("data_type", "DataType"),
            ("dims", "int64[]"),
            ("reshape", "ModelTensorReshape"),
        ],
    ),
    ("ModelTensorReshape", &[("shape", "int64[]")]),
    ("ModelDynamicBatching", &[]),
];

#[derive(Debug, Clone, PartialEq)]
enum Field {
    Text(String),
    Number(i64),
    Enumeration(String),
    Message(Fields),
}

type Fields = BTreeMap<String, Vec<Field>>;

fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        let mut token = String::from(c);
        chars.next();
        if c.is_whitespace() {
            continue;
        } else if c == '"' {
            token.extend(chars.by_ref().take_while(|&c| c != '"'));
        } else if c.is_alphanumeric() || c == '_' {
            while let Some(c) = chars.next_if(|&c| c.is_alphanumeric() || c == '_') {
                token.push(c);
            }
        }
        tokens.push(token);
    }
    tokens
}

/// A message in protobuf's text format, as far as the configurations use it.
fn message(tokens: &mut Peekable<impl Iterator<Item = String>>, kind: &str) -> Fields {
    let known = SCHEMA.iter().find(|(name, _)| *name == kind).unwrap_or_else(|| panic!("{kind}")).1;
    let mut fields = Fields::new();
    while let Some(name) = tokens.next_if(|token| token != "}") {
        let (_, kind) = known.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}"));
        let (kind, repeated) = (kind.trim_end_matches("[]"), kind.ends_with("[]"));
        let values = fields.entry(name.clone()).or_default();
        assert!(repeated || values.is_empty(), "{name} twice");
        if tokens.next_if(|token| token == "{").is_some() {
            values.push(Field::Message(message(tokens, kind)));
            assert_eq!(tokens.next().as_deref(), Some("}"), "{name}");
            continue;
        }
        assert_eq!(tokens.next().as_deref(), Some(":"), "{name}");
        let scalar = |token: String| match kind {
            "string" => Field::Text(token.strip_prefix('"').expect("text").into()),
            "int32" | "int64" => Field::Number(token.parse().expect("a number")),
            "DataType" => Field::Enumeration(token),
            _ => panic!("{name} is {token}, not a message"),
        };
        if repeated && tokens.next_if(|token| token == "[").is_some() {
            while let Some(token) = tokens.next_if(|token| token != "]") {
                values.push(scalar(token));
                tokens.next_if(|token| token == ",");
            }
            assert_eq!(tokens.next().as_deref(), Some("]"), "{name}");
        } else {
            values.push(scalar(tokens.next().expect("a value")));
        }
    }
    fields
}

fn numbers(fields: &Fields, name: &str) -> Vec<i64> {
    let number = |field: &Field| match field {
        Field::Number(number) => *number,
        other => panic!("{name} is {other:?}"),
    };
    fields.get(name).map_or(vec![], |all| all.iter().map(number).collect())
}

/// Name, Triton's type, and sizes: those of an image, or with a fixed batch all.
fn expected(value: &ValueInfoProto, batched: bool) -> (String, String, Vec<i64>) {
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    let size = |dim: &onnx::DimensionProto| match dim.value {
        Some(onnx::Dimension::Value(size)) => size,
        _ => -1,
    };
    let sizes: Vec<i64> = tensor.shape.as_ref().unwrap().dim.iter().map(size).collect();
    let data_type =
        [(DataType::Float, "TYPE_FP32"), (DataType::Uint8, "TYPE_UINT8"), (DataType::Int64, "TYPE_INT64")];
    let (_, name) = data_type.into_iter().find(|(kind, _)| i32::from(*kind) == tensor.elem_type).unwrap();
    assert_eq!(sizes[0] < 0, batched);
    (value.name.clone(), name.into(), sizes[usize::from(batched)..].to_vec())
}

fn said(tensor: &Field) -> (String, String, Vec<i64>) {
    let Field::Message(fields) = tensor else { panic!("{tensor:?}") };
    let (Field::Text(name), Field::Enumeration(data_type)) = (&fields["name"][0], &fields["data_type"][0])
    else {
        panic!("{fields:?}")
    };
    let dims = numbers(fields, "dims");
    assert!(!dims.is_empty(), "Triton wants at least one size");
    let sizes = match fields.get("reshape").map(|reshape| &reshape[0]) {
        Some(Field::Message(reshape)) => numbers(reshape, "shape"),
        _ => dims.clone(),
    };
    assert_eq!(sizes.iter().product::<i64>(), dims.iter().product::<i64>());
    (name.clone(), data_type.clone(), sizes)
}

fn check(repository: &Path, model: &str, batched: bool, inline: bool) {
    let folder = repository.join(model);
    let text = fs::read_to_string(folder.join("config.pbtxt")).unwrap();
    let mut tokens = tokens(&text).into_iter().peekable();
    let config = message(&mut tokens, "ModelConfig");
    assert_eq!(tokens.next(), None, "{text}");
    assert_eq!(config["name"], [Field::Text(model.into())]);
    assert_eq!(config["backend"], [Field::Text("onnxruntime".into())]);
    assert_eq!(numbers(&config, "max_batch_size")[0] > 0, batched);
    assert_eq!(config.contains_key("dynamic_batching"), batched);
    let Field::Text(file) = &config["default_model_filename"][0] else { panic!() };
    let bytes = fs::read(folder.join("1").join(file)).unwrap();
    let graph = ModelProto::decode(&*bytes).unwrap().graph.unwrap();
    for (field, values) in [("input", &graph.input), ("output", &graph.output)] {
        let mut said: Vec<_> = config[field].iter().map(said).collect();
        let mut expected: Vec<_> = values.iter().map(|value| expected(value, batched)).collect();
        said.sort();
        expected.sort();
        assert_eq!(said, expected, "{field} of {model}");
    }
    assert_eq!(folder.join("1/model.safetensors").exists(), !inline);
}

#[test]
fn the_configurations_fit_the_graphs() {
    for (classes, batch, inline) in [(0, None, false), (3, None, true), (3, NonZeroUsize::new(4), false)] {
        let (folder, path) = support::checkpoint(&Architecture { classes, ..support::small() });
        let out = folder.path().join("my faces");
        export(path, &out, &ExportOptions { verify: false, batch, inline, ..Default::default() }).unwrap();
        let repository = folder.path().join("repository");
        // Twice: the second time replaces the first.
        for _ in 0..2 {
            write_triton(&out, &repository).unwrap();
        }
        assert_eq!(fs::read_dir(&repository).unwrap().count(), 2);
        for part in ["encoder", "decoder"] {
            check(&repository, &format!("my_faces_{part}"), batch.is_none(), inline);
        }
    }
}
