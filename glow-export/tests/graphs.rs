//! What stands in the `.onnx` files.
#[path = "../src/onnx.rs"]
#[allow(dead_code, unreachable_pub, reason = "the crate's own messages, which it does not publish")]
mod onnx;
mod support;

use glow_export::{ExportOptions, export};
use glow_models::Architecture;
use onnx::{DataLocation, DataType, ModelProto};
use prost::Message;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs;
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
    let (folder, path) = support::checkpoint(architecture);
    let out = folder.path().join("bundle");
    export(path, &out, &ExportOptions { verify: false, ..Default::default() }).unwrap();
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
