//! What stands in the `.onnx` files.
#[path = "../src/onnx.rs"]
#[allow(dead_code, unreachable_pub, reason = "the crate's own messages, which it does not publish")]
mod onnx;
mod support;

use glow_export::{DataKind, DataSpec, ExportOptions, Int8Layout, Precision, export};
use glow_models::{Architecture, Coupling, Manifest};
use onnx::{DataLocation, DataType, ModelProto};
use prost::Message;
use safetensors::SafeTensors;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

/// Byte range in `model.safetensors` of every tensor that a graph uses.
fn external(model: &ModelProto) -> BTreeMap<String, (usize, usize)> {
    let graph = model.graph.as_ref().unwrap();
    let mut places = BTreeMap::new();
    for tensor in &graph.initializer {
        if tensor.data_location == i32::from(DataLocation::External) {
            let entry =
                |key: &str| &tensor.external_data.iter().find(|entry| entry.key == key).unwrap().value;
            assert_eq!(entry("location"), "model.safetensors");
            let (offset, length) = (entry("offset").parse().unwrap(), entry("length").parse().unwrap());
            places.insert(tensor.name.clone(), (offset, length));
        } else {
            let scalar = tensor.dims.is_empty();
            assert!(scalar || tensor.data_type == i32::from(DataType::Int64), "{} is inline", tensor.name);
        }
    }
    places
}

fn bundle(architecture: &Architecture, test: impl FnOnce(&Path, ModelProto, ModelProto)) {
    bundle_with(architecture, ExportOptions::default(), test);
}

/// The same with options; never verified.
fn bundle_with(
    architecture: &Architecture,
    options: ExportOptions,
    test: impl FnOnce(&Path, ModelProto, ModelProto),
) {
    let (folder, path) = support::checkpoint(architecture);
    let out = folder.path().join("bundle");
    let photos = folder.path().join("photos");
    support::write_images(&photos, architecture, 12);
    let images = Some(DataSpec { kind: DataKind::Images, path: photos });
    export(path, &out, &ExportOptions { verify: false, images, ..options }).unwrap();
    let model = |file: &str| ModelProto::decode(&*fs::read(out.join(file)).unwrap()).unwrap();
    test(&out, model("encoder.onnx"), model("decoder.onnx"));
}

#[test]
fn every_weight_is_stored_once_and_the_networks_are_shared() {
    bundle(&support::small(), |folder, encoder, decoder| {
        let (encoder, decoder) = (external(&encoder), external(&decoder));
        let file = fs::read(folder.join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&file).unwrap();
        for name in tensors.names() {
            let data = tensors.tensor(name).unwrap().data();
            let place = (data.as_ptr() as usize - file.as_ptr() as usize, data.len());
            let uses: Vec<_> = [&encoder, &decoder].iter().filter_map(|graph| graph.get(name)).collect();
            assert!(uses.iter().all(|&&used| used == place), "{name}");
            let shared = [".coupling.", ".split.", "top."].iter().any(|part| name.contains(part));
            assert_eq!(uses.len(), if shared || name.starts_with("top.") { 2 } else { 1 }, "{name}");
        }
        assert!(encoder.keys().chain(decoder.keys()).all(|name| tensors.tensor(name).is_ok()));
    });
}

#[test]
fn graphs_are_plain_onnx_with_a_dynamic_batch_alone() {
    let architecture = Architecture { classes: 3, n_bits: 5, ..support::small() };
    bundle(&architecture, |_, encoder, decoder| {
        for model in [encoder, decoder] {
            assert_eq!((model.ir_version, model.opset_import[0].version), (7, 13));
            let metadata: Vec<_> = model.metadata_props.iter().map(|entry| entry.key.as_str()).collect();
            assert_eq!(metadata, ["architecture", "generator", "precision", "provenance"]);
            let json = &model.metadata_props[0].value;
            assert_eq!(serde_json::from_str::<Architecture>(json).unwrap(), architecture);
            let graph = model.graph.unwrap();
            for node in &graph.node {
                let dynamic = ["Shape", "Reshape", "Loop", "If", "RandomNormal", "RandomUniform"];
                assert!(!dynamic.contains(&node.op_type.as_str()), "{}", node.op_type);
            }
            for end in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
                let shape =
                    end.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().shape.as_ref().unwrap();
                let dynamic =
                    |dim: &onnx::DimensionProto| dim.value == Some(onnx::Dimension::Param("N".into()));
                assert!(dynamic(&shape.dim[0]), "{}", end.name);
                assert!(!shape.dim[1..].iter().any(dynamic), "{}", end.name);
            }
            let conv2 = graph.node.iter().find(|node| node.name == "level1/step01/coupling/conv2").unwrap();
            assert_eq!(conv2.input[1], "level1.step01.coupling.conv2.weight");
        }
    });
}

/// The columns of a table of `docs/operators.md`: of each operator, which providers have it.
fn documented(table: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let text = include_str!("../../docs/operators.md");
    let section =
        text.split("\n## ").find(|section| section.starts_with(table)).expect("the section is there");
    let mut rows = section.lines().filter(|line| line.starts_with('|')).map(|line| {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect::<Vec<_>>()
    });
    let head = rows.next().expect("the section has a table");
    rows.skip(1)
        .map(|row| {
            assert_eq!(row.len(), head.len(), "{row:?}");
            let cells = head.iter().cloned().zip(row.iter().cloned()).skip(1).collect();
            (row[0].trim_matches('`').to_string(), cells)
        })
        .collect()
}

/// Nodes that lie behind a convolution, seen from either end of the graph.
fn behind_convolutions<'a>(
    nodes: impl Iterator<Item = &'a onnx::NodeProto>,
    backwards: bool,
) -> BTreeSet<&'a str> {
    let (mut values, mut reached) = (BTreeSet::new(), BTreeSet::new());
    for node in nodes {
        let (from, to) = match backwards {
            false => (&node.input, &node.output),
            true => (&node.output, &node.input),
        };
        let meets = from.iter().any(|value| values.contains(value.as_str()));
        if meets {
            reached.insert(node.name.as_str());
        }
        if meets || node.op_type == "Conv" {
            values.extend(to.iter().map(String::as_str));
        }
    }
    reached
}

/// Of each operator whether all of its nodes lie in front of the first convolution or behind the last
/// one, where another provider can take them without cutting the flow in pieces.
fn at_the_ends(model: &ModelProto) -> BTreeMap<String, bool> {
    let graph = model.graph.as_ref().unwrap();
    let after = behind_convolutions(graph.node.iter(), false);
    let before = behind_convolutions(graph.node.iter().rev(), true);
    let mut operators = BTreeMap::new();
    for node in &graph.node {
        let end = !(after.contains(node.name.as_str()) && before.contains(node.name.as_str()));
        *operators.entry(node.op_type.clone()).or_insert(true) &= end;
    }
    operators
}

#[test]
fn every_operator_is_one_that_every_provider_has() {
    let floats = documented("fp32 and fp16");
    let layouts = [Int8Layout::Cpu, Int8Layout::TensorRt];
    let integers = [documented("int8, for CPUs"), documented("int8, for TensorRT")];
    let mut met = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    let formats = [(Precision::Fp32, 0), (Precision::Fp16, 0), (Precision::Int8, 0), (Precision::Int8, 1)];
    for (precision, layout) in formats {
        for index in 0..16 {
            let bit = |place: usize| index >> place & 1 == 1;
            let architecture = Architecture {
                coupling: if bit(0) { Coupling::Additive } else { Coupling::Affine },
                classes: if bit(1) { 3 } else { 0 },
                edge_bias: bit(2),
                n_bits: if bit(3) { 8 } else { 5 },
                ..support::small()
            };
            let options = ExportOptions { precision, layout: layouts[layout], ..Default::default() };
            bundle_with(&architecture, options, |_, encoder, decoder| {
                for (operator, end) in [encoder, decoder].iter().flat_map(at_the_ends) {
                    if precision == Precision::Int8 && integers[layout].contains_key(&operator) {
                        met[1 + layout].insert(operator);
                        continue;
                    }
                    let Some(providers) = floats.get(&operator) else {
                        panic!("{operator} of {precision} is not in docs/operators.md")
                    };
                    for (provider, has) in providers {
                        let allowed = match has.as_str() {
                            "yes" | "fixed batch" => true,
                            "ends" => end,
                            _ => false,
                        };
                        assert!(allowed, "{provider} has {operator}: {has}; of {precision} {architecture:?}");
                    }
                    met[0].insert(operator);
                }
            });
        }
    }
    // No row is about what no graph has.
    assert!(floats.keys().eq(met[0].iter()), "{:?} {:?}", floats.keys(), met[0]);
    for (integers, met) in integers.iter().zip(&met[1..]) {
        assert!(integers.keys().eq(met.iter()), "{:?} {met:?}", integers.keys());
    }
}

fn dimensions(info: &onnx::ValueInfoProto) -> Vec<Option<i64>> {
    let shape = info.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().shape.as_ref().unwrap();
    let size = |dim: &onnx::DimensionProto| match &dim.value {
        Some(onnx::Dimension::Value(size)) => Some(*size),
        _ => None,
    };
    shape.dim.iter().map(size).collect()
}

#[test]
fn a_fixed_batch_leaves_no_size_open() {
    let architecture = Architecture { classes: 3, ..support::small() };
    let options = ExportOptions { batch: NonZeroUsize::new(4), ..Default::default() };
    bundle_with(&architecture, options, |folder, encoder, decoder| {
        for model in [encoder, decoder] {
            let graph = model.graph.unwrap();
            for value in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
                let sizes = dimensions(value);
                assert!(sizes[0] == Some(4) && sizes.iter().all(Option::is_some), "{} {sizes:?}", value.name);
            }
        }
        let manifest = fs::read(folder.join("model.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Manifest>(&manifest).unwrap().batch, Some(4));
    });
}

/// ONNX Runtime's WebGPU provider computes 3×3 convolutions wrongly whose input channels are a multiple of 3 and not of
/// 4, and tensor cores take half precision in multiples of 8.
#[test]
fn convolutions_have_channels_that_accelerators_like() {
    for (channels, edge_bias) in [(1, true), (1, false), (3, true), (3, false)] {
        for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
            let architecture = Architecture { channels, edge_bias, levels: 3, ..support::small() };
            let options = ExportOptions { precision, ..Default::default() };
            bundle_with(&architecture, options, |_, encoder, decoder| {
                for graph in [encoder, decoder].into_iter().map(|model| model.graph.unwrap()) {
                    let weights: BTreeMap<_, _> =
                        graph.initializer.iter().map(|tensor| (tensor.name.as_str(), &tensor.dims)).collect();
                    for node in graph.node.iter().filter(|node| node.op_type == "Conv") {
                        let weight = format!("{}.weight", node.name.replace('/', "."));
                        let [_, inputs, kernel, _] = weights[weight.as_str()][..] else { panic!("{weight}") };
                        assert!(kernel != 3 || inputs % 3 > 0 || inputs % 4 == 0, "{weight} of {inputs}");
                        let half = precision == Precision::Fp16 && weight.contains(".coupling.");
                        assert!(!half || inputs % 8 == 0, "{weight} of {inputs}");
                    }
                }
            });
        }
    }
}
