//! Where no file can be written, models load all the same, and the sessions share the weights. The temporary folder is
//! named by the environment, so this is a process of its own.
#![cfg(target_os = "linux")]
mod support;

use glow_runtime::{EncodeOptions, Error, Glow, GraphKind, LoadStep};
use std::sync::{Arc, Mutex};
use support::{copy, in_memory, noise, unconditional};

/// Mappings of weights in memory that this process has.
fn weights_in_memory() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("/memfd:weights.bin")).count()
}

#[test]
fn nothing_is_written() {
    let bundle = copy(&unconditional());
    let names = || std::fs::read_dir(bundle.path()).unwrap().count();
    let before = names();
    // SAFETY: this is the only test of the process, and no other thread reads the environment yet.
    unsafe { std::env::set_var("TMPDIR", bundle.path().join("model.json/below-a-file")) };
    assert!(tempfile::tempdir().is_err());
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&steps);
    let builder = Glow::builder().on_progress(move |step| seen.lock().unwrap().push(step));
    let bytes = in_memory(bundle.path());
    let reference = builder.clone().share_weights(false).load(bundle.path()).unwrap();
    assert_eq!(weights_in_memory(), 0);
    let encode = |glow: &Glow| glow.encode(&noise(3), &EncodeOptions::new()).unwrap();
    let cached = builder.clone().cache(bundle.path().join("model.json/cache"));
    // Each model goes before the next one is loaded.
    let agrees = |glow: Result<Glow, Error>, shared| {
        assert_eq!(weights_in_memory(), shared);
        assert_eq!(encode(&glow.unwrap()), encode(&reference));
    };
    agrees(builder.clone().load(bundle.path()), 1);
    agrees(builder.clone().sessions(3).load(bundle.path()), 1);
    agrees(builder.clone().load_bytes(bytes.clone()), 1);
    agrees(builder.clone().share_weights(false).load_bytes(bytes.clone()), 0);
    agrees(builder.clone().encoder_only().load_bytes(bytes), 0);
    agrees(cached.load(bundle.path()), 1);
    // They go with the model.
    assert_eq!((weights_in_memory(), names()), (0, before));
    let steps = steps.lock().unwrap();
    assert!(!steps.iter().any(|step| matches!(step, LoadStep::NotShared { .. })));
    assert_eq!(steps.iter().filter(|step| matches!(step, LoadStep::NotCached { .. })).count(), 1);
    // A profile is a file.
    assert!(matches!(reference.nodes(GraphKind::Encoder), Err(Error::Write { .. })));
}
