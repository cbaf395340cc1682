//! `encoder.onnx`: an image to its latents and its log-likelihood.
use super::builder::{Builder, Operand, Value};
use super::{coupling_network, label, metadata, node_name, shift_and_scale, split_prior, top_prior};
use crate::fold::Layout;
use crate::frozen::FrozenFile;
use crate::onnx::{DataType, ModelProto};
use glow_models::{Architecture, Coupling, Manifest};

const DOC: &str = "Glow, encoding: image and dequantisation noise in [0, 1) to the latents eps, standard \
    normal under the model, and log p(image) in nats.";

/// Builds the graph `image`, `noise` (, `label`) → `eps_0` … `eps_{L-1}`, `log_prob`.
pub(crate) fn encoder(manifest: &Manifest, weights: &FrozenFile) -> ModelProto {
    let architecture = &manifest.architecture;
    let mut graph = Builder::new("encoder", weights, manifest.batch);
    let mut x = pixels(&mut graph, architecture);
    let labels = label(&mut graph, architecture);
    // What is subtracted from the constant part of log p(image).
    let (mut squares, mut penalties) = (Vec::new(), Vec::new());
    let levels = architecture.level_shapes();
    for (level, shape) in levels.iter().enumerate() {
        let layout = graph.layout(level, shape);
        let mut divisors = Vec::new();
        let mut step = 0;
        let (mut z1, z2) = loop {
            let name = Architecture::step_name(level, step);
            let path = node_name(&name);
            let z = graph.conv(&format!("{name}.encode"), &x);
            let (z1, z2) = graph.split(&format!("{path}/split"), &z, layout.first());
            let (z2, divisor) =
                couple(&mut graph, architecture, &format!("{name}.coupling"), &z1, &z2, layout);
            divisors.extend(divisor);
            step += 1;
            if step == architecture.depth {
                break (z1, z2);
            }
            x = graph.concat(&format!("{path}/concat"), &[&z1, &z2]);
        };
        if !divisors.is_empty() {
            penalties.push(total_log_scale(&mut graph, level, &divisors));
        }
        let eps = if shape.splits {
            let (mean, logs) = split_prior(&mut graph, level, &z1, layout);
            let path = format!("level{level}/split");
            penalties.push(graph.reduce_sum(&format!("{path}/log_scale"), &logs));
            let centred = graph.elementwise("Sub", &format!("{path}/centre"), &z2, &[(&mean).into()]);
            let scale = graph.elementwise("Exp", &format!("{path}/scale"), &logs, &[]);
            x = z1;
            graph.elementwise("Div", &format!("{path}/eps"), &centred, &[(&scale).into()])
        } else {
            if layout.ones > 0 {
                (z1, _) = graph.split("top/without_ones", &z1, layout.half());
            }
            let z = graph.concat("top/concat", &[&z1, &z2]);
            top_prior(&mut graph, z, labels.as_ref(), [("Sub", "mean"), ("Div", "scale")])
        };
        let eps = graph.output(eps, &format!("eps_{level}"));
        let path = format!("log_prob/squares{level}");
        let square = graph.elementwise("Mul", &format!("{path}/square"), &eps, &[(&eps).into()]);
        squares.push(graph.reduce_sum(&path, &square));
    }
    let log_prob = log_prob(&mut graph, &squares, &penalties, labels.as_ref());
    graph.output(log_prob, "log_prob");
    graph.finish(DOC, &metadata(manifest))
}

/// floor(image / 2^(8−n_bits)) + noise, channels first. The rest of the way to x, a factor and an
/// offset, is in the first convolution.
fn pixels(graph: &mut Builder<'_>, architecture: &Architecture) -> Value {
    let shape = [architecture.height, architecture.width, architecture.channels];
    let image = graph.input("image", DataType::Uint8, &shape);
    let noise = graph.input("noise", DataType::Float, &shape);
    let mut x = graph.cast("image/float", &image, DataType::Float);
    if architecture.n_bits < 8 {
        let step = graph.scalar(architecture.bins() as f32 / 256.0);
        x = graph.elementwise("Mul", "image/reduce", &x, &[step]);
        x = graph.elementwise("Floor", "image/floor", &x, &[]);
    }
    x = graph.elementwise("Add", "image/dequantise", &x, &[(&noise).into()]);
    graph.transpose("image/channels_first", &x, [0, 3, 1, 2])
}

/// The coupling's new z2, and of an affine one what z2 was divided by, 1 + exp(r) with r = −(raw + 2).
fn couple(
    graph: &mut Builder<'_>,
    architecture: &Architecture,
    coupling: &str,
    z1: &Value,
    z2: &Value,
    layout: Layout,
) -> (Value, Option<Value>) {
    let path = node_name(coupling);
    match architecture.coupling {
        Coupling::Additive => {
            let shift = coupling_network(graph, coupling, z1);
            let mut z2 = graph.elementwise("Sub", &format!("{path}/add"), z2, &[(&shift).into()]);
            let border = format!("{coupling}.conv3.border");
            if graph.has_weight(&border) {
                let border = graph.weight(&border);
                z2 = graph.elementwise("Sub", &format!("{path}/border"), &z2, &[border]);
            }
            (z2, None)
        }
        Coupling::Affine => {
            let (shift, r) = shift_and_scale(graph, coupling, z1, layout);
            let z2 = graph.elementwise("Sub", &format!("{path}/add"), z2, &[(&shift).into()]);
            let exp = graph.elementwise("Exp", &format!("{path}/exp"), &r, &[]);
            let one = graph.scalar(1.0);
            let divisor = graph.elementwise("Add", &format!("{path}/divisor"), &exp, &[one]);
            let z2 = graph.elementwise("Div", &format!("{path}/scale"), &z2, &[(&divisor).into()]);
            (z2, Some(divisor))
        }
    }
}

/// Σ ln(1 + exp(r)) over all steps of a level: minus the couplings' part of its log-determinant. Not every
/// provider has Softplus; where the two differ, at scales near 1, it is by less than 6e-8 nats a value.
fn total_log_scale(graph: &mut Builder<'_>, level: usize, divisors: &[Value]) -> Value {
    let path = format!("level{level}/log_det");
    let all = match divisors {
        [one] => one.clone(),
        all => graph.concat(&format!("{path}/concat"), &all.iter().collect::<Vec<_>>()),
    };
    let logs = graph.elementwise("Log", &format!("{path}/log"), &all, &[]);
    graph.reduce_sum(&format!("{path}/sum"), &logs)
}

/// constant − ½·Σ eps² − penalties.
fn log_prob(
    graph: &mut Builder<'_>,
    squares: &[Value],
    penalties: &[Value],
    labels: Option<&Value>,
) -> Value {
    let others = |values: &[Value]| values[1..].iter().map(Operand::from).collect::<Vec<_>>();
    let squares = graph.sum("log_prob/squares", &squares[0], &others(squares));
    let half = graph.scalar(-0.5);
    let mut sum = graph.elementwise("Mul", "log_prob/normal", &squares, &[half]);
    if let Some(first) = penalties.first() {
        let penalty = graph.sum("log_prob/scales", first, &others(penalties));
        sum = graph.elementwise("Sub", "log_prob/flow", &sum, &[(&penalty).into()]);
    }
    let constant = match labels {
        Some(labels) => (&graph.gather("log_prob.constant", labels)).into(),
        None => graph.weight("log_prob.constant"),
    };
    graph.elementwise("Add", "log_prob/sum", &sum, &[constant])
}
