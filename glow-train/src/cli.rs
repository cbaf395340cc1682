//! The command line: a flag for every hyperparameter, made from their declarations.
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use glow_models::{Config, preset_names};
use glow_train::device::DeviceChoice;
use std::path::PathBuf;

const TRAIN_EXAMPLE: &str = "Examples:
  glow-train --preset cifar10 --data cifar10:cifar-10-batches-bin --out runs/cifar10
  glow-train --preset lsun64 --data lsun:lsun/bedroom --out runs/bedroom
  glow-train --data images:photos --height 64 --width 64 --levels 4 --n-bits 5 --out runs/photos
  glow-train --data images:photos --preset smoke --out runs/try --train-for \"2 min\"
  glow-train --init-from faces.glow --data images:photos --lr 0.0002 --out runs/fine
  glow-train --out runs/photos --resume --train-for \"20000 steps\"
  glow-train --preset cifar10 --data cifar10:cifar-10-batches-bin --out runs/cifar10 --processes 4
  torchrun --no-python --nproc-per-node 8 glow-train --preset lsun64 --data lsun:lsun/bedroom --out runs/bedroom

Durations are \"500 steps\", \"50000 images\", \"10 epochs\", \"3.5 min\", \"2 h\" or \"5 %\" of the run.";
const EVAL_EXAMPLE: &str = "Example:
  glow-train eval runs/cifar10 --data cifar10:cifar-10-batches-bin --draws 4";

/// The whole command line.
pub fn command() -> Command {
    let device = Arg::new("device")
        .long("device")
        .value_name("DEVICE")
        .default_value("auto")
        .value_parser(|text: &str| text.parse::<DeviceChoice>())
        .help("auto, cpu, cuda or cuda:INDEX");
    let mut command = Command::new("glow-train")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Trains a Glow, a reversible generative model, on images")
        .after_help(TRAIN_EXAMPLE)
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .arg(
            Arg::new("preset")
                .long("preset")
                .value_name("NAME")
                .value_parser(preset_names())
                .conflicts_with("config")
                .help("Start from one of the paper's configurations"),
        )
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Start from a TOML file such as a run's config.toml"),
        )
        .arg(
            Arg::new("init_from")
                .long("init-from")
                .value_name("CHECKPOINT_OR_BUNDLE")
                .value_parser(value_parser!(PathBuf))
                .help(
                    "Start a new run from the weights of a model that exists: a run's folder, a checkpoint or an \
                     exported bundle; the architecture is the model's",
                ),
        )
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .required(true)
                .help("The run's folder: checkpoints, metrics.jsonl, samples"),
        )
        .arg(
            Arg::new("resume")
                .long("resume")
                .value_name("WHEN")
                .num_args(0..=1)
                .default_missing_value("always")
                .value_parser(["always", "auto"])
                .help(
                    "Go on from the latest checkpoint in --out; flags change its configuration. With \"auto\", start \
                     a new run where there is none: for launchers that start processes again with the same arguments",
                ),
        )
        .arg(
            Arg::new("processes")
                .long("processes")
                .value_name("N")
                .value_parser(value_parser!(u16).range(1..=1024))
                .help("Train in N processes on this machine; on several machines, use torchrun or another launcher")
                .help_heading("Several processes"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(1..=1_000_000))
                .default_value("600")
                .help("How long processes wait for each other, before they give up with an error")
                .help_heading("Several processes"),
        )
        .arg(device.clone());
    let defaults = Config::default();
    for (table, fields) in Config::fields() {
        for field in fields {
            let long = field.name.replace('_', "-");
            let heading = match table {
                "model" => "Model",
                "training" => "Training",
                _ => "Data",
            };
            let mut help = field.doc.trim().to_string();
            match defaults.get(field.name) {
                Some(default) if !default.is_empty() => help = format!("{help} [default: {default}]"),
                _ => {}
            }
            command = command.arg(
                Arg::new(field.name)
                    .long(long)
                    .value_name("VALUE")
                    .allow_hyphen_values(true)
                    .help(help)
                    .help_heading(heading),
            );
        }
    }
    for (old, new) in Config::old_names() {
        command = command.arg(
            Arg::new(*old)
                .long(old.replace('_', "-"))
                .value_name("VALUE")
                .allow_hyphen_values(true)
                .conflicts_with(*new)
                .hide(true)
                .help(format!("The old name of --{}", new.replace('_', "-"))),
        );
    }
    command.subcommand(
        Command::new("eval")
            .about("Bits/dim of a checkpoint on a data set")
            .after_help(EVAL_EXAMPLE)
            .arg(
                Arg::new("run")
                    .value_name("RUN_OR_CHECKPOINT")
                    .value_parser(value_parser!(PathBuf))
                    .required(true)
                    .help("A run's folder (its best checkpoint) or a checkpoint file"),
            )
            .arg(
                Arg::new("data")
                    .long("data")
                    .value_name("KIND:PATH")
                    .help("The data set [default: the run's own]"),
            )
            .arg(
                Arg::new("split")
                    .long("split")
                    .value_parser(["validation", "train", "all"])
                    .default_value("validation")
                    .help("Which part of it; all measures every image, those trained on too"),
            )
            .arg(
                Arg::new("weights")
                    .long("weights")
                    .value_name("NAME")
                    .default_value("averaged")
                    .help(
                        "The \"averaged\" weights, the optimiser's own (\"raw\"), or a further average of the run by its \
                         name, such as \"50 epochs\"",
                    ),
            )
            .arg(
                Arg::new("draws")
                    .long("draws")
                    .value_parser(value_parser!(u64).range(1..=10_000))
                    .default_value("1")
                    .help("Dequantization draws an image"),
            )
            .arg(
                Arg::new("images")
                    .long("images")
                    .value_parser(value_parser!(usize))
                    .default_value("0")
                    .help("Images used, from the first; 0 for all"),
            )
            .arg(
                Arg::new("each")
                    .long("each")
                    .action(ArgAction::SetTrue)
                    .help("Print the bits/dim of each image as well, a line each, before their mean"),
            )
            .arg(device),
    )
}

/// The hyperparameters that flags set, with their values; those by old names too.
pub fn overrides(matches: &ArgMatches) -> impl Iterator<Item = (&'static str, &String)> {
    // Epochs before steps, which in version 0.1 had precedence: the later one stands.
    let old_names = Config::old_names().iter().rev().map(|(old, _)| *old);
    Config::fields()
        .into_iter()
        .flat_map(|(_, fields)| fields)
        .map(|field| field.name)
        .chain(old_names)
        .filter_map(|name| Some((name, matches.get_one::<String>(name)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use glow_models::Duration;

    #[test]
    fn the_command_line_is_sound_and_has_every_hyperparameter() {
        command().debug_assert();
        let matches = command()
            .try_get_matches_from(["glow-train", "--out", "x", "--depth", "4", "--lr", "-1"])
            .unwrap();
        let found: Vec<_> = overrides(&matches).map(|(name, value)| (name, value.as_str())).collect();
        assert_eq!(found, [("depth", "4"), ("lr", "-1")]);
    }

    #[test]
    fn flags_of_version_0_1_are_still_taken() {
        let old = ["--steps", "300", "--epochs", "2", "--warmup-steps", "1", "--polyak-epochs", "2"];
        let more = ["--validate-every", "100", "--sample-every", "0", "--max-minutes", "3.5"];
        let flags = ["glow-train", "--out", "x"].into_iter().chain(old).chain(more);
        let matches = command().try_get_matches_from(flags).unwrap();
        let mut config = Config::default();
        for (name, value) in overrides(&matches) {
            config.set(name, value).unwrap();
        }
        config.validate().unwrap();
        let t = &config.training;
        assert_eq!((t.train_for, t.warmup), (Duration::Steps(300), Some(Duration::Steps(1))));
        assert_eq!((t.polyak, t.time_limit), (Duration::Epochs(2.0), Some(Duration::Minutes(3.5))));
        assert_eq!((t.validate_every, t.sample_every), (Duration::Steps(100), None));
        let both = ["glow-train", "--out", "x", "--steps", "300", "--train-for", "2 h"];
        assert!(command().try_get_matches_from(both).is_err());
    }
}
