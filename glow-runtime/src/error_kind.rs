//! Errors by kind.
use crate::{Error, RunFailure};
use std::fmt;

/// What an [`Error`] is about, for callers that do not match on every variant: other languages turn it into an exception
/// or a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The ONNX Runtime library: there is none, it is too old, or it does not start.
    Library,
    /// The model: a file of the bundle is missing, damaged, of another format, or rejected by ONNX Runtime.
    Bundle,
    /// The execution provider that was asked for cannot be used, or is not accurate enough.
    Provider,
    /// An argument of the call: its shape, its range, a name that there is not.
    Argument,
    /// A file that cannot be read or written, or holds something else.
    File,
    /// A number that is NaN or infinite, given or computed.
    NonFinite,
    /// Memory ran out, of the host or of the device.
    Memory,
    /// The device is lost to this process.
    Device,
    /// The scheduler's queue is full: try again later.
    Overloaded,
    /// The job was not done before its deadline.
    Deadline,
    /// The job was cancelled by its caller.
    Cancelled,
    /// The scheduler is being stopped, and takes or does no more jobs.
    Stopped,
    /// ONNX Runtime or the operating system failed in another way, or the process was forked.
    Failed,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Library => "library",
            Self::Bundle => "bundle",
            Self::Provider => "provider",
            Self::Argument => "argument",
            Self::File => "file",
            Self::NonFinite => "non-finite",
            Self::Memory => "memory",
            Self::Device => "device",
            Self::Overloaded => "overloaded",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        })
    }
}

impl Error {
    /// What it is about.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::LibraryNotFound { .. }
            | Self::Library { .. }
            | Self::LibraryTooOld { .. }
            | Self::LibraryAlreadyLoaded { .. }
            | Self::EnvironmentTaken
            | Self::Environment { .. } => ErrorKind::Library,
            Self::Load { source, .. } => match RunFailure::of(source.code(), source.message()) {
                RunFailure::OutOfMemory => ErrorKind::Memory,
                RunFailure::DeviceLost => ErrorKind::Device,
                _ => ErrorKind::Bundle,
            },
            Self::Bundle(_) | Self::Graph { .. } | Self::Run { kind: RunFailure::InvalidModel, .. } => {
                ErrorKind::Bundle
            }
            Self::Provider { .. } | Self::Check { .. } => ErrorKind::Provider,
            Self::NotLoaded { .. }
            | Self::Shape { .. }
            | Self::Option { .. }
            | Self::SharedThreads { .. }
            | Self::Labels { .. }
            | Self::UnknownAttribute { .. }
            | Self::Fit { .. } => ErrorKind::Argument,
            Self::TensorFile(_)
            | Self::Latents { .. }
            | Self::Attributes { .. }
            | Self::Reference { .. }
            | Self::Read { .. }
            | Self::Write { .. } => ErrorKind::File,
            Self::NonFinite { .. } => ErrorKind::NonFinite,
            Self::Run { kind: RunFailure::OutOfMemory, .. } => ErrorKind::Memory,
            Self::Run { kind: RunFailure::DeviceLost, .. } | Self::Unavailable { .. } => ErrorKind::Device,
            Self::Run { .. } | Self::Thread { .. } | Self::Forked { .. } => ErrorKind::Failed,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::Deadline => ErrorKind::Deadline,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Stopped => ErrorKind::Stopped,
            #[cfg(feature = "image")]
            Self::Decode { .. } | Self::Data(_) => ErrorKind::File,
            #[cfg(feature = "image")]
            Self::Misfit { .. } => ErrorKind::Argument,
        }
    }

    /// The message with those of its causes, `message: cause: cause of the cause`.
    pub fn with_causes(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |&error| error.source());
        std::iter::once(self.to_string())
            .chain(causes.map(ToString::to_string))
            .collect::<Vec<_>>()
            .join(": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_the_message() {
        let source = std::io::Error::other("the disk is full");
        let error = Error::Write { path: "a.npy".into(), source };
        assert_eq!(error.with_causes(), "cannot write a.npy: the disk is full");
        assert_eq!(error.kind(), ErrorKind::File);
        assert_eq!(error.onnxruntime_code(), None);
        assert_eq!(Error::Deadline.with_causes(), Error::Deadline.to_string());
    }
}
