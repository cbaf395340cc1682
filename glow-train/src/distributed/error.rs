//! What can go wrong between processes.
use std::time::Duration;
use thiserror::Error;

/// The kinds of error that c10d tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum C10dErrorKind {
    /// An operation took longer than its timeout.
    Timeout,
    /// The key-value store does not answer as it should.
    Store,
    /// No connection, or one that broke.
    Network,
    /// Gloo or NCCL failed.
    Backend,
    /// Anything else that libtorch reported.
    Other,
}

/// An error of libtorch's c10d, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("c10d: {message}")]
pub struct C10dError {
    /// Its kind.
    pub kind: C10dErrorKind,
    /// What libtorch says.
    pub message: String,
}

/// Training on several processes that cannot start or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DistributedError {
    /// The launcher's environment variables do not fit together.
    #[error(
        "{variable} {problem}: a launcher such as torchrun sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT"
    )]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The port that rank 0 serves the store at is taken.
    #[error(
        "port {port} (MASTER_PORT) is in use on this host: another run has it, or one that has not ended yet; choose another"
    )]
    PortInUse {
        /// The port.
        port: u16,
        /// c10d's error.
        source: C10dError,
    },
    /// Rank 0's store cannot be reached.
    #[error(
        "cannot reach rank 0 at {host}:{port} (MASTER_ADDR, MASTER_PORT) within {} s: check the address, that rank 0 \
         runs, and that no firewall is between",
        timeout.as_secs_f64()
    )]
    Unreachable {
        /// MASTER_ADDR.
        host: String,
        /// MASTER_PORT.
        port: u16,
        /// How long it was tried.
        timeout: Duration,
        /// c10d's error; none where it did not come back at all.
        source: Option<C10dError>,
    },
    /// No address by which the other hosts could reach this one.
    #[error("{problem}; set GLOO_SOCKET_IFNAME to the network interface that the hosts share, such as eth0")]
    Address {
        /// What was tried.
        problem: String,
    },
    /// Not all processes came.
    #[error("{} of {world_size} did not come within {} s{}", ranks_text(ranks), timeout.as_secs_f64(), hint(*world_size))]
    Absent {
        /// Those that did not.
        ranks: Vec<usize>,
        /// Processes in all.
        world_size: usize,
        /// How long they were waited for.
        timeout: Duration,
    },
    /// The processes do not run the same.
    #[error("the processes differ, and cannot train together: {}", differences.join("; "))]
    Differs {
        /// What differs, one sentence each.
        differences: Vec<String>,
    },
    /// Another process has this rank.
    #[error("rank {rank} is not wanted: {problem}")]
    Superfluous {
        /// This process's rank.
        rank: usize,
        /// Why.
        problem: String,
    },
    /// Processes are gone, or do not answer.
    #[error(
        "{} of {world_size} {} while {doing}: killed, stopped, or on a host that cannot be reached; the last checkpoint \
         stands, go on from it with --resume",
        ranks_text(ranks),
        if *timed_out { "did not answer in time" } else { "went away" }
    )]
    PeerLost {
        /// Those that are gone.
        ranks: Vec<usize>,
        /// Processes in all.
        world_size: usize,
        /// What was being done.
        doing: &'static str,
        /// Whether it was noticed by the timeout.
        timed_out: bool,
        /// c10d's error, if there was one.
        source: Option<C10dError>,
    },
    /// Another process failed, and said why.
    #[error("rank {rank} failed: {message}")]
    PeerFailed {
        /// The rank.
        rank: usize,
        /// Its error.
        message: String,
    },
    /// An operation took longer than the timeout, though every process is there.
    #[error("{doing} took longer than {} s, though all processes answer: give a longer --timeout", timeout.as_secs_f64())]
    Timeout {
        /// What was being done.
        doing: &'static str,
        /// The timeout.
        timeout: Duration,
    },
    /// An operation failed, though every process is there.
    #[error("{doing} failed between the processes")]
    Collective {
        /// What was being done.
        doing: &'static str,
        /// c10d's error.
        source: C10dError,
    },
    /// The group cannot be formed.
    #[error("the processes found each other, and cannot connect")]
    Connect {
        /// c10d's error.
        source: C10dError,
    },
    /// The processes are about to do different things.
    #[error("while {doing}, rank {rank} has {theirs} where this process has {ours}: a fault of this program")]
    Mismatch {
        /// What was to be done.
        doing: &'static str,
        /// The other process.
        rank: usize,
        /// Its operation and tensor.
        theirs: String,
        /// This process's.
        ours: String,
    },
    /// The tensor cannot be given to the backend.
    #[error("while {doing}: {problem}: a fault of this program")]
    Tensor {
        /// What was to be done.
        doing: &'static str,
        /// What is wrong with the tensor.
        problem: String,
    },
    /// The processes' copies of the model are no longer the same.
    #[error(
        "{} of {world_size} no longer has the parameters of rank 0: {parameter} is the first that differs; the checkpoint \
         before stands. Memory or a processor may be faulty, or the hosts' libraries differ",
        ranks_text(ranks)
    )]
    Drift {
        /// Those whose parameters differ from rank 0's.
        ranks: Vec<usize>,
        /// Processes in all.
        world_size: usize,
        /// The first parameter that differs.
        parameter: String,
    },
}

/// "rank 1", "ranks 1 and 3", "ranks 1, 2 and 5".
pub(super) fn ranks_text(ranks: &[usize]) -> String {
    let names: Vec<String> = ranks.iter().map(usize::to_string).collect();
    match names.split_last() {
        None => "no rank".into(),
        Some((last, [])) => format!("rank {last}"),
        Some((last, rest)) => format!("ranks {} and {last}", rest.join(", ")),
    }
}

fn hint(world_size: usize) -> String {
    format!(": start them with WORLD_SIZE {world_size}, or give a longer --timeout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_listed() {
        assert_eq!(ranks_text(&[1]), "rank 1");
        assert_eq!(ranks_text(&[1, 3]), "ranks 1 and 3");
        assert_eq!(ranks_text(&[0, 2, 5]), "ranks 0, 2 and 5");
    }
}
