//! The two graphs over the frozen weights, and what they share.
//!
//! The batch axis N is the only dynamic one, unless it is fixed too; no node computes a shape. Operators are those
//! that every provider has, where there is a choice: `docs/operators.md` lists them.
mod builder;
mod decoder;
mod encoder;
mod network;

pub(crate) use builder::OPSET;
pub(crate) use decoder::decoder;
pub(crate) use encoder::encoder;

use crate::fold::Layout;
use crate::onnx::DataType;
use builder::{Builder, Value, node_name};
use glow_models::{Architecture, Manifest};
use network::coupling_network;

/// What both graphs carry as metadata: what they compute, and where it comes from.
fn metadata(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let json = |value: serde_json::Result<String>| value.expect("a manifest is always representable as JSON");
    vec![
        ("architecture", json(serde_json::to_string(&manifest.architecture))),
        ("generator", manifest.provenance.generator.clone()),
        ("precision", manifest.precision.to_string()),
        ("provenance", json(serde_json::to_string(&manifest.provenance))),
    ]
}

/// The input `label` of a class-conditional model.
fn label(graph: &mut Builder<'_>, architecture: &Architecture) -> Option<Value> {
    (architecture.classes > 0).then(|| graph.input("label", DataType::Int64, &[]))
}

/// The affine coupling's −shift and r = −(raw + 2).
fn shift_and_scale(graph: &mut Builder<'_>, coupling: &str, z1: &Value, layout: Layout) -> (Value, Value) {
    let path = node_name(coupling);
    let mut h = coupling_network(graph, coupling, z1);
    let border = format!("{coupling}.conv3.border");
    if graph.has_weight(&border) {
        let border = graph.weight(&border);
        h = graph.elementwise("Add", &format!("{path}/border"), &h, &[border]);
    }
    graph.split(&format!("{path}/split"), &h, layout.half())
}

/// The prior of a split: mean and log scale of z2 given z1.
fn split_prior(graph: &mut Builder<'_>, level: usize, z1: &Value, layout: Layout) -> (Value, Value) {
    let h = graph.conv(&format!("level{level}.split"), z1);
    graph.split(&format!("level{level}/split/halves"), &h, layout.half())
}

/// Applies mean and scale of the top prior, each with its operator, as far as there are any: the
/// learned ones, then those of the class.
fn top_prior(
    graph: &mut Builder<'_>,
    mut z: Value,
    labels: Option<&Value>,
    operators: [(&str, &str); 2],
) -> Value {
    for (op, part) in operators {
        for prior in ["top", "top.label"] {
            let tensor = format!("{prior}.{part}");
            if !graph.has_weight(&tensor) {
                continue;
            }
            let operand = match labels {
                Some(labels) if prior == "top.label" => (&graph.gather(&tensor, labels)).into(),
                _ => graph.weight(&tensor),
            };
            z = graph.elementwise(
                op,
                &format!("{}/{}", node_name(&tensor), op.to_lowercase()),
                &z,
                &[operand],
            );
        }
    }
    z
}
