//! `glow-export import`: other implementations' checkpoints, and bundles, as checkpoints of `glow-train`.
use anyhow::Result;
use clap::Args;
use glow_export::DataSpec;
use glow_export::import::{Imported, Settings, Source, import};
use glow_models::Architecture;
use std::path::PathBuf;

const EXAMPLE: &str = "Examples:
  glow-export import model_010001.pt --out faces.safetensors --height 64 --width 64 --n-bits 5
  glow-export import logs/model_best_loss.ckpt --hparams logs/train.txt --out cifar10.safetensors
  glow-export import models/faces --out thawed.safetensors";

/// Turns another implementation's checkpoint, or a frozen bundle, into a checkpoint that can be exported and
/// trained on from
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ImportArguments {
    /// A PyTorch file of rosinality, chaiyujin, y0ast or normflows, a TensorFlow checkpoint or frozen graph of
    /// openai, or the folder of a bundle
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The checkpoint to write
    #[arg(long, value_name = "CHECKPOINT")]
    out: PathBuf,
    /// The settings file that the implementation wrote: chaiyujin's *.json, y0ast's hparams.json, openai's train.txt
    #[arg(long, value_name = "FILE")]
    hparams: Option<PathBuf>,
    /// Image height, where the file does not say it (rosinality, normflows, openai)
    #[arg(long, value_name = "PIXELS")]
    height: Option<usize>,
    /// Image width, where the file does not say it
    #[arg(long, value_name = "PIXELS")]
    width: Option<usize>,
    /// Bits a colour channel, where the file does not say them (rosinality, openai; normflows: 8)
    #[arg(long, value_name = "BITS")]
    n_bits: Option<u32>,
    /// chaiyujin, y0ast: the permutation of a file without 1×1 convolutions, reverse or shuffle
    #[arg(long, value_name = "KIND")]
    permutation: Option<String>,
    /// Fold this class into the priors: the model is then of this class alone
    #[arg(long, value_name = "N")]
    class: Option<usize>,
    /// chaiyujin: fold this vector of attributes into the prior, numbers separated by commas
    #[arg(
        long,
        value_name = "NUMBERS",
        value_delimiter = ',',
        allow_hyphen_values = true,
        conflicts_with = "class"
    )]
    attributes: Option<Vec<f64>>,
    /// chaiyujin: whether an image has one class (single-class) or several attributes (multi-classes)
    #[arg(long, value_name = "KIND")]
    condition: Option<String>,
    /// normflows: split_mode, channel (the default) or channel_inv
    #[arg(long, value_name = "MODE")]
    split_mode: Option<String>,
    /// normflows: scale_map (only the default, sigmoid, can be imported)
    #[arg(long, value_name = "MAP")]
    scale_map: Option<String>,
    /// normflows: slope of the leaky ReLUs (only the default, 0, can be imported)
    #[arg(long, value_name = "SLOPE")]
    leaky: Option<f64>,
    /// What stands in front of the names, if the file holds several models
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Images to tell bits/dim of (KIND:PATH as for glow-train --data, or a folder of images)
    #[arg(long, value_name = "KIND:PATH", value_parser = DataSpec::from_argument)]
    data: Option<DataSpec>,
}

/// Imports, and says what the model is.
pub fn run(arguments: ImportArguments) -> Result<()> {
    let settings = Settings {
        hparams: arguments.hparams,
        height: arguments.height,
        width: arguments.width,
        n_bits: arguments.n_bits,
        permutation: arguments.permutation,
        class: arguments.class,
        attributes: arguments.attributes,
        condition: arguments.condition,
        split_mode: arguments.split_mode,
        scale_map: arguments.scale_map,
        leaky: arguments.leaky,
        prefix: arguments.prefix,
    };
    let imported = import(&arguments.file, &arguments.out, settings, arguments.data.as_ref())?;
    explain(&imported);
    println!("{}", imported.checkpoint.display());
    Ok(())
}

fn explain(imported: &Imported) {
    let source = match imported.source {
        Source::Peer(peer) => format!("a model of {}", peer.name()),
        Source::Bundle => "a frozen bundle".into(),
    };
    eprintln!("{source}: {}", describe(&imported.architecture));
    let averages = if imported.averages { ", weights and averages" } else { "" };
    eprintln!(
        "{} parameters{averages}, step {}; an image comes back from its latents to {:.1e}",
        imported.architecture.parameter_count(),
        imported.step,
        imported.round_trip
    );
    for note in &imported.notes {
        eprintln!("note: {note}");
    }
    if let Some((bits_per_dim, images)) = imported.bits_per_dim {
        eprintln!("{bits_per_dim:.4} bits/dim of {images} images, under uniform noise");
    }
}

fn describe(a: &Architecture) -> String {
    // As config.toml has them.
    let name = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|value| value.as_str().map(str::to_string)).unwrap_or_default()
    };
    let (coupling, permutation) =
        (name(serde_json::to_value(a.coupling)), name(serde_json::to_value(a.permutation)));
    let mut text = format!(
        "{}×{}×{}, {} bits, {} levels of {} steps, {} hidden channels, {coupling} couplings, {permutation}",
        a.height, a.width, a.channels, a.n_bits, a.levels, a.depth, a.hidden
    );
    for (holds, part) in [(a.edge_bias, "edge bias"), (a.learn_top, "learned top prior")] {
        if holds {
            text = format!("{text}, {part}");
        }
    }
    if a.classes > 0 {
        text = format!("{text}, {} classes", a.classes);
    }
    text
}
