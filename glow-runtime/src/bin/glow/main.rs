//! The program `glow`: what a bundle can do, from the shell.
mod arguments;
mod attributes;
mod decode;
mod edit;
mod encode;
mod info;
mod inputs;
mod interpolate;
mod labelled;
mod loading;
mod outputs;
mod progress;
mod reconstruct;
mod sample;
mod score;

use arguments::{Cli, Command};
use clap::Parser;
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Cli { runtime, command } = Cli::parse();
    let done = match command {
        Command::Info(arguments) => info::run(&runtime, &arguments),
        Command::Sample(arguments) => sample::run(&runtime, &arguments),
        Command::Encode(arguments) => encode::run(&runtime, &arguments),
        Command::Decode(arguments) => decode::run(&runtime, &arguments),
        Command::Reconstruct(arguments) => reconstruct::run(&runtime, &arguments),
        Command::Interpolate(arguments) => interpolate::run(&runtime, &arguments),
        Command::Edit(arguments) => edit::run(&runtime, &arguments),
        Command::Attributes(arguments) => attributes::run(&runtime, &arguments),
        Command::Score(arguments) => score::run(&runtime, &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the results has had enough of them.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            outputs::say(&format!("error: {}", chain(&error)));
            ExitCode::from(if is_misuse(&error) { 2 } else { 1 })
        }
    }
}

/// The error and what led to it, each on a line.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str("\n  because: ");
            text.push_str(&cause);
        }
    }
    if matches!(error.downcast_ref(), Some(glow_runtime::Error::Labels { .. })) {
        text.push_str(" (see --label)");
    }
    text
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn is_misuse(error: &anyhow::Error) -> bool {
    use glow_runtime::Error::{Labels, Option, UnknownAttribute};
    error.is::<arguments::Misuse>()
        || matches!(error.downcast_ref(), Some(Option { .. } | Labels { .. } | UnknownAttribute { .. }))
}
