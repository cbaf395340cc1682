//! The command line.
use crate::outputs;
use clap::{Args, Parser, Subcommand};
use glow_runtime::{Glow, GlowBuilder, LoadStep, Provider};
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
    /// What executes the model, in order of preference: cpu, cuda, cuda:1, tensorrt, tensorrt:0/fp16,
    /// openvino, openvino:CPU/bf16, or auto alone; without cpu in the list, nothing runs there
    #[arg(long, global = true, value_name = "LIST", value_delimiter = ',', default_value = "cpu")]
    pub provider: Vec<Provider>,
    /// Folder for what is made of the model for this machine, so that it loads faster the next time; for
    /// TensorRT, minutes faster
    #[arg(long, global = true, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// ONNX Runtime's library, or its folder [default: ORT_DYLIB_PATH, the program's folder, the checkout's]
    #[arg(long, global = true, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
}

impl Runtime {
    /// The options for loading a bundle.
    pub fn builder(&self) -> GlowBuilder {
        let mut builder = Glow::builder().providers(self.provider.iter().cloned()).on_progress(report);
        if let Some(folder) = &self.cache {
            builder = builder.cache(folder);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(path) = &self.onnxruntime {
            builder = builder.onnxruntime(path);
        }
        builder
    }
}

/// Tells of what takes long, such as the building of an engine.
fn report(step: LoadStep) {
    if let LoadStep::Building { graph, elapsed } = step
        && elapsed.as_secs() >= 5
        && elapsed.as_secs().is_multiple_of(5)
    {
        outputs::say(&format!("building the {graph} for {} s", elapsed.as_secs()));
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
    /// Change attributes of images: more of a smile, say
    Edit(crate::edit::Arguments),
    /// Fit, list or remove attributes: named directions in latent space
    Attributes(crate::attributes::Arguments),
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
