//! The command line.
use crate::commands::{
    attributes, decode, edit, encode, info, interpolate, page, reconstruct, sample, score, serve,
};
use crate::runtime::Runtime;
use anyhow::Result;
use clap::{Parser, Subcommand};

/// Uses a frozen Glow: samples, encodes, decodes and scores images.
#[derive(Parser)]
#[command(
    name = "glow",
    version,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    glow sample --count 16 --out faces.png\n  \
    glow edit anna.jpg --attribute Smiling=1 --out smile.png\n\n\
    Where no bundle is named, the model that comes with the program is used, faces64; stderr says so. Commands\n\
    that take other arguments too take the first one for a bundle if it looks like one: a folder with\n\
    model.json or another file of a bundle, a run's folder, or a name that ends in .glow.\n\n\
    Results go to stdout, everything else to stderr. Exit code: 0 done, 1 failed, 2 used wrongly."
)]
pub struct Cli {
    #[command(flatten)]
    pub runtime: Runtime,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Tell what a bundle holds, and which ONNX Runtime would run it
    Info(info::Arguments),
    /// Draw images from the model
    Sample(sample::Arguments),
    /// Turn images into latents
    Encode(encode::Arguments),
    /// Turn latents into images
    Decode(decode::Arguments),
    /// Encode images, decode the latents and compare
    Reconstruct(reconstruct::Arguments),
    /// Draw the way between pairs of images
    Interpolate(interpolate::Arguments),
    /// Change attributes of images: more of a smile, say
    Edit(edit::Arguments),
    /// Fit, list or remove attributes: named directions in latent space
    Attributes(attributes::Arguments),
    /// Compute the likelihoods of images
    Score(score::Arguments),
    /// Write the page that edits faces in a browser, as a site for any static host
    Page(page::Arguments),
    /// Serve the page, an API, the Open Inference Protocol and metrics over HTTP
    Serve(serve::Arguments),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> Result<()> {
        let runtime = &self.runtime;
        match &self.command {
            Command::Info(arguments) => info::run(runtime, arguments),
            Command::Sample(arguments) => sample::run(runtime, arguments),
            Command::Encode(arguments) => encode::run(runtime, arguments),
            Command::Decode(arguments) => decode::run(runtime, arguments),
            Command::Reconstruct(arguments) => reconstruct::run(runtime, arguments),
            Command::Interpolate(arguments) => interpolate::run(runtime, arguments),
            Command::Edit(arguments) => edit::run(runtime, arguments),
            Command::Attributes(arguments) => attributes::run(runtime, arguments),
            Command::Score(arguments) => score::run(runtime, arguments),
            Command::Page(arguments) => page::run(arguments),
            Command::Serve(arguments) => serve::run(runtime, arguments),
        }
    }
}
