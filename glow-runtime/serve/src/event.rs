//! What a server tells the program that runs it.
use std::net::SocketAddr;
use std::time::Duration;

/// Something that an operator may want to read; see [`ServeOptions::on_event`](crate::ServeOptions::on_event). Its
/// text is one line.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Requests are answered from now on.
    Listening {
        /// Where.
        address: SocketAddr,
    },
    /// A bundle was loaded again.
    Reloaded {
        /// The model's name.
        model: String,
        /// The time that it took.
        time: Duration,
    },
    /// A bundle could not be loaded again; the earlier one goes on serving.
    ReloadFailed {
        /// The model's name.
        model: String,
        /// The error and its causes.
        reason: String,
    },
    /// A request was answered.
    Request {
        /// Its method.
        method: String,
        /// Its path, without the query.
        path: String,
        /// The answer's status.
        status: u16,
        /// The time from its head to the head of the answer.
        time: Duration,
    },
    /// A request failed for a reason within the server, which the client is not told.
    Failed {
        /// The request's path.
        path: String,
        /// The error and its causes.
        reason: String,
    },
    /// Connections cannot be accepted for a moment, as when file descriptors run out.
    AcceptFailed {
        /// What the system says.
        reason: String,
    },
    /// No new requests are taken; those that were accepted are finished.
    Stopping,
    /// The server has ended.
    Stopped {
        /// Whether every accepted request was finished.
        finished: bool,
    },
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listening { address } => write!(f, "listening at http://{address}/"),
            Self::Reloaded { model, time } => {
                write!(f, "{model} was loaded again in {} ms", time.as_millis())
            }
            Self::ReloadFailed { model, reason } => {
                write!(f, "{model} cannot be loaded again, the earlier one goes on: {reason}")
            }
            Self::Request { method, path, status, time } => {
                write!(f, "{method} {path:?} {status} {:.1} ms", time.as_secs_f64() * 1e3)
            }
            Self::Failed { path, reason } => write!(f, "{path:?} failed: {reason}"),
            Self::AcceptFailed { reason } => write!(f, "cannot accept connections: {reason}"),
            Self::Stopping => f.write_str("stopping: accepted requests are finished"),
            Self::Stopped { finished: true } => f.write_str("stopped"),
            Self::Stopped { finished: false } => {
                f.write_str("stopped; some requests were not finished in time")
            }
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
