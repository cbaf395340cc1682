//! The paper's configurations, as `--preset` takes them; each is a file of `models/presets/`.
//!
//! They are those of the published code (its README and `train.py`), counted as it counts: an epoch is 50,000
//! *anchored* images for every data set, `batch_size` a step whatever the image's size, and the batch and the
//! images that initialise the actnorms shrink with the image's area ([`Training::images_per_step`],
//! [`Training::init_images`]). Warm-up, β2 and the averages' memory follow from the epoch. The raw weights are
//! validated, and their average forgets at a constant rate from the first step.
//!
//! The published runs were spread over several processes (8 at 32×32 and 64×64, 40 for CelebA-HQ), each with
//! the preset's batch, at the same learning rate. `batch_size` is that of a step over all processes: a preset as
//! it stands is the published code on one process. A multiple of it is the published batch, and then the warm-up
//! is as many times shorter in steps.
//!
//! One thing differs: the released code trains the plain matrix of the 1×1 convolution, the paper describes the
//! LU form, and the presets have the latter; `--permutation invconv-plain` is the former.
//!
//! [`Training::images_per_step`]: crate::Training::images_per_step
//! [`Training::init_images`]: crate::Training::init_images

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        const PRESETS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../presets/", $name, ".toml")))),+];
    };
}
presets!(
    "cifar10",
    "cifar10-cond",
    "ablation",
    "mnist",
    "imagenet32",
    "imagenet32-cond",
    "imagenet64",
    "lsun64",
    "lsun96",
    "lsun128",
    "celeba64",
    "celebahq256",
    "smoke",
);

/// Names of the presets, as `--preset` takes them; each is a file of `models/presets/`.
pub fn preset_names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// The TOML of a preset.
pub(crate) fn text(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(preset, _)| *preset == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Architecture, Config, Coupling, Duration, Optimizer, Permutation, Plan, Schedule, Weights};

    /// A row of the paper's table 4 and of the published code's commands.
    struct Row {
        preset: &'static str,
        side: usize,
        n_bits: u32,
        levels: usize,
        depth: usize,
        coupling: Coupling,
        classes: usize,
        /// Training images in real numbers, of a step and of the initialisation.
        images: [usize; 2],
        shift: usize,
        random_crop: usize,
    }

    const fn row(preset: &'static str, side: usize, n_bits: u32, levels: usize, depth: usize) -> Row {
        Row {
            preset,
            side,
            n_bits,
            levels,
            depth,
            coupling: Coupling::Affine,
            classes: 0,
            images: [64, 256],
            shift: 0,
            random_crop: 0,
        }
    }

    const ADDITIVE: Coupling = Coupling::Additive;

    fn published() -> Vec<Row> {
        vec![
            Row { shift: 3, ..row("cifar10", 32, 8, 3, 32) },
            Row { shift: 3, coupling: ADDITIVE, classes: 10, ..row("cifar10-cond", 32, 5, 3, 32) },
            Row { shift: 3, coupling: ADDITIVE, ..row("ablation", 32, 8, 3, 32) },
            row("imagenet32", 32, 8, 3, 48),
            Row { coupling: ADDITIVE, classes: 1000, ..row("imagenet32-cond", 32, 5, 3, 48) },
            Row { images: [16, 64], ..row("imagenet64", 64, 8, 4, 48) },
            Row { images: [16, 64], random_crop: 96, ..row("lsun64", 64, 8, 3, 48) },
            Row { images: [7, 28], coupling: ADDITIVE, ..row("lsun96", 96, 5, 5, 64) },
            Row { images: [4, 16], coupling: ADDITIVE, ..row("lsun128", 128, 5, 5, 64) },
            Row { images: [1, 4], coupling: ADDITIVE, ..row("celebahq256", 256, 5, 6, 32) },
        ]
    }

    #[test]
    fn every_preset_is_valid_and_survives_its_own_toml() {
        for name in preset_names() {
            let config = Config::preset(name).unwrap();
            config.validate().unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.toml");
            std::fs::write(&path, config.to_toml().unwrap()).unwrap();
            assert_eq!(Config::load(&path).unwrap(), config);
        }
        assert!(matches!(Config::preset("cifar"), Err(crate::ConfigError::UnknownPreset { .. })));
    }

    #[test]
    fn presets_are_those_of_the_published_code() {
        let own = ["mnist", "celeba64", "smoke"];
        let rows = published();
        let names: Vec<&str> = preset_names().into_iter().filter(|name| !own.contains(name)).collect();
        assert_eq!(names.len(), rows.len(), "every preset has its row");
        for row in rows {
            let config = Config::preset(row.preset).unwrap();
            let model = Architecture {
                height: row.side,
                width: row.side,
                channels: 3,
                n_bits: row.n_bits,
                levels: row.levels,
                depth: row.depth,
                hidden: 512,
                coupling: row.coupling,
                permutation: Permutation::Invconv,
                edge_bias: true,
                learn_top: true,
                classes: row.classes,
            };
            assert_eq!(config.model, model, "{}", row.preset);
            let t = &config.training;
            let images = [t.images_per_step(row.side, row.side), t.init_images(row.side, row.side)];
            assert_eq!(images, row.images, "{}", row.preset);
            assert_eq!((t.shift, t.flip), (row.shift, Some(false)), "{}", row.preset);
            assert_eq!(config.data.random_crop, row.random_crop, "{}", row.preset);
            assert_eq!((t.optimizer, t.lr, t.beta1, t.epsilon), (Optimizer::Adamax, 0.001, 0.9, 1e-8));
            assert_eq!((t.beta2, t.weights, t.polyak_warmup), (None, Weights::Raw, false), "{}", row.preset);
            assert_eq!((t.schedule, t.clip_grad_norm), (Schedule::Constant, None), "{}", row.preset);
            assert_eq!((t.weight_y, t.epoch_images), (0.01, Some(50_000)), "{}", row.preset);
            assert_eq!(t.validate_every, Duration::Epochs(50.0), "{}", row.preset);
        }
    }

    /// An epoch, the warm-up and both decays, by the published code's formulas, for any data set and number of
    /// processes: `train_its = ceil(50000 / (64 · processes))`, decays 1 − 1/train_its, and a warm-up over
    /// 50,000 · 10 anchored images.
    #[test]
    fn epochs_are_fifty_thousand_anchored_images_for_every_data_set() {
        for name in published().into_iter().map(|row| row.preset).chain(["mnist"]) {
            for (processes, warmup, decay) in [(1, 7813, 0.99872), (8, 977, 0.9898), (40, 196, 0.95)] {
                let mut config = Config::preset(name).unwrap();
                config.training.batch_size *= processes;
                for train_images in [27_000, 1_281_167] {
                    let plan = Plan::new(&config, train_images).unwrap();
                    let its = 50_000usize.div_ceil(64 * processes);
                    assert_eq!(plan.steps_per_epoch().ceil() as usize, its);
                    assert_eq!(plan.polyak_decay(), 1.0 - 1.0 / its as f64, "{name}");
                    assert_eq!(plan.beta2(), plan.polyak_decay());
                    assert!((plan.beta2() - decay).abs() < 5e-6, "{name}: {}", plan.beta2());
                    // The first step with the whole rate is the first before which all of them were seen.
                    let lr = config.training.lr;
                    assert_eq!(plan.lr(0), 0.0);
                    assert!(plan.lr(warmup - 1) < lr && plan.lr(warmup) == lr, "{name}");
                    let seen = 64 * processes as u64 * 100;
                    assert!((plan.lr(100) - lr * seen as f64 / 500_000.0).abs() < 1e-15, "{name}");
                }
            }
        }
    }
}
