//! Training on several processes: libtorch's c10d, with Gloo between CPUs and NCCL between GPUs.
//!
//! | module | is |
//! | --- | --- |
//! | `environment` | what the launcher says: rank, number of processes, where rank 0 is |
//! | `address` | the address under which the others reach this process |
//! | `description` | what the processes must have in common |
//! | `patience` | waiting with an end |
//! | `rendezvous` | how they find each other and compare their descriptions |
//! | `group` | the group: collective operations, lost processes |
//! | `server` | the store, served by a launcher |
//! | `team` | the group as the training loop sees it: one process or several |
//! | `fingerprint` | what tells one data set from another |
//! | `launcher` | `--processes N`: the ranks of one machine |
//! | `error_file` | where torchrun looks for errors |
//! | `ffi` | the C interface to c10d |
mod address;
mod description;
mod environment;
mod error;
pub mod error_file;
mod ffi;
mod fingerprint;
mod group;
pub mod launcher;
mod patience;
mod rendezvous;
mod server;
mod team;

pub use description::Description;
pub use environment::Environment;
pub use error::{C10dError, C10dErrorKind, DistributedError};
pub use ffi::torch_version;
pub use fingerprint::describe_data;
pub use group::{Pending, ProcessGroup};
pub use rendezvous::{Meeting, Rendezvous};
pub use server::Server;
pub use team::{PendingSum, Team};
