//! Random models, frozen by glow-export.
use glow_models::{
    Architecture, Checkpoint, CheckpointMeta, Config, Coupling, Dtype, Group, Parameter, write_atomically,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use std::path::Path;
use std::process::Command;

/// 8×8 RGB images, two levels of two affine steps.
pub fn architecture(classes: usize) -> Architecture {
    Architecture {
        height: 8,
        width: 8,
        levels: 2,
        depth: 2,
        hidden: 8,
        coupling: Coupling::Affine,
        classes,
        ..Default::default()
    }
}

/// Freezes a random model of so many classes into a folder.
pub fn export(classes: usize, folder: &Path, options: &[&str]) {
    let run = tempfile::tempdir().unwrap();
    let checkpoint = run.path().join("random.safetensors");
    write_checkpoint(&checkpoint, classes);
    let mut export = Command::new(env!("CARGO"));
    export.args(["run", "--quiet", "-p", "glow-export", "--"]).arg(checkpoint).arg("--out").arg(folder);
    assert!(export.args(options).status().unwrap().success());
}

fn write_checkpoint(path: &Path, classes: usize) {
    let config = Config { model: architecture(classes), ..Default::default() };
    let meta = CheckpointMeta { config, train_images: 1, actnorm_initialised: true, ..Default::default() };
    let mut random = ChaCha8Rng::seed_from_u64(1);
    write_atomically(path, |out| {
        Checkpoint::write(out, &meta, &Group::ALL, |_, parameter, out| {
            out.write_all(&tensor(parameter, &mut random))
        })
    })
    .unwrap();
}

/// Random values under which every layer does something, and none too much.
fn tensor(parameter: &Parameter, random: &mut ChaCha8Rng) -> Vec<u8> {
    let count = parameter.shape.iter().product();
    if parameter.dtype == Dtype::I64 {
        let mut indices: Vec<i64> = (0..count as i64).collect();
        for i in (1..count).rev() {
            indices.swap(i, random.next_u32() as usize % (i + 1));
        }
        return indices.iter().flat_map(|index| index.to_le_bytes()).collect();
    }
    let deviation = match parameter.name.rsplit('.').next() {
        Some("logs") => 0.05,
        Some("weight") => 0.1,
        _ => 0.1,
    };
    let normal = Normal::new(0.0, deviation).unwrap();
    let values = (0..count).map(|_| {
        let value: f32 = normal.sample(random);
        if parameter.name.ends_with("sign_s") { value.signum() } else { value }
    });
    values.flat_map(f32::to_le_bytes).collect()
}
