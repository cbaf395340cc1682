//! The coupling networks, in the number format of their frozen weights.
use super::builder::{Builder, Value, node_name};
use crate::onnx::DataType;

/// NN(z1) of a step, as the last convolution gives it: the negated shift, and of an affine coupling
/// r = −(raw + 2) behind it. `conv3.border`, if there is one, is still to be added.
pub(super) fn coupling_network(graph: &mut Builder<'_>, coupling: &str, z1: &Value) -> Value {
    match graph.weight_type(&format!("{coupling}.conv1.weight")) {
        DataType::Int8 if graph.has_weight(&format!("{coupling}.conv3.output_scale")) => {
            integers(graph, coupling, z1)
        }
        DataType::Int8 => signed_integers(graph, coupling, z1),
        DataType::Float16 => {
            let path = node_name(coupling);
            let half = graph.cast(&format!("{path}/half"), z1, DataType::Float16);
            let h = floats(graph, coupling, &half);
            graph.cast(&format!("{path}/float"), &h, DataType::Float)
        }
        _ => floats(graph, coupling, z1),
    }
}

fn floats(graph: &mut Builder<'_>, coupling: &str, z1: &Value) -> Value {
    let path = node_name(coupling);
    let mut h = z1.clone();
    for layer in [1, 2] {
        h = graph.conv(&format!("{coupling}.conv{layer}"), &h);
        h = graph.elementwise("Relu", &format!("{path}/relu{layer}"), &h, &[]);
    }
    graph.conv(&format!("{coupling}.conv3"), &h)
}

/// Each convolution stands between DequantizeLinear and QuantizeLinear, which runtimes fuse into integer
/// arithmetic. The steps of the hidden activations begin at 0: to quantise is the ReLU. The answer's
/// steps are 1 for all channels in front of the last QuantizeLinear, and each channel's own behind it.
fn integers(graph: &mut Builder<'_>, coupling: &str, z1: &Value) -> Value {
    let mut h = z1.clone();
    for layer in [1, 2, 3].map(|layer| format!("{coupling}.conv{layer}")) {
        let steps = graph.weights_of(&layer, ["input_scale", "input_zero_point"]);
        let path = node_name(&layer);
        let quantised = graph.quantize(&format!("{path}/quantize"), &h, &steps, DataType::Uint8);
        let input = graph.dequantize(&format!("{path}/dequantize"), &quantised, &steps, None);
        let weights =
            ["weight", "bias"].map(|part| graph.dequantized_weight(&format!("{layer}.{part}"))).to_vec();
        h = graph.convolve(&layer, &input, weights);
    }
    let layer = format!("{coupling}.conv3");
    let path = format!("{}/answer", node_name(&layer));
    let one = [graph.scalar(1.0), graph.byte(0)];
    let answer = graph.quantize(&format!("{path}/quantize"), &h, &one, DataType::Uint8);
    let scale = [graph.weight(&format!("{layer}.output_scale"))];
    graph.dequantize(&format!("{path}/dequantize"), &answer, &scale, Some(1))
}

/// As TensorRT takes it: a pair of QuantizeLinear and DequantizeLinear in front of each convolution, of signed
/// steps without a zero point; biases, ReLU and answer in float.
fn signed_integers(graph: &mut Builder<'_>, coupling: &str, z1: &Value) -> Value {
    let mut h = z1.clone();
    for n in [1, 2, 3] {
        let layer = format!("{coupling}.conv{n}");
        let path = node_name(&layer);
        let steps = graph.weights_of(&layer, ["input_scale", "input_zero_point"]);
        let quantised = graph.quantize(&format!("{path}/quantize"), &h, &steps, DataType::Int8);
        let input = graph.dequantize(&format!("{path}/dequantize"), &quantised, &steps, None);
        let weights = vec![
            graph.dequantized_weight(&format!("{layer}.weight")),
            graph.weight(&format!("{layer}.bias")),
        ];
        h = graph.convolve(&layer, &input, weights);
        if n < 3 {
            h = graph.elementwise("Relu", &format!("{}/relu{n}", node_name(coupling)), &h, &[]);
        }
    }
    h
}
