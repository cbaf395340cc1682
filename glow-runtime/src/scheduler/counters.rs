//! What a scheduler tells of its work.
use crate::GraphKind;
use std::collections::BTreeMap;
use std::time::Duration;

/// What has happened at a graph's queue since the [`Scheduler`](super::Scheduler) was made, and what is there now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Images that wait now.
    pub waiting: usize,
    /// Images that are being run now.
    pub running: usize,
    /// Jobs that were accepted.
    pub accepted: u64,
    /// Jobs that gave their result.
    pub completed: u64,
    /// Jobs that failed, for reasons that are not among the following.
    pub failed: u64,
    /// Jobs that were refused, as the queue was full.
    pub overloaded: u64,
    /// Jobs given up at their deadline.
    pub expired: u64,
    /// Jobs given up by their callers.
    pub cancelled: u64,
    /// Images that were run.
    pub images: u64,
    /// Batches that were run, by their number of images.
    pub batches: BTreeMap<usize, u64>,
    /// Time from the submission of each job to its first batch, summed over jobs.
    pub waited: Duration,
    /// Time that batches took, summed.
    pub ran: Duration,
}

/// A batch that was run; see [`SchedulerOptions::on_batch`](super::SchedulerOptions::on_batch).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// The graph that ran it.
    pub graph: GraphKind,
    /// Its images.
    pub images: usize,
    /// The jobs that they are of.
    pub jobs: usize,
    /// Time since the submission of each job that begins with this batch.
    pub waited: Vec<Duration>,
    /// Time that it took.
    pub ran: Duration,
    /// Whether it succeeded.
    pub succeeded: bool,
}
