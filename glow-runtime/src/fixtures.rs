//! What the tests of several modules start from.
use crate::{Architecture, Manifest, Precision, Provenance, Weights};

/// The manifest of a model that is in no folder.
pub(crate) fn manifest(architecture: Architecture) -> Manifest {
    let provenance = Provenance {
        generator: "test".into(),
        checkpoint: "test".into(),
        weights: Weights::Raw,
        average: None,
        step: 0,
        images_seen: 0,
        bits_per_dim: None,
    };
    Manifest::new(architecture, Precision::Fp32, 13, provenance)
}
