//! Copies through CUDA's runtime library, which the provider has loaded. ONNX Runtime's own way to copy, before
//! version 1.23 of its interface, is to run a graph of one node in a further session.
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// The functions of `cuda_runtime_api.h` that are needed here; they have been the same since CUDA 1.
pub(super) struct Cudart {
    set_device: unsafe extern "C" fn(c_int) -> c_int,
    copy: unsafe extern "C" fn(*mut c_void, *const c_void, usize, c_int) -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
}

/// Where to, as the numbers of `cudaMemcpyKind`.
#[derive(Clone, Copy)]
pub(super) enum Way {
    ToDevice = 1,
    ToHost = 2,
}

/// The newest first. Any version serves: all work in the one context that a process has on a GPU.
const NAMES: &[&str] = if cfg!(windows) {
    &["cudart64_13.dll", "cudart64_12.dll"]
} else {
    &["libcudart.so.13", "libcudart.so.12"]
};

impl Cudart {
    pub fn get() -> ort::Result<&'static Self> {
        static LIBRARY: OnceLock<Result<Cudart, String>> = OnceLock::new();
        let opened = LIBRARY.get_or_init(|| {
            let mut last = String::new();
            for name in NAMES {
                match Self::open(name) {
                    Ok(library) => return Ok(library),
                    Err(error) => last = error.to_string(),
                }
            }
            Err(format!("CUDA's runtime library, which CUDA graphs need, cannot be opened: {last}"))
        });
        opened.as_ref().map_err(ort::Error::new)
    }

    fn open(name: &str) -> Result<Self, libloading::Error> {
        // SAFETY: this runs the library's initialisers, as the provider does. The signatures are those of its
        // header, and the library stays open as long as the functions are at hand: for ever.
        unsafe {
            let library = Library::new(name)?;
            let functions = Self {
                set_device: *library.get(b"cudaSetDevice")?,
                copy: *library.get(b"cudaMemcpy")?,
                error_string: *library.get(b"cudaGetErrorString")?,
            };
            std::mem::forget(library);
            Ok(functions)
        }
    }

    /// Copies so many bytes, and returns when they have arrived.
    ///
    /// # Safety
    /// One end is memory of that device and the other of the host, as `way` says; both have at least so many bytes, and no
    /// one else uses them.
    pub unsafe fn copy(
        &self,
        device: u32,
        to: *mut c_void,
        from: *const c_void,
        bytes: usize,
        way: Way,
    ) -> ort::Result<()> {
        // SAFETY: a number that is no device's gives an error.
        self.check(unsafe { (self.set_device)(device as c_int) })?;
        // SAFETY: as the caller's.
        self.check(unsafe { (self.copy)(to, from, bytes, way as c_int) })
    }

    fn check(&self, code: c_int) -> ort::Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: it gives a static string for any number.
        let text = unsafe {
            let text = (self.error_string)(code);
            if text.is_null() { c"unknown" } else { CStr::from_ptr(text) }
        };
        // In the words of ONNX Runtime's own errors of CUDA.
        Err(ort::Error::new(format!("CUDA failure {code}: {}", text.to_string_lossy())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The real library, where there is one: without a GPU it says so.
    #[test]
    fn what_the_library_says_is_kept() {
        // Errors are made by ONNX Runtime.
        crate::library::start(None, crate::library::Preference::Usual).unwrap();
        let library =
            crate::library::gpu::runtime_library().and_then(|path| Cudart::open(path.to_str()?).ok());
        let Some(cudart) = library.or_else(|| Cudart::open(NAMES[0]).ok()) else { return };
        let error = cudart.check(2).unwrap_err();
        assert_eq!(error.message(), "CUDA failure 2: out of memory");
        let (from, mut to) = ([1u8; 4], [0u8; 4]);
        // SAFETY: no device has this number, so nothing is copied.
        let copied = unsafe {
            cudart.copy(9999, to.as_mut_ptr().cast(), from.as_ptr().cast(), from.len(), Way::ToDevice)
        };
        assert!(copied.unwrap_err().message().starts_with("CUDA failure "));
    }
}
