//! The program `glow`: what a bundle can do, from the shell.
mod class;
mod cli;
mod commands;
mod failure;
mod inputs;
mod labelled;
mod model;
mod outputs;
mod photograph;
mod progress;
mod runtime;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the results has had enough of them.
        Err(error) if failure::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            outputs::say(&format!("error: {}", failure::chain(&error)));
            ExitCode::from(if failure::is_misuse(&error) { 2 } else { 1 })
        }
    }
}
