//! Where onnxruntime-web is.
use crate::PageError;
use std::path::{Path, PathBuf};

/// The version that `native.mk` pins and the page is tested with.
pub(crate) const VERSION: &str = "1.30.0";

/// The files of onnxruntime-web's `dist` that the page loads: for WebAssembly, and for WebGPU.
pub(crate) const FILES: [&str; 6] = [
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
];

/// The folder with onnxruntime-web's files: the one given, `onnxruntime-web` beside the running program, or
/// what `make setup WEB=1` fetched into the checkout that the program was built in.
///
/// # Errors
/// [`PageError::NoOnnxruntimeWeb`] if none has them.
pub fn find_onnxruntime_web(given: Option<&Path>) -> Result<PathBuf, PageError> {
    let candidates: Vec<PathBuf> = match given {
        Some(folder) => vec![folder.into(), folder.join("dist")],
        None => {
            let program = std::env::current_exe().ok();
            let beside = program.and_then(|program| Some(program.parent()?.join("onnxruntime-web")));
            let checkout = option_env!("GLOW_CHECKOUT")
                .map(|checkout| Path::new(checkout).join(".native/web/onnxruntime-web/dist"));
            beside.into_iter().chain(checkout).collect()
        }
    };
    candidates
        .into_iter()
        .find(|folder| FILES.iter().all(|file| folder.join(file).is_file()))
        .ok_or(PageError::NoOnnxruntimeWeb { folder: given.map(Into::into), version: VERSION })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_pinned_one() {
        let pins = concat!(env!("CARGO_MANIFEST_DIR"), "/../../native.mk");
        let pins = std::fs::read_to_string(pins).unwrap();
        assert!(pins.contains(&format!("ONNXRUNTIME_WEB_VERSION := {VERSION}\n")));
        assert!(FILES.iter().all(|file| pins.contains(file)));
    }

    #[test]
    fn a_folder_that_lacks_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for file in &FILES[1..] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let error = find_onnxruntime_web(Some(folder.path())).unwrap_err();
        assert!(matches!(error, PageError::NoOnnxruntimeWeb { folder: Some(_), .. }), "{error}");
        std::fs::write(folder.path().join(FILES[0]), "").unwrap();
        assert_eq!(find_onnxruntime_web(Some(folder.path())).unwrap(), folder.path());
    }
}
