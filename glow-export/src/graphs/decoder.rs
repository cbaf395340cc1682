//! `decoder.onnx`: latents to the image.
use super::builder::{Builder, Value};
use super::{coupling_network, label, metadata, node_name, shift_and_scale, split_prior, top_prior};
use crate::fold::Layout;
use crate::frozen::FrozenFile;
use crate::onnx::{DataType, ModelProto};
use glow_models::{Architecture, Coupling, Manifest};

const DOC: &str = "Glow, decoding: the latents eps (standard normal to sample) to the image, and to the \
    flow's own value x before it is rounded.";

/// Builds the graph `eps_0` … `eps_{L-1}` (, `label`) → `image`, `x`.
pub(crate) fn decoder(manifest: &Manifest, weights: &FrozenFile) -> ModelProto {
    let architecture = &manifest.architecture;
    let mut graph = Builder::new("decoder", weights, manifest.batch);
    let eps: Vec<Value> = architecture
        .latent_shapes()
        .iter()
        .enumerate()
        .map(|(level, s)| {
            graph.input(&format!("eps_{level}"), DataType::Float, &[s.channels, s.height, s.width])
        })
        .collect();
    let labels = label(&mut graph, architecture);
    let mut x: Option<Value> = None;
    for (level, shape) in architecture.level_shapes().iter().enumerate().rev() {
        let layout = graph.layout(level, shape);
        let (mut z1, mut z2) = match x.take() {
            Some(z1) => {
                let (mean, logs) = split_prior(&mut graph, level, &z1, layout);
                let path = format!("level{level}/split");
                let scale = graph.elementwise("Exp", &format!("{path}/scale"), &logs, &[]);
                let scaled =
                    graph.elementwise("Mul", &format!("{path}/spread"), &eps[level], &[(&scale).into()]);
                let z2 = graph.elementwise("Add", &format!("{path}/z2"), &scaled, &[(&mean).into()]);
                (z1, z2)
            }
            None => {
                let scale_and_mean = [("Mul", "scale"), ("Add", "mean")];
                let z = top_prior(&mut graph, eps[level].clone(), labels.as_ref(), scale_and_mean);
                let (z1, z2) = graph.split("top/split", &z, layout.half());
                let z1 = if layout.ones > 0 { graph.conv(&format!("level{level}.ones"), &z1) } else { z1 };
                (z1, z2)
            }
        };
        for step in (0..architecture.depth).rev() {
            let name = Architecture::step_name(level, step);
            let path = node_name(&name);
            z2 = uncouple(&mut graph, architecture, &format!("{name}.coupling"), &z1, &z2, layout);
            let z = graph.concat(&format!("{path}/concat"), &[&z1, &z2]);
            let z = graph.conv(&format!("{name}.decode"), &z);
            if step == 0 {
                x = Some(graph.unsqueeze(&format!("level{level}/unsqueeze"), &z));
            } else {
                (z1, z2) = graph.split(&format!("{path}/split"), &z, layout.first());
            }
        }
    }
    image(&mut graph, architecture, &x.expect("at least one level"));
    graph.finish(DOC, &metadata(manifest))
}

/// z2 before the coupling: z2 − shift, or of an affine one z2·(1 + exp(r)) − shift.
fn uncouple(
    graph: &mut Builder<'_>,
    architecture: &Architecture,
    coupling: &str,
    z1: &Value,
    z2: &Value,
    layout: Layout,
) -> Value {
    let path = node_name(coupling);
    let terms = match architecture.coupling {
        Coupling::Additive => {
            let mut terms = vec![(&coupling_network(graph, coupling, z1)).into()];
            let border = format!("{coupling}.conv3.border");
            if graph.has_weight(&border) {
                terms.push(graph.weight(&border));
            }
            terms
        }
        Coupling::Affine => {
            let (shift, r) = shift_and_scale(graph, coupling, z1, layout);
            let exp = graph.elementwise("Exp", &format!("{path}/exp"), &r, &[]);
            let grown = graph.elementwise("Mul", &format!("{path}/scale"), z2, &[(&exp).into()]);
            vec![(&grown).into(), (&shift).into()]
        }
    };
    graph.sum(&format!("{path}/sum"), z2, &terms)
}

/// x, channels last, and clip(floor((x + 0.5)·2^n_bits)·2^(8−n_bits), 0, 255).
fn image(graph: &mut Builder<'_>, architecture: &Architecture, x: &Value) {
    let x = graph.transpose("x/channels_last", x, [0, 2, 3, 1]);
    let (half, bins, lowest, highest) =
        (graph.scalar(0.5), graph.scalar(architecture.bins() as f32), graph.scalar(0.0), graph.scalar(255.0));
    let mut pixels = graph.elementwise("Add", "image/from_zero", &x, &[half]);
    pixels = graph.elementwise("Mul", "image/steps", &pixels, &[bins]);
    pixels = graph.elementwise("Floor", "image/floor", &pixels, &[]);
    if architecture.n_bits < 8 {
        let step = graph.scalar(256.0 / architecture.bins() as f32);
        pixels = graph.elementwise("Mul", "image/bytes", &pixels, &[step]);
    }
    pixels = graph.elementwise("Clip", "image/clip", &pixels, &[lowest, highest]);
    let image = graph.cast("image/uint8", &pixels, DataType::Uint8);
    graph.output(image, "image");
    graph.output(x, "x");
}
