//! Status codes, errors, and the guard around every function.
use glow_runtime::{Error, ErrorKind};
use std::any::Any;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// How a call ended: the kind of its error.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "C has one space of names: GLOW_OK")]
pub enum GlowStatus {
    /// Done.
    GlowOk = 0,
    /// An argument: NULL, a wrong length, a value out of range, a name that there is not.
    GlowArgument = 1,
    /// The ONNX Runtime library: there is none, it is too old, or it does not start.
    GlowLibrary = 2,
    /// The bundle: a file is missing, damaged, of another format, or rejected by ONNX Runtime.
    GlowBundle = 3,
    /// The execution provider that was asked for cannot be used, or is not accurate enough.
    GlowProvider = 4,
    /// A file that cannot be read or written, or holds something else.
    GlowFile = 5,
    /// A number that is NaN or infinite, given or computed.
    GlowNonFinite = 6,
    /// Memory ran out, of the host or of the device.
    GlowMemory = 7,
    /// The device is lost to this process.
    GlowDevice = 8,
    /// ONNX Runtime or the operating system failed in another way, or the process was forked from one that runs it.
    GlowFailed = 9,
    /// An error in this library: it panicked. Please report it.
    GlowInternal = 10,
    /// A queue is full: try again later.
    GlowOverloaded = 11,
    /// A job was not done before its deadline.
    GlowDeadline = 12,
    /// A job was cancelled.
    GlowCancelled = 13,
    /// A queue is being stopped, and takes or does no more jobs.
    GlowStopped = 14,
}

/// What went wrong.
pub struct GlowError {
    status: GlowStatus,
    message: CString,
}

impl GlowError {
    pub fn new(status: GlowStatus, message: impl Into<Vec<u8>>) -> Self {
        let mut bytes = message.into();
        // Such as from a path in a message; a text in C ends there.
        bytes.retain(|&byte| byte != 0);
        Self { status, message: CString::new(bytes).unwrap_or_default() }
    }

    pub fn argument(message: impl Into<Vec<u8>>) -> Self {
        Self::new(GlowStatus::GlowArgument, message)
    }

    fn panic(panic: &(dyn Any + Send)) -> Self {
        let text =
            panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        Self::new(
            GlowStatus::GlowInternal,
            format!("an error in this library: {}", text.unwrap_or("it panicked")),
        )
    }
}

impl From<Error> for GlowError {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Library => GlowStatus::GlowLibrary,
            ErrorKind::Bundle => GlowStatus::GlowBundle,
            ErrorKind::Provider => GlowStatus::GlowProvider,
            ErrorKind::Argument => GlowStatus::GlowArgument,
            ErrorKind::File => GlowStatus::GlowFile,
            ErrorKind::NonFinite => GlowStatus::GlowNonFinite,
            ErrorKind::Memory => GlowStatus::GlowMemory,
            ErrorKind::Device => GlowStatus::GlowDevice,
            ErrorKind::Overloaded => GlowStatus::GlowOverloaded,
            ErrorKind::Deadline => GlowStatus::GlowDeadline,
            ErrorKind::Cancelled => GlowStatus::GlowCancelled,
            ErrorKind::Stopped => GlowStatus::GlowStopped,
            _ => GlowStatus::GlowFailed,
        };
        Self::new(status, error.with_causes())
    }
}

/// Runs the body of a function: its error, or its panic, goes to `*error` unless that is NULL.
pub fn guard(error: *mut *mut GlowError, body: impl FnOnce() -> Result<(), GlowError>) -> GlowStatus {
    // What a panic left half done is the body's own, except for the model, whose locks take it.
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(GlowError::panic(&*panic)));
    let (status, made) = match result {
        Ok(()) => (GlowStatus::GlowOk, ptr::null_mut()),
        Err(failure) if error.is_null() => (failure.status, ptr::null_mut()),
        Err(failure) => (failure.status, Box::into_raw(Box::new(failure))),
    };
    if !error.is_null() {
        // SAFETY: not NULL, and the caller says that it may be written.
        unsafe { error.write(made) };
    }
    status
}

/// Drops what a handle points to; NULL is nothing.
///
/// # Safety
/// `handle` is NULL, or was made by `Box::into_raw` and is not used again.
pub unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: the caller's promise.
        let owned = unsafe { Box::from_raw(handle) };
        // A panic must not cross into the caller, and there is nobody to tell.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(owned)));
    }
}

/// The kind of an error. GLOW_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_error_status(error: *const GlowError) -> GlowStatus {
    // SAFETY: NULL or a live error, as the header asks.
    unsafe { error.as_ref() }.map_or(GlowStatus::GlowOk, |error| error.status)
}

/// The text of an error with those of its causes, "message: cause: cause of the cause". It belongs to the error, and
/// ends with it. An empty text for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_error_message(error: *const GlowError) -> *const c_char {
    // SAFETY: NULL or a live error, as the header asks.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Frees an error. Nothing happens for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_error_free(error: *mut GlowError) {
    // SAFETY: NULL or an error of the caller's, as the header asks.
    unsafe { free(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn taken(error: *mut GlowError) -> (GlowStatus, String) {
        // SAFETY: an error that `guard` made, read and then freed, once.
        unsafe {
            let text = CStr::from_ptr(glow_error_message(error)).to_str().unwrap().to_string();
            let status = glow_error_status(error);
            glow_error_free(error);
            (status, text)
        }
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let mut error = ptr::null_mut();
        let number = 7;
        let status = guard(&mut error, || panic!("number {number}"));
        assert_eq!(status, GlowStatus::GlowInternal);
        assert_eq!(taken(error), (status, "an error in this library: number 7".into()));
        assert_eq!(guard(ptr::null_mut(), || panic!("unheard")), GlowStatus::GlowInternal);
    }

    #[test]
    fn an_error_says_its_causes_and_success_clears_it() {
        let mut error = ptr::null_mut();
        let source = std::io::Error::other("full");
        let status = guard(&mut error, || Err(Error::Write { path: "a".into(), source }.into()));
        assert_eq!(taken(error), (status, "cannot write a: full".into()));
        assert_eq!(status, GlowStatus::GlowFile);
        assert_eq!(guard(&mut error, || Ok(())), GlowStatus::GlowOk);
        assert!(error.is_null());
        assert_eq!(taken(error), (GlowStatus::GlowOk, String::new()));
    }

    #[test]
    fn a_text_ends_with_its_only_nul() {
        let mut error = ptr::null_mut();
        guard(&mut error, || Err(GlowError::argument("a\0b")));
        assert_eq!(taken(error).1, "ab");
    }
}
