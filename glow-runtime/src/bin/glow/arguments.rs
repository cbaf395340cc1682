//! The command line.
use clap::{Args, Parser, Subcommand};
use glow_runtime::{Glow, GlowBuilder};
use std::path::PathBuf;

/// Uses a frozen Glow: samples, encodes, decodes and scores images.
#[derive(Parser)]
#[command(
    name = "glow",
    version,
    arg_required_else_help = true,
    after_help = "Example:\n  \
    glow sample models/faces --count 16 --out faces.png\n\n\
    Results go to stdout, everything else to stderr. Exit code: 0 done, 1 failed, 2 used wrongly."
)]
pub struct Cli {
    #[command(flatten)]
    pub runtime: Runtime,
    #[command(subcommand)]
    pub command: Command,
}

/// How ONNX Runtime runs.
#[derive(Args)]
pub struct Runtime {
    /// Threads [default: one a physical core]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// ONNX Runtime's library, or its folder [default: ORT_DYLIB_PATH, the program's folder, the checkout's]
    #[arg(long, global = true, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
}

impl Runtime {
    /// The options for loading a bundle.
    pub fn builder(&self) -> GlowBuilder {
        let mut builder = Glow::builder();
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(path) = &self.onnxruntime {
            builder = builder.onnxruntime(path);
        }
        builder
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Tell what a bundle holds, and which ONNX Runtime would run it
    Info(crate::info::Arguments),
    /// Draw images from the model
    Sample(crate::sample::Arguments),
    /// Turn images into latents
    Encode(crate::encode::Arguments),
    /// Turn latents into images
    Decode(crate::decode::Arguments),
    /// Encode images, decode the latents and compare
    Reconstruct(crate::reconstruct::Arguments),
    /// Draw the way between pairs of images
    Interpolate(crate::interpolate::Arguments),
    /// Compute the likelihoods of images
    Score(crate::score::Arguments),
}

/// The class of a class-conditional model.
#[derive(Args)]
pub struct Class {
    /// Class of all images; needed by a class-conditional model, refused by others
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    label: Option<i64>,
}

impl Class {
    /// One label for each of `n` images.
    pub fn labels(&self, n: usize) -> Option<Vec<i64>> {
        self.label.map(|label| vec![label; n])
    }
}

/// A command line that parses but makes no sense.
#[derive(Debug)]
pub struct Misuse(pub String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}
