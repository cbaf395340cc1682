//! y0ast/Glow-PyTorch: chaiyujin's network under other names, and our x. A state dict, or ignite's dictionary
//! with it under `model`.
use super::chaiyujin::{Names, map_named};
use super::tensors::Tensors;
use super::{ImportError, Mapped, Peer, Settings};

const NAMES: Names = Names {
    peer: Peer::Y0ast,
    network: "block",
    conv: ".conv",
    linear: ".linear",
    factors: ["lower", "upper"],
    learn_top: "learn_top_fn",
};

pub(super) fn map(tensors: &Tensors, settings: &Settings) -> Result<Mapped, ImportError> {
    let mut notes = vec![
        "its training scores images as ours does, under uniform noise: bits/dim are comparable at 8 bits"
            .into(),
    ];
    if settings.n_bits.is_some_and(|bits| bits != 8) {
        notes.push(
            "its noise and its constant are those of 8 bits whatever n_bits is: bits/dim are not comparable"
                .into(),
        );
    }
    map_named(tensors, settings, &NAMES, |actnorm| actnorm, notes)
}
