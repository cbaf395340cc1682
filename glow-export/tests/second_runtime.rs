//! A bundle is plain ONNX: RTen, a runtime that shares no code with ONNX Runtime, computes the same from it.
#[path = "../src/onnx.rs"]
#[allow(dead_code, unreachable_pub, reason = "the crate's own messages, which it does not publish")]
mod onnx;
mod support;

use glow_export::{ExportOptions, export};
use glow_models::{Architecture, Coupling};
use glow_runtime::{Glow, Latents};
use ndarray::Array4;
use onnx::ModelProto;
use prost::Message;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rten::{Model, Value, ValueOrView};
use std::fs;
use std::path::Path;

const IMAGES: usize = 3;

/// A graph in RTen.
struct Graph(Model);

impl Graph {
    fn load(bundle: &Path, file: &str) -> Self {
        // RTen 0.24 takes a node for the value of the same name; nodes need no names.
        let mut model = ModelProto::decode(&*fs::read(bundle.join(file)).unwrap()).unwrap();
        let graph = model.graph.as_mut().unwrap();
        graph.node.iter_mut().for_each(|node| node.name.clear());
        // It has no cast to uint8: the last one is left out, and the bytes are read as floats.
        graph.node.retain(|node| node.output != ["image"]);
        graph.output.retain(|output| output.name != "image");
        Self(Model::load(model.encode_to_vec()).unwrap_or_else(|error| panic!("{file}: {error}")))
    }

    fn run(&self, inputs: Vec<(&str, Value)>, outputs: &[String]) -> Vec<Value> {
        let id = |name: &str| self.0.node_id(name).unwrap();
        let inputs = inputs.into_iter().map(|(name, value)| (id(name), ValueOrView::Value(value))).collect();
        let outputs: Vec<_> = outputs.iter().map(|name| id(name)).collect();
        self.0.run(inputs, &outputs, None).unwrap()
    }
}

fn value<T>(shape: &[usize], data: Vec<T>) -> Value
where
    Value: From<rten_tensor::Tensor<T>>,
{
    Value::from_shape(shape, data).unwrap()
}

/// The largest difference, to the size of the largest number or to 1.
fn difference<'a>(actual: &[f32], expected: impl Iterator<Item = &'a f32> + Clone) -> f32 {
    assert_eq!(actual.len(), expected.clone().count());
    let size = expected.clone().fold(1.0, |size: f32, value| size.max(value.abs()));
    actual.iter().zip(expected).fold(0.0, |largest: f32, (a, b)| {
        let difference = (a - b).abs() / size;
        if difference.is_nan() { f32::INFINITY } else { largest.max(difference) }
    })
}

/// Encodes and decodes in both runtimes; gives the largest relative difference.
fn compare(architecture: &Architecture) -> f32 {
    let (folder, path) = support::checkpoint(architecture);
    let out = folder.path().join("bundle");
    // RTen reads external data of files of some names only, which model.safetensors is not one of.
    export(path, &out, &ExportOptions { verify: false, inline: true, ..Default::default() }).unwrap();
    let glow = Glow::load(&out).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(5);

    let shape = [IMAGES, architecture.height, architecture.width, architecture.channels];
    let images = Array4::from_shape_simple_fn(shape, || random.random::<u8>());
    let noise = Array4::from_shape_simple_fn(shape, || random.random::<f32>());
    let labels: Option<Vec<i64>> = (architecture.classes > 0).then(|| vec![0, 2, 1]);
    // RTen takes labels as 32-bit integers: the range of its own.
    let label = labels.as_ref().map(|labels| labels.iter().map(|&label| label as i32).collect::<Vec<_>>());
    let label = || label.clone().map(|labels| ("label", value(&[IMAGES], labels)));

    let levels: Vec<String> = (0..architecture.levels).map(|level| format!("eps_{level}")).collect();
    let expected = glow.encode_with(&images, &noise, labels.as_deref()).unwrap();
    let mut inputs = vec![
        ("image", value(&shape, images.iter().copied().collect())),
        ("noise", value(&shape, noise.iter().copied().collect())),
    ];
    inputs.extend(label());
    let outputs: Vec<String> = levels.iter().cloned().chain(["log_prob".into()]).collect();
    let mut actual = Graph::load(&out, "encoder.onnx").run(inputs, &outputs);
    let log_prob: Vec<f32> = actual.pop().unwrap().into_shape_vec::<_, 1>().unwrap().1;
    let mut worst = difference(&log_prob, expected.log_prob.iter());
    for (actual, expected) in actual.into_iter().zip(expected.latents.levels()) {
        let (shape, actual) = actual.into_shape_vec::<f32, 4>().unwrap();
        assert_eq!(shape, expected.shape());
        worst = worst.max(difference(&actual, expected.iter()));
    }

    let latents: Vec<Array4<f32>> = architecture
        .latent_shapes()
        .iter()
        .map(|s| {
            let shape = (IMAGES, s.channels, s.height, s.width);
            Array4::from_shape_simple_fn(shape, || {
                let normal: f32 = StandardNormal.sample(&mut random);
                0.7 * normal
            })
        })
        .collect();
    let expected = glow.decode(&Latents::from_levels(latents.clone()).unwrap(), labels.as_deref()).unwrap();
    let latents = levels.iter().zip(&latents);
    let mut inputs: Vec<_> = latents
        .map(|(name, level)| (name.as_str(), value(level.shape(), level.iter().copied().collect())))
        .collect();
    inputs.extend(label());
    let outputs = ["image/clip".to_string(), "x".to_string()];
    let mut actual = Graph::load(&out, "decoder.onnx").run(inputs, &outputs);
    let (_, x) = actual.pop().unwrap().into_shape_vec::<f32, 4>().unwrap();
    worst = worst.max(difference(&x, expected.x.iter()));
    let (_, pixels) = actual.pop().unwrap().into_shape_vec::<f32, 4>().unwrap();
    // Where x lies as near a step's edge as the two differ, a pixel may fall on either side.
    let bins = architecture.bins() as f32;
    for ((actual, expected), x) in pixels.iter().zip(&expected.images).zip(&x) {
        let steps = (x + 0.5) * bins;
        assert!(
            *actual == f32::from(*expected) || (steps - steps.round()).abs() < 1e-5 * bins,
            "{actual} {expected} {x}"
        );
    }
    worst
}

#[test]
fn another_runtime_computes_the_same() {
    for coupling in [Coupling::Additive, Coupling::Affine] {
        for (classes, edge_bias, n_bits) in [(0, true, 8), (3, true, 5), (3, false, 8)] {
            let (height, width) = (16, 16);
            let architecture =
                Architecture { coupling, classes, edge_bias, n_bits, height, width, ..support::small() };
            let worst = compare(&architecture);
            println!("{coupling:?}, {classes} classes, edge bias {edge_bias}: {worst:.1e}");
            assert!(worst < 1e-5, "{worst} for {architecture:?}");
        }
    }
}
