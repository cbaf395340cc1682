//! `model.json`: whatever it says, it is read or refused, and what is read is within the limits.
#![no_main]

use glow_models::{Bundle, BundleBytes, DECODER_FILE, ENCODER_FILE, WEIGHTS_FILE};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|manifest: &[u8]| {
    let files = BundleBytes {
        manifest: manifest.to_vec().into(),
        weights: b"weights".into(),
        encoder: Some(b"encoder".into()),
        ..Default::default()
    };
    let Ok(bundle) = Bundle::from_bytes(files) else { return };
    let architecture = &bundle.manifest().architecture;
    architecture.validate().expect("only valid architectures are read");
    assert_eq!(bundle.manifest().latent_shapes, architecture.latent_shapes());
    let numbers: usize = bundle.manifest().latent_shapes.iter().map(|shape| shape.len()).sum();
    assert_eq!(numbers, architecture.dims());
    for file in [WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE, "../model.safetensors"] {
        let _ = bundle.verify(file);
    }
    assert!(bundle.manifest().files.keys().all(|file| !file.contains('/')));
});
