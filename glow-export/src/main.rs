//! The program `glow-export`; see `--help`.
use anyhow::Result;
use clap::{Parser, ValueEnum};
use glow_export::{ExportOptions, Precision, Report, Weights, export};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

const EXAMPLE: &str = "Example:
  glow-export runs/faces --out models/faces";

/// Freezes a trained Glow into a bundle (weights and two ONNX graphs) and proves that it is right
#[derive(Debug, Parser)]
#[command(name = "glow-export", version, after_help = EXAMPLE)]
struct Arguments {
    /// A run's folder (its best checkpoint) or a checkpoint file
    #[arg(value_name = "RUN_OR_CHECKPOINT")]
    checkpoint: PathBuf,
    /// The bundle's folder: new, empty, or an older bundle, which is replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The averaged weights or the optimiser's own
    #[arg(long, value_enum, default_value = "averaged")]
    weights: WeightsArgument,
    /// Number format of the coupling networks
    #[arg(long, value_enum, default_value = "fp32")]
    precision: PrecisionArgument,
    /// Do not compare the bundle with a float64 evaluation of the checkpoint
    #[arg(long)]
    no_verify: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WeightsArgument {
    Averaged,
    Raw,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PrecisionArgument {
    Fp32,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("glow-export: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let options = ExportOptions {
        weights: match arguments.weights {
            WeightsArgument::Averaged => Weights::Averaged,
            WeightsArgument::Raw => Weights::Raw,
        },
        precision: match arguments.precision {
            PrecisionArgument::Fp32 => Precision::Fp32,
        },
        verify: !arguments.no_verify,
    };
    let begin = Instant::now();
    if options.verify {
        eprintln!("exporting, and comparing with a float64 evaluation; this takes minutes for a large model");
    }
    let report = export(&arguments.checkpoint, &arguments.out, &options)?;
    explain(&report);
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

/// What was done, for a person.
fn explain(report: &Report) {
    let provenance = &report.manifest.provenance;
    let bits = provenance.bits_per_dim.map_or(String::new(), |bits| format!(", {bits:.4} bits/dim"));
    eprintln!("{}: step {}{bits}", report.checkpoint.display(), provenance.step);
    match &report.verification {
        Some(verification) => eprintln!("{verification}"),
        None => eprintln!("not verified"),
    }
    for name in &report.kept {
        eprintln!("kept {name} of the older bundle, which may not suit the new one");
    }
}
