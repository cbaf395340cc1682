//! Opening a library and asking its version, before `ort` sees it: that panics where this gives errors.
use super::elf;
use crate::Error;
use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};

/// The oldest version that computes right: 1.17 to 1.20 take the graphs, and give wrong pixels where the
/// encoder and the decoder of a process share their weights.
const OLDEST: (u32, u32) = (1, 21);

#[repr(C)]
struct ApiBase {
    get_api: unsafe extern "system" fn(u32) -> *const c_void,
    get_version: unsafe extern "system" fn() -> *const c_char,
}

/// The version of the library in a file.
///
/// # Errors
/// [`Error::Library`] for what is no ONNX Runtime, [`Error::LibraryTooOld`].
pub(super) fn version(path: &Path) -> Result<String, Error> {
    let unusable = |reason: String| Error::Library { path: path.into(), reason };
    // Where the loader's own word would be less clear, or none at all.
    let complete = std::fs::File::open(path).and_then(|mut file| elf::is_complete(&mut file));
    if !complete.map_err(|error| unusable(error.to_string()))? {
        return Err(unusable("the file is truncated".into()));
    }
    // SAFETY: this runs the library's initialisers, as any use of it would.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        unusable(format!("{error}{}", cause.unwrap_or_default()))
    })?;
    // SAFETY: the signature is that of ONNX Runtime's C API, stable since its first version.
    let base = unsafe { library.get::<unsafe extern "system" fn() -> *const ApiBase>(b"OrtGetApiBase") }
        .map_err(|_| unusable("it is another library, without OrtGetApiBase".into()))?;
    // SAFETY: it takes nothing and gives a pointer to a static, checked for null here.
    let base = unsafe { base().as_ref() }.ok_or_else(|| unusable("OrtGetApiBase gives nothing".into()))?;
    // SAFETY: it takes nothing and gives a static C string; null is checked first.
    let version = unsafe {
        let version = (base.get_version)();
        (!version.is_null()).then(|| CStr::from_ptr(version).to_string_lossy().into_owned())
    }
    .ok_or_else(|| unusable("it does not tell its version".into()))?;
    let number = |part: usize| version.split('.').nth(part).and_then(|text| text.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (number(0), number(1)) else {
        return Err(unusable(format!("its version {version:?} is not a number")));
    };
    if (major, minor) < OLDEST {
        // It stays open, as below.
        std::mem::forget(library);
        let needed = format!("{}.{}", OLDEST.0, OLDEST.1);
        return Err(Error::LibraryTooOld { path: path.into(), version, needed });
    }
    // SAFETY: any number may be asked for; null means that it is not served.
    if unsafe { (base.get_api)(ort::MINOR_VERSION) }.is_null() {
        return Err(unusable(format!("it does not serve version {} of the C API", ort::MINOR_VERSION)));
    }
    // It stays open: to close and reopen it would only run its initialisers again.
    std::mem::forget(library);
    Ok(version)
}

/// The file of the library that the system's loader finds by this name, if there is one.
#[cfg(unix)]
pub(super) fn by_loader(name: &str) -> Option<PathBuf> {
    // SAFETY: this runs the library's initialisers, as any use of it would.
    let library = unsafe { libloading::Library::new(name) }.ok()?;
    // SAFETY: only its address is used.
    let symbol = unsafe { library.get::<unsafe extern "system" fn() -> *const ApiBase>(b"OrtGetApiBase") };
    let path = file_of(*symbol.ok()? as *const c_void)?;
    std::mem::forget(library);
    Some(path)
}

/// The file of the library that a function is in.
#[cfg(unix)]
pub(super) fn file_of(function: *const c_void) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: it takes any address, and fills the description if the answer is not 0.
    let info = unsafe { (libc::dladdr(function, info.as_mut_ptr()) != 0).then(|| info.assume_init()) }?;
    if info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's own name of an open library, a C string that lives as long as it is open.
    let path = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

#[cfg(not(unix))]
pub(super) fn by_loader(_name: &str) -> Option<PathBuf> {
    None
}

#[cfg(not(unix))]
pub(super) fn file_of(_function: *const c_void) -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_onnx_runtime_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        let refused = |path: &Path| match version(path) {
            Err(Error::Library { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        };
        refused(&path);
        std::fs::write(&path, "not a library").unwrap();
        refused(&path);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_loader_is_asked_for_onnx_runtime_alone() {
        assert_eq!(by_loader("libonnxruntime-that-nobody-has.so"), None);
        // A library that is there, and is another one.
        assert_eq!(by_loader("libc.so.6"), None);
    }
}
