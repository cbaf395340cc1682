//! The readers of strangers' files, for the fuzz targets in `fuzz/`: each reads all that the bytes hold and
//! panics if that breaks what the reader promises. Built by cargo-fuzz alone.
use crate::onnx::{ExternalTensor, external_tensors, relocate};
use crate::weights::{Constants, Weights};
use crate::{Attribute, Attributes, Latents};
use glow_models::{Bundle, BundleBytes, LatentShape, WEIGHTS_FILE, check_graph};
use std::io::Write;
use std::sync::{Arc, OnceLock};

/// Bytes of the weights that the graphs refer to.
const LENGTH: u64 = 1 << 16;

/// An ONNX file: what the bundle's check lets through names no other file and no place outside of the weights; what
/// is taken as a constant is aligned and as long as its shape says; and moving the constants changes
/// nothing but their places.
pub fn graph(bytes: &[u8]) {
    static WEIGHTS: OnceLock<Arc<Weights>> = OnceLock::new();
    let weights = WEIGHTS.get_or_init(|| {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be written");
        file.as_file().set_len(LENGTH).expect("a temporary file can be written");
        Arc::new(Weights::open(file.path(), false).expect("it was written"))
    });
    let trusted = check_graph(bytes, LENGTH).is_ok();
    let read = external_tensors(bytes);
    assert!(!trusted || read.is_ok(), "{read:?}");
    let taken = Constants::new(bytes, weights).is_ok();
    let Ok(tensors) = read else { return assert!(!taken) };
    for tensor in &tensors {
        let end = tensor.offset.checked_add(tensor.length);
        let inside = end.is_some_and(|end| end <= LENGTH);
        assert!(!trusted || (inside && tensor.location == WEIGHTS_FILE), "{tensor:?}");
        assert!(
            !taken || (inside && tensor.length == size(tensor).expect("its size was compared")),
            "{tensor:?}"
        );
    }
    let moved =
        relocate(bytes, |tensor| ("moved.bin".into(), tensor.offset ^ 1)).expect("it was read before");
    let there = external_tensors(&moved).expect("what is written can be read");
    assert_eq!(tensors.len(), there.len());
    for (before, after) in tensors.iter().zip(&there) {
        let expected =
            ExternalTensor { location: "moved.bin".into(), offset: before.offset ^ 1, ..before.clone() };
        assert_eq!(*after, expected);
    }
    let back =
        relocate(&moved, |tensor| (WEIGHTS_FILE.into(), tensor.offset ^ 1)).expect("it was read before");
    let back = external_tensors(&back).expect("what is written can be read");
    assert!(tensors.iter().zip(&back).all(|(before, after)| before.offset == after.offset));
}

/// The bytes of a tensor's numbers.
fn size(tensor: &ExternalTensor) -> Option<u64> {
    let element = match tensor.data_type {
        1 | 6 => 4u64,
        2 | 3 => 1,
        7 => 8,
        10 | 16 => 2,
        other => panic!("type {other} was taken"),
    };
    assert_eq!(tensor.offset % element, 0);
    tensor.shape.iter().try_fold(element, |bytes, &n| bytes.checked_mul(n.try_into().ok()?))
}

/// `attributes.safetensors` of the model in `models/tests/bundle`: every direction suits the model and has a length.
pub fn attributes(bytes: &[u8]) {
    let files = BundleBytes {
        manifest: include_bytes!("../../models/tests/bundle/model.json")[..].into(),
        attributes: Some(bytes.to_vec().into()),
        ..Default::default()
    };
    let bundle = Bundle::from_bytes(files).expect("it is a bundle's manifest");
    let Ok(attributes) = Attributes::of(&bundle) else { return };
    let zeros = Latents::zeros(1, &bundle.manifest().latent_shapes);
    for (place, attribute) in attributes.iter().enumerate() {
        assert!(attribute.direction().iter().all(|number| number.is_finite()));
        assert_eq!(attributes.get(attribute.name()).map(Attribute::name).ok(), Some(attribute.name()));
        assert!(attributes.apply(&zeros, &[(attribute.name(), 1.0)]).is_ok());
        assert!(attributes.project(&zeros).is_ok_and(|at| at[[0, place]].is_finite()));
    }
}

/// A `.npy` file: what is taken has the model's size.
pub fn npy(bytes: &[u8]) {
    let shapes =
        [LatentShape { channels: 3, height: 2, width: 1 }, LatentShape { channels: 2, height: 1, width: 1 }];
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file can be written");
    file.write_all(bytes).expect("a temporary file can be written");
    let Ok(latents) = Latents::load_npy(file.path(), &shapes) else { return };
    assert!(latents.flat().len() <= bytes.len() / 4);
    assert_eq!(latents.flat().dim(), (latents.batch(), 8));
}
