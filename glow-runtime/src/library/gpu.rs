//! NVIDIA's libraries and driver.
use super::search;
use std::path::Path;

/// What the driver tells of itself.
const DRIVER: &str = "/proc/driver/nvidia";

/// Loads the checkout's CUDA and cuDNN, if it has them, so that the provider finds them. What fails here
/// fails again with a message when the provider is asked for.
pub(super) fn preload() {
    let Some(nvidia) = search::fetched("site/nvidia") else { return };
    let (cuda, cudnn) = (nvidia.join("cu13/lib"), nvidia.join("cudnn/lib"));
    // On the CPU libtorch has CUDA's runtime there, and nothing else.
    if cuda.join("libcublas.so.13").exists() {
        let _ = ort::ep::cuda::preload_dylibs(Some(&cuda), cudnn.is_dir().then_some(&cudnn));
    }
}

/// The driver's version and the names of the GPUs, and TensorRT's version: an engine that was built for
/// others does not serve.
pub(crate) fn fingerprint() -> String {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let driver = Path::new(DRIVER);
    let mut lines = vec![read(&driver.join("version"))];
    let gpus = std::fs::read_dir(driver.join("gpus")).into_iter().flatten().flatten();
    let mut gpus: Vec<String> = gpus
        .flat_map(|gpu| {
            let text = read(&gpu.path().join("information"));
            text.lines().find(|line| line.starts_with("Model:")).map(str::to_string)
        })
        .collect();
    gpus.sort();
    lines.extend(gpus);
    lines.push(tensorrt_version().map_or_else(String::new, |version| version.to_string()));
    lines.join("\n")
}

/// The number of TensorRT's version, if it is installed.
fn tensorrt_version() -> Option<i32> {
    // SAFETY: this runs the library's initialisers, as the provider would; the function takes nothing
    // and gives a number.
    unsafe {
        let library = libloading::Library::new("libnvinfer.so.10").ok()?;
        let version = library.get::<unsafe extern "C" fn() -> i32>(b"getInferLibVersion").ok()?();
        // It stays open for the provider.
        std::mem::forget(library);
        Some(version)
    }
}
