//! OpenVINO computes the same model; where `make setup OPENVINO=1` was not run there is nothing to test.
#![cfg(feature = "openvino")]
mod support;

use glow_runtime::{EncodeOptions, Glow, GraphKind, OpenVino, OpenVinoPrecision, Provider};
use support::{in_memory, noise, unconditional};

#[test]
fn openvino_computes_the_same_model() {
    let library =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.native/openvino/onnxruntime/capi");
    if !library.is_dir() {
        eprintln!("skipped: {} is not there", library.display());
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let provider = |precision| Provider::OpenVino(OpenVino::default().precision(precision));
    let load = |provider| {
        let builder = Glow::builder().provider(provider).onnxruntime(&library).threads(2);
        builder.cache(cache.path()).load(unconditional()).unwrap()
    };
    let images = noise(9);
    let encode = |glow: &Glow| glow.encode(&images, &EncodeOptions::default()).unwrap();
    let cpu = encode(&load(Provider::Cpu));
    // The second time from the cache.
    for _ in 0..2 {
        let glow = load(provider(OpenVinoPrecision::F32));
        let openvino = encode(&glow);
        for (a, b) in cpu.log_prob.iter().zip(&openvino.log_prob) {
            assert!((a - b).abs() < 1e-4 * a.abs(), "{a} {b}");
        }
        assert_eq!(glow.reconstruct(&images, None).unwrap(), images);
        for graph in [GraphKind::Encoder, GraphKind::Decoder] {
            let nodes = glow.nodes(graph).unwrap();
            assert!(nodes.iter().all(|node| node.provider == "OpenVINOExecutionProvider"), "{nodes:?}");
        }
    }
    // The weights of a bundle in memory go into its graph.
    let bytes = in_memory(&unconditional());
    let builder = Glow::builder().provider(provider(OpenVinoPrecision::F32)).onnxruntime(&library).threads(2);
    let glow = builder.load_bytes(bytes).unwrap();
    assert_eq!(glow.reconstruct(&images, None).unwrap(), images);
}
