//! A checkpoint: it is refused, or every tensor that its architecture asks for can be read at its size.
#![no_main]

use glow_models::{Checkpoint, Group};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let Ok(checkpoint) = Checkpoint::from_bytes(bytes.to_vec(), Path::new("fuzzed")) else { return };
    let config = &checkpoint.meta().config;
    config.validate().expect("only valid configurations are read");
    assert!(checkpoint.groups().contains(&Group::Params));
    for parameter in config.model.parameters() {
        let numbers: usize = parameter.shape.iter().product();
        let bits = safetensors::Dtype::from(parameter.dtype).bitsize();
        for &group in checkpoint.groups().iter().filter(|group| group.holds(parameter.role)) {
            let read = checkpoint.bytes(group, &parameter.name).expect("a checked checkpoint has it");
            assert_eq!(read.len() * 8, numbers * bits, "{}", parameter.name);
        }
    }
});
