//! `faces64`, the model that comes with the project: faces at 64×64 pixels, RGB, 5 bits, with ten attributes.
//! Its card is README.md.
//!
//! **The weights were trained on CelebA: they are for non-commercial research only.**
use glow_models::BundleBytes;
use std::path::{Path, PathBuf};

/// The model's name.
pub const NAME: &str = "faces64";

/// What must be said wherever the model is offered.
pub const LICENCE: &str = "trained on CelebA, for non-commercial research only";

/// The bundle, held in the executable: 8 MB.
pub fn bundle() -> BundleBytes {
    BundleBytes {
        manifest: include_bytes!("../model.json")[..].into(),
        weights: include_bytes!("../model.safetensors")[..].into(),
        encoder: Some(include_bytes!("../encoder.onnx")[..].into()),
        decoder: Some(include_bytes!("../decoder.onnx")[..].into()),
        attributes: Some(include_bytes!("../attributes.safetensors")[..].into()),
    }
}

/// Scores of 850 held-out photographs, as `glow score --save-reference` writes them.
pub fn reference() -> &'static [u8] {
    include_bytes!("../reference.json")
}

/// The bundle's folder in the checkout that this crate was compiled in, if it is still there. A program that is
/// built to be passed on, with `GLOW_RELOCATABLE=1` set, knows of no such place.
pub fn folder() -> Option<PathBuf> {
    if option_env!("GLOW_RELOCATABLE").is_some() {
        return None;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.join("model.json").is_file().then(|| folder.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use glow_models::Bundle;

    /// Each file is what the manifest says, and of a size that a repository can hold.
    #[test]
    fn the_bundle_is_whole_and_small() {
        let embedded = Bundle::from_bytes(bundle()).unwrap();
        let folder = Bundle::open(&folder().expect("tests run in the checkout")).unwrap();
        assert_eq!(embedded.manifest(), folder.manifest());
        let mut bytes = bundle().attributes.unwrap().len() as u64;
        for (file, entry) in &embedded.manifest().files {
            embedded.verify(file).unwrap();
            folder.verify(file).unwrap();
            bytes += entry.bytes;
        }
        for graph in ["encoder.onnx", "decoder.onnx"] {
            embedded.check_graph(graph).unwrap();
        }
        assert!(bytes <= 8_000_000, "{bytes}");
        let a = &embedded.manifest().architecture;
        assert_eq!((a.height, a.width, a.channels, a.n_bits), (64, 64, 3, 5));
        assert!(!embedded.manifest().preprocessing.crop.is_whole(), "photographs are cut to the face");
    }

    /// The exporter proved the number format on real images.
    #[test]
    fn its_precision_costs_little() {
        let bundle = Bundle::from_bytes(bundle()).unwrap();
        let numerics = bundle.manifest().numerics.clone().expect("it was verified");
        assert!(numerics.real);
        let cost = numerics.bits_per_dim - numerics.fp32_bits_per_dim;
        assert!((-0.01..0.02).contains(&cost), "{cost}");
        assert!(numerics.bits_per_dim < 1.40, "{}", numerics.bits_per_dim);
    }
}
