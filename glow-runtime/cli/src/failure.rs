//! How a command fails: what is printed, and which exit code says so.
use std::io;

/// A command line that parses but makes no sense.
#[derive(Debug)]
pub struct Misuse(pub String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// The error and what led to it, each on a line.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str("\n  because: ");
            text.push_str(&cause);
        }
    }
    if matches!(error.downcast_ref(), Some(glow_runtime::Error::Labels { .. })) {
        text.push_str(" (see --label)");
    }
    text
}

/// Whether whoever reads the results has had enough of them.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether the command line is at fault.
pub fn is_misuse(error: &anyhow::Error) -> bool {
    use glow_runtime::Error::{Labels, Option, UnknownAttribute};
    error.is::<Misuse>()
        || matches!(
            error.downcast_ref(),
            Some(glow_serve::ServeError::Option { .. } | glow_serve::ServeError::Name { .. })
        )
        || matches!(error.downcast_ref(), Some(Option { .. } | Labels { .. } | UnknownAttribute { .. }))
}
