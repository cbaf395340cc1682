//! Finding the ONNX Runtime library and starting it, once a process.
mod elf;
pub(crate) mod gpu;

use crate::Error;
use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The version that `ort` is compiled for; newer ones serve it too.
const NEEDED: (u32, u32) = (1, ort::MINOR_VERSION);

/// The checkout's own folder, for programs that are run where they were built.
const NATIVE: &str = env!("GLOW_NATIVE_ONNXRUNTIME");
/// The folder of the library that is built with OpenVINO.
const NATIVE_OPENVINO: &str = env!("GLOW_NATIVE_OPENVINO");

/// The ONNX Runtime that this process uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxRuntime {
    /// The library's file.
    pub path: PathBuf,
    /// Its version, such as `1.31.1`.
    pub version: String,
}

impl OnnxRuntime {
    /// Opens ONNX Runtime as [`GlowBuilder::onnxruntime`](crate::GlowBuilder::onnxruntime) describes,
    /// before any bundle is loaded: to learn early whether there is one.
    ///
    /// # Errors
    /// [`Error::LibraryNotFound`], [`Error::Library`], [`Error::LibraryTooOld`],
    /// [`Error::LibraryAlreadyLoaded`].
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        start(path, false).map(|library| library.info)
    }
}

/// ONNX Runtime, started.
#[derive(Clone)]
pub(crate) struct Library {
    pub info: OnnxRuntime,
    pub environment: ort::environment::Environment,
}

/// Never dropped: ONNX Runtime allows one environment a process.
static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

/// Starts ONNX Runtime, or gives the one that runs already.
/// `openvino` has it look for the library with OpenVINO first among the checkout's own.
pub(crate) fn start(asked: Option<&Path>, openvino: bool) -> Result<Library, Error> {
    let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = &*library {
        return match asked {
            Some(asked) if !is_file(asked, &library.info.path) => {
                let loaded = library.info.path.clone();
                Err(Error::LibraryAlreadyLoaded { loaded, asked: asked.into() })
            }
            _ => Ok(library.clone()),
        };
    }
    let found = find(asked, openvino)?;
    // A bare name would make the loader search its own folders instead.
    let path = std::path::absolute(&found).unwrap_or(found);
    let version = probe(&path)?;
    let unusable = |reason: String| Error::Library { path: path.clone(), reason };
    // The CUDA provider has no run path to NVIDIA's libraries.
    gpu::preload();
    let environment = ort::init_from(&path)
        .map_err(|error| unusable(error.to_string()))?
        .with_name("glow")
        .with_telemetry(false)
        .build()
        .map_err(|source| Error::Environment { source: source.into() })?;
    // What fails comes back as an error; that it is not logged as well is up to whoever set ORT_LOG.
    if std::env::var_os("ORT_LOG").is_none() {
        environment.set_log_level(ort::logging::LogLevel::Fatal);
    }
    let started = Library { info: OnnxRuntime { path, version }, environment };
    Ok(library.insert(started).clone())
}

/// Whether what is asked for, a file or the folder that it is in, is this library.
fn is_file(asked: &Path, library: &Path) -> bool {
    let within = if asked.is_dir() { in_folder(asked) } else { None };
    let asked = within.as_deref().unwrap_or(asked);
    match (asked.canonicalize(), library.canonicalize()) {
        (Ok(asked), Ok(library)) => asked == library,
        _ => asked == library,
    }
}

/// The library's file: as asked, as in ORT_DYLIB_PATH, beside the executable, in the checkout.
fn find(asked: Option<&Path>, openvino: bool) -> Result<PathBuf, Error> {
    let environment = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    // A path that someone named is used or refused, never passed over.
    if let Some(path) = asked.map(Path::to_path_buf).or(environment) {
        return match path.is_dir() {
            true => in_folder(&path).ok_or(Error::LibraryNotFound { looked: vec![path] }),
            false => Ok(path),
        };
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let natives = if openvino { vec![NATIVE_OPENVINO, NATIVE] } else { vec![NATIVE] };
    let folders: Vec<PathBuf> = beside.into_iter().chain(natives.into_iter().map(PathBuf::from)).collect();
    folders.iter().find_map(|folder| in_folder(folder)).ok_or(Error::LibraryNotFound { looked: folders })
}

/// The library in a folder; of several versions, the last by name.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let is_library = |name: &str| {
        let rest = name.strip_prefix(prefix).and_then(|name| name.strip_prefix("onnxruntime"));
        // libonnxruntime.so, libonnxruntime.so.1.31.1, libonnxruntime.1.31.1.dylib, onnxruntime.dll
        rest.is_some_and(|rest| rest.starts_with('.') && rest.contains(suffix))
    };
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_library)).map(|entry| entry.path()).max()
}

#[repr(C)]
struct ApiBase {
    get_api: unsafe extern "system" fn(u32) -> *const c_void,
    get_version: unsafe extern "system" fn() -> *const c_char,
}

/// The version of the library, found out before `ort` sees it: that panics where this gives errors.
fn probe(path: &Path) -> Result<String, Error> {
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
    if (major, minor) < NEEDED {
        let needed = format!("{}.{}", NEEDED.0, NEEDED.1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_newest_library_only() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(in_folder(folder.path()), None);
        let name = |rest: &str| {
            let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
            folder.path().join(format!("{prefix}onnxruntime{rest}{suffix}"))
        };
        std::fs::write(name("_providers_shared"), "").unwrap();
        assert_eq!(in_folder(folder.path()), None);
        std::fs::write(name(""), "").unwrap();
        assert_eq!(in_folder(folder.path()), Some(name("")));
    }

    #[test]
    fn files_that_are_no_onnx_runtime_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        let refused = |expected: &str| {
            let error = probe(&path).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        };
        refused("No such file");
        std::fs::write(&path, "not a library").unwrap();
        refused("cannot be used as the ONNX Runtime library");
        let error = find(Some(folder.path()), false).and_then(|path| probe(&path)).unwrap_err();
        assert!(matches!(error, Error::Library { .. }), "{error}");
    }

    #[test]
    fn what_was_looked_for_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(Some(folder.path()), false).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()) && error.contains("make setup"), "{error}");
    }
}
