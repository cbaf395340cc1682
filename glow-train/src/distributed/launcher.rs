//! Starts the ranks of one machine: `--processes N`, for those without torchrun.
//!
//! The launcher serves the store itself, so that it outlives every rank. Each rank is this program again
//! with the same arguments and torchrun's environment. Lines that the ranks write to stderr come out with
//! the rank's number, but for rank 0's, which draws the progress bar. When one fails, the others
//! find out by themselves and are ended after a while if they do not.
use super::server::Server;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How often the ranks are looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// After a failure, what the others are given to end: to name who is lost, and to save.
const GRACE: Duration = Duration::from_secs(30);

/// Ranks that could not be started, or failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The store cannot be served.
    #[error("cannot serve the store that the processes meet at")]
    Store(#[from] super::C10dError),
    /// A process cannot be started.
    #[error("cannot start rank {rank}")]
    Start {
        /// The rank.
        rank: usize,
        /// Why.
        source: std::io::Error,
    },
    /// A rank failed.
    #[error("rank {rank} {}", how(status))]
    Failed {
        /// The first that did.
        rank: usize,
        /// How it ended.
        status: ExitStatus,
    },
}

impl LaunchError {
    /// The exit code for this error: the failed rank's own where it has one.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { status, .. } => {
                status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
            }
            _ => 1,
        }
    }
}

fn how(status: &ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// Runs this program in `processes` ranks with these arguments, and waits for them. `signals` counts the
/// requests to stop that have come; each is passed on to the ranks.
///
/// # Errors
/// The first rank that failed.
pub fn launch(processes: usize, arguments: &[OsString], signals: &AtomicUsize) -> Result<(), LaunchError> {
    let server = Server::start()?;
    let mut ranks = Vec::with_capacity(processes);
    for rank in 0..processes {
        match Rank::start(rank, processes, server.port(), arguments) {
            Ok(started) => ranks.push(started),
            Err(source) => {
                end(&mut ranks, libc::SIGKILL);
                return Err(LaunchError::Start { rank, source });
            }
        }
    }
    let mut passed_on = 0;
    let mut failure: Option<(usize, ExitStatus, Instant)> = None;
    let mut asked = false;
    loop {
        let now = signals.load(Ordering::Relaxed);
        if now > passed_on {
            passed_on = now;
            end(&mut ranks, libc::SIGTERM);
        }
        for (number, rank) in ranks.iter_mut().enumerate() {
            if let Some(status) = rank.ended()
                && !status.success()
                && failure.is_none()
            {
                failure = Some((number, status, Instant::now()));
                eprintln!("rank {number} {}; the others end", how(&status));
            }
        }
        if ranks.iter().all(|rank| rank.status.is_some()) {
            break;
        }
        if let Some((.., since)) = failure {
            if since.elapsed() > GRACE && !asked {
                asked = true;
                end(&mut ranks, libc::SIGTERM);
            } else if since.elapsed() > 2 * GRACE {
                end(&mut ranks, libc::SIGKILL);
            }
        }
        thread::sleep(GLANCE);
    }
    for rank in &mut ranks {
        rank.last_lines();
    }
    match failure {
        Some((rank, status, _)) => Err(LaunchError::Failed { rank, status }),
        None => Ok(()),
    }
}

/// Threads of a rank for libtorch, where all are on one machine.
fn threads(processes: usize) -> usize {
    (thread::available_parallelism().map_or(1, usize::from) / processes).max(1)
}

fn end(ranks: &mut [Rank], signal: libc::c_int) {
    for rank in ranks.iter_mut().filter(|rank| rank.status.is_none()) {
        // SAFETY: a child that was not waited for, so that its number is still its own.
        unsafe { libc::kill(rank.child.id() as libc::pid_t, signal) };
    }
}

struct Rank {
    child: Child,
    status: Option<ExitStatus>,
    /// Passes its lines on.
    lines: Option<JoinHandle<()>>,
}

impl Rank {
    fn start(rank: usize, processes: usize, port: u16, arguments: &[OsString]) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let number = |n: usize| n.to_string();
        command
            .args(arguments)
            .env("RANK", number(rank))
            .env("LOCAL_RANK", number(rank))
            .env("WORLD_SIZE", number(processes))
            .env("LOCAL_WORLD_SIZE", number(processes))
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", port.to_string())
            .env("TORCHELASTIC_USE_AGENT_STORE", "True")
            .stdin(Stdio::null())
            // A Ctrl-C at the terminal comes to the launcher alone, which passes it on.
            .process_group(0);
        if std::env::var_os("OMP_NUM_THREADS").is_none() {
            command.env("OMP_NUM_THREADS", number(threads(processes)));
        }
        if rank > 0 {
            command.stderr(Stdio::piped());
        }
        #[cfg(target_os = "linux")]
        // SAFETY: prctl is safe between fork and exec. Without a launcher a rank stops and saves.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        let lines = child.stderr.take().map(|stderr| {
            thread::spawn(move || {
                let prefix = format!("rank {rank}: ");
                for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line);
                    let prefix = if line.starts_with(&prefix) { "" } else { prefix.as_str() };
                    eprintln!("{prefix}{}", line.trim_end());
                }
            })
        });
        Ok(Self { child, status: None, lines })
    }

    /// How it ended, the first time that this is known.
    fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_some() {
            return None;
        }
        self.status = self.child.try_wait().ok().flatten();
        self.status
    }

    fn last_lines(&mut self) {
        if let Some(lines) = self.lines.take() {
            let _ = lines.join();
        }
    }
}

/// The arguments without the option `--processes`, which is the launcher's own.
pub fn arguments_of_ranks(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--processes" {
            arguments.next();
        } else if !argument.to_string_lossy().starts_with("--processes=") {
            kept.push(argument);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_get_all_arguments_but_the_launcher_s() {
        let arguments = ["--out", "x", "--processes", "4", "--lr", "-1", "--processes=2"].map(OsString::from);
        assert_eq!(arguments_of_ranks(arguments), ["--out", "x", "--lr", "-1"]);
    }

    #[test]
    fn ends_are_told() {
        assert_eq!(how(&ExitStatus::from_raw(9)), "was killed by signal 9");
        assert_eq!(how(&ExitStatus::from_raw(3 << 8)), "failed with exit code 3");
        let failed = |raw| LaunchError::Failed { rank: 1, status: ExitStatus::from_raw(raw) };
        assert_eq!((failed(2 << 8).exit_code(), failed(9).exit_code()), (2, 1));
    }
}
