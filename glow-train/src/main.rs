//! The program `glow-train`; see `--help`.
mod cli;
mod ranks;

use anyhow::{Context, Result};
use clap::ArgMatches;
use glow_data::notice;
use glow_models::{Checkpoint, Config, Pretrained, find_checkpoint};
use glow_train::TrainError;
use glow_train::device::{self, DeviceChoice};
use glow_train::distributed::launcher::LaunchError;
use glow_train::distributed::{Environment, Team};
use glow_train::evaluate::{Evaluation, Score, evaluate_each};
use glow_train::run::{self, Outcome, RunFolder, Start};
use glow_train::trainer::load_glow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> ExitCode {
    device::keep_freed_memory();
    let matches = cli::command().get_matches();
    let result = match matches.subcommand() {
        Some(("eval", matches)) => eval(matches),
        _ => train(&matches),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let of_rank = matches!(error.downcast_ref(), Some(LaunchError::Failed { .. }));
            ranks::tell(&format!("{error:#}"), of_rank);
            // Wrong use is told from failure, as for flags that do not exist.
            ExitCode::from(match (error.downcast_ref::<UsageError>(), error.downcast_ref::<LaunchError>()) {
                (Some(_), _) => 2,
                (None, Some(error)) => error.exit_code(),
                (None, None) => 1,
            })
        }
    }
}

/// What the user asked for cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

fn path(matches: &ArgMatches, name: &str) -> PathBuf {
    matches.get_one::<PathBuf>(name).expect("required by the command line").clone()
}

fn device(matches: &ArgMatches) -> Result<tch::Device> {
    let choice = matches.get_one::<DeviceChoice>("device").expect("it has a default");
    let device = choice.open()?;
    eprintln!("device: {device:?}");
    Ok(device)
}

fn train(matches: &ArgMatches) -> Result<()> {
    if let Some(&processes) = matches.get_one::<u16>("processes")
        && processes > 1
    {
        return ranks::launch(matches, processes.into());
    }
    match Environment::read()? {
        Some(environment) if environment.world_size > 1 => ranks::train(matches, environment),
        _ => train_alone(matches),
    }
}

fn train_alone(matches: &ArgMatches) -> Result<()> {
    let out = path(matches, "out");
    let (config, start) = resolve(matches, &out)?;
    let device = device(matches)?;
    let stop = stop_on_ctrl_c(true)?;
    let outcome = run::train(config, &out, start, device, &stop)?;
    report(&outcome, &out.display().to_string());
    Ok(())
}

/// The configuration that the arguments ask for, and what the run begins with.
fn resolve(matches: &ArgMatches, out: &Path) -> Result<(Config, Start)> {
    let when = matches.get_one::<String>("resume").map(String::as_str);
    let resume = match when {
        Some("auto") => RunFolder::new(out).latest().exists(),
        other => other.is_some(),
    };
    let own = ["preset", "config", "init_from"].into_iter().find(|name| matches.contains_id(name));
    if let (Some("always"), Some(name)) = (when, own) {
        return Err(UsageError(format!(
            "--{} cannot be used with --resume, which takes the run's own configuration: leave it out, or give \
             --resume auto to start a run where there is none",
            name.replace('_', "-")
        ))
        .into());
    }
    let pretrained = match matches.get_one::<PathBuf>("init_from").filter(|_| !resume) {
        Some(path) => Some(Pretrained::open(path).map_err(TrainError::from)?),
        None => None,
    };
    let mut config = if resume {
        let latest = RunFolder::new(out).latest();
        Checkpoint::open(&latest).map_err(TrainError::from)?.meta().config.clone()
    } else if let Some(preset) = matches.get_one::<String>("preset") {
        Config::preset(preset)?
    } else if let Some(file) = matches.get_one::<PathBuf>("config") {
        Config::load(file)?
    } else {
        let model = pretrained.as_ref().map(|pretrained| pretrained.architecture().clone());
        Config { model: model.unwrap_or_default(), ..Config::default() }
    };
    for (name, value) in cli::overrides(matches) {
        config.set(name, value).map_err(usage)?;
    }
    config.validate().map_err(usage)?;
    if let Some(pretrained) = &pretrained
        && pretrained.fits(&config.model)
    {
        config.model = pretrained.architecture().clone();
    }
    if config.data.data.is_empty() {
        return Err(
            UsageError("no data set: give --data KIND:PATH, such as --data images:photos".into()).into()
        );
    }
    let start = match pretrained {
        Some(pretrained) => Start::From(Box::new(pretrained)),
        None if resume => Start::Resume,
        None => Start::Fresh,
    };
    Ok((config, start))
}

/// A configuration error as wrong use, with all of its causes.
fn usage(error: glow_models::ConfigError) -> UsageError {
    UsageError(format!("{:#}", anyhow::Error::from(error)))
}

/// The first Ctrl-C asks the loop to stop and save; the second ends the process at once. With `speaks`, it says so.
fn stop_on_ctrl_c(speaks: bool) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // Another process may have set the flag as well: it does not tell a second signal from a first.
    let signalled = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if signalled.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        flag.store(true, Ordering::Relaxed);
        if !speaks {
            return;
        }
        notice::note("\nstopping after this step; once more to stop at once, without a checkpoint");
    })
    .context("cannot handle Ctrl-C")?;
    Ok(stop)
}

fn report(outcome: &Outcome, out: &str) {
    if outcome.skipped_steps > 0 {
        eprintln!("{} steps were not taken: loss or gradient were not finite", outcome.skipped_steps);
    }
    if outcome.skipped_images > 0 {
        eprintln!("{} images of the data set could not be used and were skipped", outcome.skipped_images);
    }
    eprintln!("time: {}", outcome.spent);
    if outcome.stopped {
        println!("stopped at step {}; resume it by: glow-train --out {out} --resume", outcome.step);
        return;
    }
    let bits = |score: Score| format!("{:.4}", score.bits_per_dim);
    if let Some(after) = outcome.after.map(bits) {
        let before = outcome.before.map_or_else(String::new, |before| format!("{} before, ", bits(before)));
        println!("held-out bits/dim: {before}{after} after {} steps", outcome.step);
    }
    if let Some(best) = outcome.best_bits_per_dim {
        println!("best: {best:.4} bits/dim, in {out}/checkpoints/best.safetensors");
    }
}

fn eval(matches: &ArgMatches) -> Result<()> {
    let checkpoint = Checkpoint::open(&find_checkpoint(&path(matches, "run"))?)?;
    let mut config = checkpoint.meta().config.clone();
    if let Some(data) = matches.get_one::<String>("data") {
        config.data.data = data.clone();
        // The validation images of the run are those of the run's data set.
        config.data.validation.clear();
    }
    let text = |name: &str| matches.get_one::<String>(name).expect("it has a default").as_str();
    let weights = checkpoint.weights(text("weights"))?;
    let draws = *matches.get_one::<u64>("draws").expect("it has a default");
    let images = *matches.get_one::<usize>("images").expect("it has a default");
    let class_names = &checkpoint.meta().class_names;
    let (dataset, skipped) = match text("split") {
        "all" => {
            let opened = run::open_all_data(&config, class_names)?;
            (opened.dataset, opened.skipped)
        }
        split => {
            let splits = run::open_data(&config, class_names)?;
            (if split == "train" { splits.train } else { splits.validation }, splits.skipped)
        }
    };
    run::note_unnamed_classes(checkpoint.path(), &config, class_names, dataset.classes());
    let n_bits = config.model.n_bits;
    let device = device(matches)?;
    let glow = load_glow(&checkpoint, weights, device)?;
    let how = Evaluation {
        images,
        draws,
        batch_size: config.training.images_per_step(config.model.height, config.model.width),
        seed: config.training.seed,
        device,
    };
    // Ctrl-C ends the program: there is nothing to save.
    let values = evaluate_each(&glow, dataset, &how, &Team::alone(), &AtomicBool::new(false))?
        .expect("it was not stopped");
    if matches.get_flag("each") {
        // All digits: the shortest text that reads back as the same number.
        values.iter().for_each(|value| println!("{value}"));
    }
    let score = Score::of(&values);
    println!(
        "{:.4} bits/dim at {n_bits} bits, 95 % interval ± {:.4}, {} images, {draws} draws each",
        score.bits_per_dim,
        1.96 * score.standard_error,
        score.images
    );
    if skipped.count() > 0 {
        eprintln!("{skipped}");
    }
    Ok(())
}
