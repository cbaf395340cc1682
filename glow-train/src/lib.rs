//! Trains a Glow (Kingma & Dhariwal 2018) on tch.
//!
//! | module | is |
//! | --- | --- |
//! | [`flow`] | the model: every layer in both directions, with its log-determinant |
//! | [`trainer`] | one model in training: a step, a checkpoint |
//! | [`evaluate`], [`sample`] | bits/dim on a data set, images drawn from a model: neither needs a trainer |
//! | [`run`] | the loop over a run's folder: what is due when, and what stays when it ends |
//! | [`cost`] | what a step costs: operations and memory |
//! | [`metrics`], [`events`] | what a run notes: JSON lines, and TensorBoard's files |
//! | [`device`] | CPU or CUDA, chosen at run time |
//! | [`distributed`] | several processes that train one model |
//!
//! Images come from the crate `glow_data`.
//!
//! The program `glow-train` is a thin shell over [`run::train`] and [`evaluate::evaluate`].
pub mod cost;
pub mod device;
pub mod distributed;
mod error;
pub mod evaluate;
pub mod events;
pub mod flow;
mod input;
mod memory;
pub mod metrics;
pub mod optimizer;
mod progress;
pub mod run;
pub mod sample;
mod tf32;
mod torch;
pub mod trainer;

pub use error::TrainError;
pub use trainer::Trainer;
