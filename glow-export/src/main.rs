//! The program `glow-export`; see `--help`.
mod import_command;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use glow_export::{
    DataSpec, ExportOptions, Footprint, Int8Layout, Keep, Precision, Quality, Report, Weights, export,
    write_triton,
};
use import_command::ImportArguments;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

const EXAMPLE: &str = "Example:
  glow-export runs/faces --out models/faces
  glow-export runs/faces --out models/faces-int8 --precision int8 --calibrate photos/
  glow-export import model_010001.pt --out faces.safetensors --height 64 --width 64 --n-bits 5";

/// Freezes a trained Glow into a bundle (weights and two ONNX graphs) and proves that it is right
#[derive(Debug, Parser)]
#[command(
    name = "glow-export",
    version,
    after_help = EXAMPLE,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Program {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    export: Option<Arguments>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(Box<ImportArguments>),
}

#[derive(Debug, Args)]
struct Arguments {
    /// A run's folder (its best checkpoint) or a checkpoint file
    #[arg(value_name = "RUN_OR_CHECKPOINT")]
    checkpoint: PathBuf,
    /// The bundle's folder: new, empty, or an older bundle, which is replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The "averaged" weights, the optimiser's own ("raw"), or a further average of the run by its name, such as "50
    /// epochs"
    #[arg(long, value_name = "NAME", default_value = "averaged")]
    weights: String,
    /// Number format of the coupling networks
    #[arg(long, value_enum, default_value = "fp32")]
    precision: PrecisionArgument,
    /// With --precision int8: what is to run the networks in integers
    #[arg(long = "for", value_enum, value_name = "TARGET", default_value = "cpu")]
    layout: LayoutArgument,
    /// With --precision int8: steps of flow to keep in fp32, by name (level0.step05,level1.step00), or how many: those
    /// that rounding harms most
    #[arg(long, value_name = "STEPS", default_value = "0")]
    keep: Keep,
    /// Real images, like those of the training (KIND:PATH as for glow-train --data, or a folder of images):
    /// int8 is calibrated on some, and every precision is measured on others
    #[arg(long, value_name = "DATA", value_parser = DataSpec::from_argument, required_if_eq("precision", "int8"))]
    calibrate: Option<DataSpec>,
    /// Put the weights into both graphs, for runtimes that do not read external data
    #[arg(long)]
    inline: bool,
    /// Fix the batch size of both graphs, for runtimes that want fixed shapes; left open by default
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,
    /// The licence that the bundle's README.md names
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// Write a model repository for NVIDIA's Triton Inference Server besides
    #[arg(long, value_name = "DIR")]
    triton: Option<PathBuf>,
    /// Write the bundle even if its number format costs more than it should, in bits/dim, in x, or in pixels that do not
    /// come back
    #[arg(long)]
    allow_inexact: bool,
    /// Do not compare the bundle with a float64 evaluation of the checkpoint
    #[arg(long)]
    no_verify: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PrecisionArgument {
    /// 32-bit float
    Fp32,
    /// Half precision, for GPUs: half the size
    Fp16,
    /// 8-bit integers, for CPUs, or for TensorRT with --for tensorrt: a quarter of the size
    Int8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LayoutArgument {
    /// ONNX Runtime on a CPU, or OpenVINO
    Cpu,
    /// TensorRT on an NVIDIA GPU: signed, symmetric steps, which cost more in quality
    Tensorrt,
}

fn main() -> ExitCode {
    let result = match Program::parse() {
        Program { command: Some(Command::Import(arguments)), .. } => import_command::run(*arguments),
        Program { export: Some(arguments), .. } => run(arguments),
        // The parser asks for the one or the other.
        Program { command: None, export: None } => {
            let _ = Program::command().print_help();
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("glow-export: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let (weights, average) = match arguments.weights.as_str() {
        "averaged" => (Weights::Averaged, None),
        "raw" => (Weights::Raw, None),
        name => (Weights::Averaged, Some(name.to_string())),
    };
    let options = ExportOptions {
        weights,
        average,
        precision: match arguments.precision {
            PrecisionArgument::Fp32 => Precision::Fp32,
            PrecisionArgument::Fp16 => Precision::Fp16,
            PrecisionArgument::Int8 => Precision::Int8,
        },
        layout: match arguments.layout {
            LayoutArgument::Cpu => Int8Layout::Cpu,
            LayoutArgument::Tensorrt => Int8Layout::TensorRt,
        },
        keep: arguments.keep.clone(),
        images: arguments.calibrate.clone(),
        inline: arguments.inline,
        batch: arguments.batch,
        licence: arguments.licence.clone(),
        allow_inexact: arguments.allow_inexact,
        verify: !arguments.no_verify,
    };
    if options.precision != Precision::Int8 && (options.layout != Int8Layout::Cpu || !options.keep.is_none())
    {
        let message = "--for and --keep concern 8-bit networks: add --precision int8 --calibrate DATA";
        Program::command().error(clap::error::ErrorKind::ArgumentConflict, message).exit();
    }
    let begin = Instant::now();
    if options.verify {
        eprintln!("exporting, and comparing with a float64 evaluation; this takes minutes for a large model");
    }
    let report = export(&arguments.checkpoint, &arguments.out, &options)?;
    explain(&report);
    if let Some(repository) = &arguments.triton {
        write_triton(&report.folder, repository)?;
        eprintln!("Triton's model repository: {}", repository.display());
    }
    eprintln!("{:.1} s", begin.elapsed().as_secs_f64());
    println!("{}", report.folder.display());
    for (name, file) in &report.manifest.files {
        let nodes = match name.as_str() {
            "encoder.onnx" => format!("  {} nodes", report.encoder_nodes),
            "decoder.onnx" => format!("  {} nodes", report.decoder_nodes),
            _ => String::new(),
        };
        println!("  {name:17} {:>12} bytes{nodes}", file.bytes);
    }
    Ok(())
}

/// Size and quality in one line.
fn describe(report: &Report, quality: &Quality) -> String {
    let bytes: u64 = report.manifest.files.values().map(|file| file.bytes).sum();
    let images = if quality.real { "held-out images" } else { "samples (real images: --calibrate DATA)" };
    format!(
        "{}: {:.1} MB, {:.4} bits/dim (fp32: {:.4}); of {} {images} {} come back unchanged, {:.4} % of all values \
         identical, none off by more than {} image steps",
        report.manifest.precision,
        bytes as f64 / 1e6,
        quality.bits_per_dim,
        quality.fp32_bits_per_dim,
        quality.images,
        quality.unchanged_images,
        // Rounded down: 100 % is all of them.
        (1e6 * (1.0 - quality.changed_values)).floor() / 1e4,
        quality.largest_change,
    )
}

/// Time and memory of the bundle, and of fp32 beside it.
fn on_this_machine(report: &Report, quality: &Quality) -> String {
    let say = |footprint: &Footprint| {
        let memory =
            footprint.resident.map_or(String::new(), |bytes| format!(", {:.0} MB", bytes as f64 / 1e6));
        format!("{:.1} ms a sample, {:.1} ms an encoding{memory}", footprint.decode_ms, footprint.encode_ms)
    };
    let own = format!("on this machine's CPU, {}: {}", report.manifest.precision, say(&quality.footprint));
    let Some(fp32) = &quality.fp32_footprint else { return own };
    let gain = fp32.decode_ms / quality.footprint.decode_ms;
    let advice = match report.manifest.precision {
        _ if gain >= 1.1 => "faster here",
        Precision::Fp16 => "no faster here: half precision is for GPUs, and for its size",
        _ => "no faster here: good for its size",
    };
    format!("{own}; fp32: {}; {advice}", say(fp32))
}

/// The largest activation of each level.
fn by_level(quality: &Quality) -> String {
    let mut levels: BTreeMap<&str, f32> = BTreeMap::new();
    for (layer, &largest) in &quality.peaks {
        let level = layer.split('.').next().unwrap_or_default();
        let peak = levels.entry(level).or_default();
        *peak = peak.max(largest);
    }
    let each: Vec<_> = levels.iter().map(|(level, largest)| format!("{level} {largest:.1}")).collect();
    each.join(", ")
}

/// What was done, for a person.
fn explain(report: &Report) {
    let provenance = &report.manifest.provenance;
    let bits = provenance.bits_per_dim.map_or(String::new(), |bits| format!(", {bits:.4} bits/dim"));
    eprintln!("{}: step {}{bits}", report.checkpoint.display(), provenance.step);
    match &report.verification {
        Some(verification) => eprintln!("{verification}"),
        None => eprintln!("not verified"),
    }
    if let Some(quantisation) = &report.manifest.quantisation
        && !quantisation.kept.is_empty()
    {
        eprintln!("in fp32 all the same: {}", quantisation.kept.join(", "));
    }
    if let Some(quality) = &report.quality {
        eprintln!("{}", describe(report, quality));
        eprintln!("{}", on_this_machine(report, quality));
        if let Some((layer, largest)) = quality.largest_activation() {
            eprintln!(
                "largest activations: {}; the largest of all, {largest:.1}, in {layer}",
                by_level(quality)
            );
        }
        if let Some(most) = quality.reliable_bits_per_dim {
            eprintln!(
                "scores up to {most:.2} bits/dim are those of fp32; higher ones are marked as unreliable"
            );
        }
    }
    for name in &report.kept {
        eprintln!("kept {name} of the older bundle, which may not suit the new one");
    }
}
