//! NVIDIA's libraries, and what an engine that was built for a GPU depends on.
use super::search;
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uint};
#[cfg(test)]
use std::path::PathBuf;

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

/// The checkout's CUDA runtime, which libtorch needs on the CPU as well.
#[cfg(test)]
pub(crate) fn runtime_library() -> Option<PathBuf> {
    search::fetched("site/nvidia/cu13/lib/libcudart.so.13").filter(|path| path.exists())
}

/// What an engine for a GPU depends on: the GPU, the driver, and TensorRT. Asked of the driver itself, so that it is
/// known in containers and on Windows too, and that a slice of a GPU (MIG) is not taken for the whole.
pub(crate) fn fingerprint(device: u32) -> String {
    const DRIVERS: [&str; 2] = ["libcuda.so.1", "nvcuda.dll"];
    let gpu = DRIVERS.iter().find_map(|name| Driver::open(name.as_ref()).ok());
    let gpu = gpu.and_then(|driver| driver.describe(device)).unwrap_or_default();
    let tensorrt = tensorrt_version().map_or_else(String::new, |version| version.to_string());
    format!("{gpu}; TensorRT {tensorrt}")
}

/// CUDA's driver: functions of `cuda.h`, which are the same in all its versions.
struct Driver {
    init: unsafe extern "C" fn(c_uint) -> c_int,
    version: unsafe extern "C" fn(*mut c_int) -> c_int,
    device: unsafe extern "C" fn(*mut c_int, c_int) -> c_int,
    name: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int,
    memory: unsafe extern "C" fn(*mut usize, c_int) -> c_int,
    attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int,
}

/// Numbers of `CUdevice_attribute`.
const MULTIPROCESSORS: c_int = 16;
const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;

impl Driver {
    fn open(path: &std::path::Path) -> Result<Self, libloading::Error> {
        // SAFETY: this runs the library's initialisers, as the provider does; the signatures are those of its
        // header. It stays open for the provider.
        unsafe {
            let library = Library::new(path)?;
            let driver = Self {
                init: *library.get(b"cuInit")?,
                version: *library.get(b"cuDriverGetVersion")?,
                device: *library.get(b"cuDeviceGet")?,
                name: *library.get(b"cuDeviceGetName")?,
                memory: *library.get(b"cuDeviceTotalMem_v2")?,
                attribute: *library.get(b"cuDeviceGetAttribute")?,
            };
            std::mem::forget(library);
            Ok(driver)
        }
    }

    /// The driver's version, and the GPU's name, capability, processors and memory; `None` if there is no such GPU.
    fn describe(&self, device: u32) -> Option<String> {
        let mut text = [0 as c_char; 256];
        let (mut version, mut handle, mut memory) = (0, 0, 0);
        let done = |code: c_int| (code == 0).then_some(());
        // SAFETY: each call writes to the places that it is given, the name no more than it is told, with a zero.
        unsafe {
            done((self.init)(0))?;
            done((self.version)(&mut version))?;
            done((self.device)(&mut handle, i32::try_from(device).ok()?))?;
            done((self.name)(text.as_mut_ptr(), text.len() as c_int - 1, handle))?;
            done((self.memory)(&mut memory, handle))?;
        }
        let attribute = |which| {
            let mut value = 0;
            // SAFETY: as above.
            done(unsafe { (self.attribute)(&mut value, which, handle) })?;
            Some(value)
        };
        let (major, minor) = (attribute(CAPABILITY_MAJOR)?, attribute(CAPABILITY_MINOR)?);
        let processors = attribute(MULTIPROCESSORS)?;
        // SAFETY: the last byte is zero, whatever the driver wrote.
        let name = unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy();
        Some(format!("{name}, {major}.{minor}, {processors} processors, {memory} bytes, driver {version}"))
    }
}

/// The number of TensorRT's version, if it is installed.
fn tensorrt_version() -> Option<i32> {
    // SAFETY: this runs the library's initialisers, as the provider would; the function takes nothing
    // and gives a number.
    unsafe {
        let library = Library::new("libnvinfer.so.10").ok()?;
        let version = library.get::<unsafe extern "C" fn() -> i32>(b"getInferLibVersion").ok()?();
        // It stays open for the provider.
        std::mem::forget(library);
        Some(version)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::Command;

    /// A driver of our own, compiled against NVIDIA's header where that is at hand.
    const SOURCE: &str = r#"
        #include <stddef.h>
        #include <stdlib.h>
        #include <string.h>
        #ifdef HEADER
        #include <cuda.h>
        #else
        typedef int CUresult; typedef int CUdevice; typedef int CUdevice_attribute;
        #define CUDAAPI
        #define cuDeviceTotalMem cuDeviceTotalMem_v2
        #endif
        CUresult CUDAAPI cuInit(unsigned int flags) { return (CUresult)(flags != 0); }
        CUresult CUDAAPI cuDriverGetVersion(int *version) { *version = 13010; return (CUresult)0; }
        CUresult CUDAAPI cuDeviceGet(CUdevice *device, int ordinal) { *device = ordinal + 40; return (CUresult)(ordinal > 1 ? 101 : 0); }
        CUresult CUDAAPI cuDeviceGetName(char *name, int length, CUdevice device) {
            strncpy(name, device == 40 ? "NVIDIA H100" : "NVIDIA H100 MIG 1g.10gb", length); return (CUresult)0;
        }
        CUresult CUDAAPI cuDeviceTotalMem(size_t *bytes, CUdevice device) { *bytes = device == 40 ? 85899345920 : 10737418240; return (CUresult)0; }
        CUresult CUDAAPI cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice device) {
            switch ((int)which) {
                case 16: *value = device == 40 ? 132 : 16; return (CUresult)0;
                case 75: *value = 9; return (CUresult)0;
                case 76: *value = 0; return (CUresult)0;
            }
            return (CUresult)1;
        }
    "#;

    #[test]
    fn a_slice_of_a_gpu_is_another_gpu() {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("driver.c"), folder.path().join("libcuda.so"));
        std::fs::write(&source, SOURCE).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
        if let Some(include) =
            search::fetched("site/nvidia/cu13/include").filter(|path| path.join("cuda.h").exists())
        {
            compiler.arg("-DHEADER").arg("-I").arg(include);
        }
        assert!(compiler.status().unwrap().success());
        let driver = Driver::open(&library).unwrap();
        assert_eq!(
            driver.describe(0).unwrap(),
            "NVIDIA H100, 9.0, 132 processors, 85899345920 bytes, driver 13010"
        );
        assert_eq!(
            driver.describe(1).unwrap(),
            "NVIDIA H100 MIG 1g.10gb, 9.0, 16 processors, 10737418240 bytes, driver 13010"
        );
        assert_eq!(driver.describe(2), None);
    }
}
