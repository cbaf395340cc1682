//! Checkpoints of small models with random parameters, none of them left at its initial value.
#![allow(dead_code, reason = "each test file uses a part")]
use glow_models::{
    Architecture, Checkpoint, CheckpointMeta, Config, Coupling, Dtype, Group, Parameter, write_atomically,
};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::path::{Path, PathBuf};

/// 8×8×3, two levels of two steps, affine.
pub fn small() -> Architecture {
    Architecture {
        height: 8,
        width: 8,
        levels: 2,
        depth: 2,
        hidden: 8,
        coupling: Coupling::Affine,
        ..Default::default()
    }
}

/// A folder with one checkpoint in it, and the checkpoint's path.
pub fn checkpoint(architecture: &Architecture) -> (tempfile::TempDir, PathBuf) {
    changed_checkpoint(architecture, |_| {}, |_, _, _| {})
}

/// The same, with changes to its metadata and to the values of float tensors.
pub fn changed_checkpoint(
    architecture: &Architecture,
    meta: impl FnOnce(&mut CheckpointMeta),
    change: impl FnMut(Group, &str, &mut [f32]),
) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("random.safetensors");
    write_checkpoint(&path, architecture, meta, change);
    (folder, path)
}

/// Writes such a checkpoint.
pub fn write_checkpoint(
    path: &Path,
    architecture: &Architecture,
    change_meta: impl FnOnce(&mut CheckpointMeta),
    mut change: impl FnMut(Group, &str, &mut [f32]),
) {
    let mut meta = CheckpointMeta {
        config: Config { model: architecture.clone(), ..Default::default() },
        step: 7,
        images_seen: 448,
        train_images: 100,
        actnorm_initialised: true,
        bits_per_dim: Some(3.5),
        best_bits_per_dim: Some(3.5),
        ..Default::default()
    };
    change_meta(&mut meta);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    write_atomically(path, |out| {
        Checkpoint::write(out, &meta, &Group::ALL, |group, parameter, out| {
            let bytes: Vec<u8> = match parameter.dtype {
                Dtype::I64 => {
                    let mut order: Vec<i64> = (0..parameter.shape[0] as i64).collect();
                    order.shuffle(&mut random);
                    order.into_iter().flat_map(i64::to_le_bytes).collect()
                }
                Dtype::F32 => {
                    let mut values = floats(parameter, &mut random);
                    change(group, &parameter.name, &mut values);
                    values.into_iter().flat_map(f32::to_le_bytes).collect()
                }
            };
            out.write_all(&bytes)
        })
    })
    .unwrap();
}

fn floats(parameter: &Parameter, random: &mut ChaCha8Rng) -> Vec<f32> {
    let name = parameter.name.as_str();
    let inputs: usize = parameter.shape[1..].iter().product();
    let mut values: Vec<f32> = Vec::new();
    for index in 0..parameter.shape.iter().product() {
        let normal: f32 = StandardNormal.sample(random);
        let (row, column) = (index / inputs, index % inputs);
        values.push(match name.rsplit('.').next().unwrap() {
            "sign_s" => [1.0, -1.0][random.random_range(0..2)],
            // Well away from singular, and not symmetric.
            "weight" if name.ends_with("permutation.weight") => {
                f32::from((row + 1) % inputs == column) + 0.3 * normal / (inputs as f32).sqrt()
            }
            "weight" if name.contains("conv3") || name.contains("split") => {
                0.1 * normal / (inputs as f32).sqrt()
            }
            "weight" => normal / (inputs as f32).sqrt(),
            _ => 0.1 * normal,
        });
    }
    values
}

/// All messages of an error and its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

/// Writes images that are smooth with a little noise, as PPM or PGM files in three sub-folders.
pub fn write_images(folder: &Path, architecture: &Architecture, count: usize) {
    let (height, width, channels) = (architecture.height, architecture.width, architecture.channels);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for image in 0..count {
        let class = folder.join(format!("class{}", image % 3));
        std::fs::create_dir_all(&class).unwrap();
        let (down, across): (f64, f64) = (random.random_range(-2.0..2.0), random.random_range(-2.0..2.0));
        let mut file =
            format!("P{}\n{width} {height}\n255\n", if channels == 3 { 6 } else { 5 }).into_bytes();
        for i in 0..height * width * channels {
            let (y, x) = (i / channels / width, i / channels % width);
            let wave = (down * y as f64 / height as f64 + across * x as f64 / width as f64).sin();
            file.push((128.0 + 60.0 * wave + random.random_range(-4.0..4.0)) as u8);
        }
        std::fs::write(class.join(format!("{image}.pnm")), file).unwrap();
    }
}
