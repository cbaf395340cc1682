//! Where the ONNX Runtime library is looked for.
use super::probe;
use crate::Error;
use std::path::{Path, PathBuf};

/// The checkout that this crate was compiled in, for programs that are run where they were built; see `build.rs`.
const CHECKOUT: Option<&str> = option_env!("GLOW_CHECKOUT");

/// What `make setup` fetches of the checkout's: a folder below `.native`.
pub(super) fn fetched(folder: &str) -> Option<PathBuf> {
    CHECKOUT.map(|checkout| Path::new(checkout).join(".native").join(folder))
}

/// The name under which the system's loader knows the library. Windows has one of its own, which is too old.
const SYSTEM: Option<&str> = if cfg!(target_os = "macos") {
    Some("libonnxruntime.dylib")
} else if cfg!(unix) {
    Some("libonnxruntime.so.1")
} else {
    None
};

/// Which of the checkout's own libraries is looked for first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(not(feature = "openvino"), allow(dead_code, reason = "then there is nothing to prefer"))]
pub(crate) enum Preference {
    /// The usual one.
    #[default]
    Usual,
    /// The one that is built with OpenVINO.
    OpenVino,
    /// The usual one if it has CUDA, otherwise the one that is built with OpenVINO.
    CudaThenOpenVino,
}

impl Preference {
    fn prefers_openvino(self) -> bool {
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let cuda = format!("{CAPI}/{prefix}onnxruntime_providers_cuda{suffix}");
        match self {
            Self::Usual => false,
            Self::OpenVino => true,
            Self::CudaThenOpenVino => !fetched("site").is_some_and(|site| site.join(cuda).exists()),
        }
    }
}

/// The library's file, as [`GlowBuilder::onnxruntime`](crate::GlowBuilder::onnxruntime) says.
pub(super) fn find(asked: Option<&Path>, preference: Preference) -> Result<PathBuf, Error> {
    let environment = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    // A path that someone named is used or refused, never passed over.
    if let Some(path) = asked.map(Path::to_path_buf).or(environment) {
        return match path.is_dir() {
            true => in_folder(&path).ok_or(Error::LibraryNotFound { looked: vec![path] }),
            false => Ok(path),
        };
    }
    let executable = std::env::current_exe().ok();
    let folders = folders(executable.as_deref(), preference.prefers_openvino());
    if let Some(path) = folders.iter().find_map(|folder| in_folder(folder)) {
        return Ok(path);
    }
    if let Some(path) = SYSTEM.and_then(probe::by_loader) {
        return Ok(path);
    }
    let looked = folders.into_iter().chain(SYSTEM.map(PathBuf::from)).collect();
    Err(Error::LibraryNotFound { looked })
}

/// Where the library is in the Python package that it comes in.
const CAPI: &str = "onnxruntime/capi";

/// The executable's folder and the `lib` beside that, as programs are installed, then the checkout's own.
fn folders(executable: Option<&Path>, openvino: bool) -> Vec<PathBuf> {
    let beside = executable.and_then(Path::parent);
    let installed = beside.and_then(Path::parent).map(|prefix| prefix.join("lib"));
    let with_openvino = if openvino { fetched("openvino").map(|folder| folder.join(CAPI)) } else { None };
    let own = fetched("site").map(|folder| folder.join(CAPI));
    [beside.map(Path::to_path_buf), installed, with_openvino, own].into_iter().flatten().collect()
}

/// The library in a folder; of several versions, the last by name.
pub(super) fn in_folder(folder: &Path) -> Option<PathBuf> {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let is_library = |name: &str| {
        let rest = name.strip_prefix(prefix).and_then(|name| name.strip_prefix("onnxruntime"));
        // libonnxruntime.so, libonnxruntime.so.1.31.1, libonnxruntime.1.31.1.dylib, onnxruntime.dll
        rest.is_some_and(|rest| rest.starts_with('.') && rest.contains(suffix))
    };
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_library)).map(|entry| entry.path()).max()
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
    fn programs_are_looked_beside_and_in_lib_before_the_checkout() {
        let folders = folders(Some(Path::new("/opt/glow/bin/glow")), true);
        let begin = [Path::new("/opt/glow/bin"), Path::new("/opt/glow/lib")];
        assert_eq!(folders[..2], begin);
        let own: Vec<_> = ["openvino/onnxruntime/capi", "site/onnxruntime/capi"]
            .map(fetched)
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(folders[2..], own);
    }

    #[test]
    fn what_was_looked_for_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let Err(Error::LibraryNotFound { looked }) = find(Some(folder.path()), Preference::Usual) else {
            panic!()
        };
        assert_eq!(looked, [folder.path()]);
    }
}
