//! Training on several processes: libtorch's c10d, with Gloo between CPUs and NCCL between GPUs.
//!
//! | module | is |
//! | --- | --- |
//! | `environment` | what the launcher says: rank, number of processes, where rank 0 is |
//! | `address` | the address under which the others reach this process |
//! | `description` | what the processes must have in common |
//! | `rendezvous` | how they find each other and compare their descriptions |
//! | `group` | the group: collective operations, lost processes |
//! | `server` | the store, served by a launcher |
//! | `ffi` | the C interface to c10d |
mod address;
mod description;
mod environment;
mod error;
mod ffi;
mod group;
mod rendezvous;
mod server;

pub use description::Description;
pub use environment::Environment;
pub use error::{C10dError, C10dErrorKind, DistributedError};
pub use ffi::torch_version;
pub use group::{Pending, ProcessGroup};
pub use rendezvous::Rendezvous;
pub use server::Server;
