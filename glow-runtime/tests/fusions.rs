//! What ONNX Runtime makes of the graphs: the speed rests on it, and an exporter or a library that breaks it would go
//! unnoticed otherwise. For the version that `make setup` fetches.
mod support;

use glow_runtime::{Glow, GraphKind};
use std::collections::BTreeMap;
use std::path::Path;

/// The operators that run, and how often.
fn operators(glow: &Glow, graph: GraphKind) -> BTreeMap<String, usize> {
    let mut operators = BTreeMap::new();
    for node in glow.nodes(graph).unwrap() {
        assert_eq!(node.provider, "CPUExecutionProvider", "{node:?}");
        *operators.entry(node.operator).or_default() += 1;
    }
    operators
}

/// Steps of flow, splits.
fn steps(glow: &Glow) -> (usize, usize) {
    let architecture = glow.architecture();
    (architecture.levels * architecture.depth, architecture.levels - 1)
}

const GRAPHS: [GraphKind; 2] = [GraphKind::Encoder, GraphKind::Decoder];

#[test]
fn in_fp32_a_step_is_four_convolutions_with_their_relu() {
    let glow = support::load();
    let (steps, splits) = steps(&glow);
    for graph in GRAPHS {
        let operators = operators(&glow, graph);
        let count = |name: &str| operators.get(name).copied().unwrap_or(0);
        assert_eq!(count("Conv") + count("FusedConv"), 4 * steps + splits, "{graph}: {operators:?}");
        assert_eq!(
            [count("Relu"), count("BatchNormalization"), count("MatMul")],
            [0; 3],
            "{graph}: {operators:?}"
        );
    }
}

#[test]
fn in_int8_every_convolution_of_a_network_runs_in_integers() {
    let faces = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/faces64");
    let glow = Glow::load(faces).unwrap();
    let (steps, _) = steps(&glow);
    for graph in GRAPHS {
        let operators = operators(&glow, graph);
        let count = |name: &str| operators.get(name).copied().unwrap_or(0);
        assert_eq!(count("QLinearConv"), 3 * steps, "{graph}: {operators:?}");
        // Into the network and out of it.
        let borders = [count("QuantizeLinear"), count("DequantizeLinear")];
        assert_eq!(borders, [steps; 2], "{graph}: {operators:?}");
        assert_eq!([count("Relu"), count("ConvInteger")], [0; 2], "{graph}: {operators:?}");
    }
}
