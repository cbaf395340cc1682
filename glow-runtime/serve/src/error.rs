//! Why a server cannot be started.
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;

/// Why a server cannot be started, or had to end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A server needs a model.
    #[error("there is no model to serve: name a bundle")]
    NoModel,
    /// A name that cannot be part of an address.
    #[error(
        "{name:?} cannot name a model: 1 to 64 letters, digits, '-', '_' and '.', not beginning with '.'"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Two models of one name.
    #[error("two models are called {name}: give one another name, NAME=BUNDLE")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// An option outside of its range.
    #[error("{option} = {value} is out of range: {allowed}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A bundle cannot be loaded.
    #[error("the model {name} cannot be loaded from {}", bundle.display())]
    Load {
        /// The model's name.
        name: String,
        /// Its folder.
        bundle: PathBuf,
        /// Why.
        source: Box<glow_runtime::Error>,
    },
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: choose another address or port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system refuses threads or signals.
    #[error("the server cannot be started")]
    Start {
        /// What the system says.
        source: io::Error,
    },
}
