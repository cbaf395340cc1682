//! Scratch.
mod random_checkpoint;
use glow_models::*;
#[test]
fn big() {
    let dir = std::env::var("BIG").unwrap();
    let a = Architecture { coupling: Coupling::Affine, ..Default::default() };
    random_checkpoint::write_random(&std::path::Path::new(&dir).join("cifar.safetensors"), &a, 1);
    let a = Architecture { height: 64, width: 64, n_bits: 5, levels: 4, depth: 48, ..Default::default() };
    random_checkpoint::write_random(&std::path::Path::new(&dir).join("celeba64.safetensors"), &a, 2);
}
