//! The program as one of several processes, and as their launcher.
use super::{UsageError, cli, path, report, resolve, stop_on_ctrl_c};
use anyhow::{Context, Result};
use clap::ArgMatches;
use glow_models::Config;
use glow_train::device::DeviceChoice;
use glow_train::distributed::{
    Description, Environment, Rendezvous, Team, error_file, launcher, torch_version,
};
use glow_train::run::{self, Start};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Hyperparameters that hosts may set each for itself.
const LOCAL: [&str; 4] = ["data", "cache_bytes", "loader_threads", "prefetch"];

/// Trains as the rank that the environment says.
pub fn train(matches: &ArgMatches, environment: Environment) -> Result<()> {
    let (rank, local_rank) = (environment.rank, environment.local_rank);
    let leads = rank == 0;
    if leads && environment.restarts > 0 {
        eprintln!("started again by the launcher, for the {}. time", environment.restarts);
    }
    let out = path(matches, "out");
    let stop = stop_on_ctrl_c(leads)?;
    let timeout = Duration::from_secs(*matches.get_one::<u64>("timeout").expect("it has a default"));
    let size = environment.world_size;
    let rendezvous = Rendezvous::connect(environment, timeout)?;
    let (offer, start) = match leads {
        true => {
            let (config, start) = resolve(matches, &out)?;
            (config.to_toml()?, start)
        }
        false => (String::new(), Start::Fresh),
    };
    let meeting = rendezvous.meet(describe(matches)?, offer)?;
    let prepared = prepare(matches, meeting.offer(), local_rank);
    let (config, device) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            meeting.fail(&format!("{error:#}"));
            return Err(error);
        }
    };
    let group = meeting.connect(device.is_cuda())?;
    group.spread_stop(stop.clone());
    if leads {
        eprintln!("{size} processes, each with a part of every batch · device of rank 0: {device:?}");
    }
    let team = Rc::new(Team::from(group));
    let outcome = run::train_together(config, &out, start, device, &team, &stop)?;
    if leads {
        report(&outcome, &out.display().to_string());
    }
    Ok(())
}

/// The run as this process is asked for it: the program and its arguments, but for those that hosts may
/// set each for itself.
fn describe(matches: &ArgMatches) -> Result<Description> {
    let program = std::env::current_exe().context("cannot tell which file this program is")?;
    let mut description = Description::new()
        .with("the digest of the program", digest(&program)?)
        .with("the version of libtorch", torch_version());
    for (name, value) in cli::overrides(matches).filter(|(name, _)| !LOCAL.contains(name)) {
        description = description.with(&format!("--{}", name.replace('_', "-")), value);
    }
    for name in ["preset", "resume"] {
        if let Some(value) = matches.get_one::<String>(name) {
            description = description.with(&format!("--{name}"), value);
        }
    }
    if let Some(model) = matches.get_one::<PathBuf>("init_from") {
        description = description.with("--init-from", model.display());
    }
    if let Some(file) = matches.get_one::<PathBuf>("config") {
        description = description.with("the digest of --config", digest(file)?);
    }
    Ok(description)
}

fn digest(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Rank 0's configuration with this host's own data, and the device.
fn prepare(matches: &ArgMatches, offer: &str, local_rank: usize) -> Result<(Config, tch::Device)> {
    let mut config = Config::parse(offer, "rank 0's configuration")?;
    for (name, value) in cli::overrides(matches).filter(|(name, _)| LOCAL.contains(name)) {
        config.set(name, value)?;
    }
    let choice = matches.get_one::<DeviceChoice>("device").expect("it has a default");
    Ok((config, choice.open_for(local_rank)?))
}

/// Starts the ranks of `--processes`.
pub fn launch(matches: &ArgMatches, processes: usize) -> Result<()> {
    if Environment::read()?.is_some() {
        let problem =
            "--processes starts processes by itself: leave it out where a launcher such as torchrun does";
        return Err(UsageError(problem.into()).into());
    }
    // Wrong use is found once, not by every rank.
    resolve(matches, &path(matches, "out"))?;
    let signals = Arc::new(AtomicUsize::new(0));
    let counter = signals.clone();
    ctrlc::set_handler(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    })
    .context("cannot handle Ctrl-C")?;
    let arguments = launcher::arguments_of_ranks(std::env::args_os().skip(1));
    Ok(launcher::launch(processes, &arguments, &signals)?)
}

/// Tells an error to the user; and to the launcher, unless it is `of_rank`, which has done so itself.
pub fn tell(error: &str, of_rank: bool) {
    match Environment::read() {
        Ok(Some(environment)) => eprintln!("rank {}: {error}", environment.rank),
        _ => eprintln!("glow-train: {error}"),
    }
    if !of_rank {
        error_file::write(error);
    }
}
