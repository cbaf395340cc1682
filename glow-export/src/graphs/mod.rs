//! The two graphs over the frozen weights, and what they share.
//!
//! The batch axis N is the only dynamic one; no node computes a shape.
mod builder;
mod decoder;
mod encoder;

pub(crate) use builder::OPSET;
pub(crate) use decoder::decoder;
pub(crate) use encoder::encoder;

use crate::fold::Layout;
use crate::onnx::DataType;
use builder::{Builder, Value, node_name};
use glow_models::Architecture;

/// What both graphs carry as metadata.
fn metadata(architecture: &Architecture) -> Vec<(&'static str, String)> {
    let json = serde_json::to_string(architecture).expect("an architecture is always representable as JSON");
    vec![("architecture", json), ("generator", crate::GENERATOR.into())]
}

/// The input `label` of a class-conditional model.
fn label(graph: &mut Builder<'_>, architecture: &Architecture) -> Option<Value> {
    (architecture.classes > 0).then(|| graph.input("label", DataType::Int64, &[]))
}

/// NN(z1) of a step, as the last convolution gives it: the negated shift, and of an affine coupling
/// r = −(raw + 2) behind it. With edge bias the map of `conv3.border` is still to be added.
fn coupling_network(graph: &mut Builder<'_>, coupling: &str, z1: &Value) -> Value {
    let path = node_name(coupling);
    let mut h = z1.clone();
    for layer in [1, 2] {
        h = graph.conv(&format!("{coupling}.conv{layer}"), &h);
        h = graph.elementwise("Relu", &format!("{path}/relu{layer}"), &h, &[]);
    }
    graph.conv(&format!("{coupling}.conv3"), &h)
}

/// The affine coupling's −shift and r = −(raw + 2).
fn shift_and_scale(graph: &mut Builder<'_>, coupling: &str, z1: &Value, layout: Layout) -> (Value, Value) {
    let path = node_name(coupling);
    let mut h = coupling_network(graph, coupling, z1);
    if layout.ones > 0 {
        let border = graph.weight(&format!("{coupling}.conv3.border"));
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
