//! Serves frozen Glows over HTTP: the page, an API in JSON and PNG, the Open Inference Protocol, metrics.
//!
//! ```no_run
//! use glow_serve::{ModelSource, ServeOptions, run};
//!
//! # fn main() -> Result<(), glow_serve::ServeError> {
//! // Until SIGTERM or Ctrl-C; SIGHUP loads the bundles again.
//! run(ServeOptions::new().port(8000), vec![ModelSource::new("faces", "models/faces")])?;
//! # Ok(()) }
//! ```
//!
//! [`Server`] is for programs that have a tokio runtime and a way to stop of their own.
//!
//! # Where things are
//! Each module uses only those above it, layers and routes apart, which stand side by side.
//!
//! | module | is |
//! | --- | --- |
//! | `error`, `options`, `event` | what the caller of this crate sees |
//! | `problem` | an answer that says what went wrong: status, kind, message |
//! | `metrics` | the figures of `/metrics` |
//! | `limits` | deadlines, and the memory that bodies may take |
//! | `images` | photographs by the SHA-256 of their pixels, in a bounded cache |
//! | `recipe` | how a picture comes about |
//! | `model` | a bundle behind its queue, and loading it again |
//! | `app` | models, caches and figures: what requests share |
//! | `input` | bodies and query parameters, checked |
//! | `evaluate` | from recipes to latents |
//! | `pictures` | pixels as PNG, JSON or raw bytes |
//! | `v1`, `v2`, `page`, `health`, `openapi` | the routes |
//! | `layers` | what is done around each request: metrics, security headers, deadlines |
//! | `routes` | the table of routes |
//! | `server`, `shutdown` | connections, timeouts, stopping and signals |
mod app;
mod error;
mod evaluate;
mod event;
mod health;
mod images;
mod input;
mod layers;
mod limits;
mod metrics;
mod model;
mod openapi;
mod options;
mod page;
mod pictures;
mod problem;
mod recipe;
mod routes;
mod server;
mod shutdown;
mod v1;
mod v2;

pub use error::ServeError;
pub use event::Event;
pub use model::ModelSource;
pub use options::ServeOptions;
pub use server::{Handle, Server};
pub use shutdown::run;
