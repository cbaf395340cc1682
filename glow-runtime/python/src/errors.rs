//! Errors as the exceptions of `glow._errors`, by kind.
use glow_runtime::{Error, ErrorKind};
use pyo3::prelude::*;

/// An error on its way to Python.
pub struct Raised(PyErr);

pub type Result<T> = std::result::Result<T, Raised>;

impl From<Raised> for PyErr {
    fn from(raised: Raised) -> Self {
        raised.0
    }
}

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        let class = match error.kind() {
            ErrorKind::Library => "LibraryError",
            ErrorKind::Bundle => "BundleError",
            ErrorKind::Provider => "ProviderError",
            ErrorKind::Argument => "ArgumentError",
            ErrorKind::File => "FileError",
            ErrorKind::NonFinite => "NonFiniteError",
            ErrorKind::Memory => "OutOfMemoryError",
            ErrorKind::Device => "DeviceError",
            ErrorKind::Overloaded => "OverloadedError",
            ErrorKind::Deadline => "DeadlineError",
            ErrorKind::Cancelled => "CancelledError",
            ErrorKind::Stopped => "StoppedError",
            _ => "RunError",
        };
        raise(class, error.with_causes())
    }
}

/// An argument that the library never sees.
pub fn argument(message: String) -> Raised {
    raise("ArgumentError", message)
}

fn raise(class: &str, message: String) -> Raised {
    Raised(Python::attach(|py| {
        let instance = py.import("glow._errors").and_then(|module| module.getattr(class)?.call1((message,)));
        instance.map_or_else(|error| error, PyErr::from_value)
    }))
}
