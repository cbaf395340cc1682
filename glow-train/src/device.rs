//! The device a run uses, chosen at run time by one binary.
use crate::tf32;
use std::path::Path;
use std::str::FromStr;
use tch::{Cuda, Device};
use thiserror::Error;

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first CUDA device if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this index.
    Cuda(usize),
}

/// A device that cannot be used.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// Not the name of a device.
    #[error("{0:?} is no device: give auto, cpu, cuda or cuda:INDEX")]
    Unknown(String),
    /// libtorch's CUDA library is not there or does not load.
    #[error("CUDA was asked for, but {library} cannot be opened; run `make setup CUDA=1` to install it")]
    Library {
        /// The library.
        library: String,
        /// Why.
        source: libloading::Error,
    },
    /// The library loads, but there is no such device.
    #[error(
        "CUDA device {index} was asked for, but libtorch sees {count} CUDA devices; check the driver with nvidia-smi"
    )]
    NoDevice {
        /// The index asked for.
        index: usize,
        /// How many there are.
        count: i64,
    },
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", index)) => {
                index.parse().map(Self::Cuda).map_err(|_| DeviceError::Unknown(text.into()))
            }
            _ => Err(DeviceError::Unknown(text.into())),
        }
    }
}

impl DeviceChoice {
    /// The device of a process that is number `local_rank` of its host, opened: that many CUDA devices further on.
    ///
    /// # Errors
    /// As for [`DeviceChoice::open`].
    pub fn open_for(self, local_rank: usize) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(cuda(local_rank).unwrap_or(Device::Cpu)),
            Self::Cuda(index) => cuda(index + local_rank),
        }
    }

    /// Opens the device; CUDA's libraries are opened only if it is asked for or looked for.
    ///
    /// With CUDA, products of f32 numbers are not rounded to TF32 from then on in this process, whatever the
    /// environment says; but for those of coupling networks in
    /// [`NetworkPrecision::Tf32`](glow_models::NetworkPrecision), while they compute.
    ///
    /// # Errors
    /// CUDA was asked for and cannot be used. [`DeviceChoice::Auto`] then takes the CPU.
    pub fn open(self) -> Result<Device, DeviceError> {
        self.open_for(0)
    }
}

/// Makes the C library keep what is freed: a step's activations come back at the next step, and fetching
/// their pages from the system anew costs a tenth of its time. Call it before the first allocation that
/// matters; elsewhere than with glibc it does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets the allocator's own limits.
    unsafe {
        // The largest threshold that glibc takes; above it, memory goes straight back to the system.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

fn cuda(index: usize) -> Result<Device, DeviceError> {
    open_cuda_library()?;
    tf32::forbid();
    let count = Cuda::device_count();
    if (index as i64) < count {
        return Ok(Device::Cuda(index));
    }
    Err(DeviceError::NoDevice { index, count })
}

/// The program is linked without libtorch_cuda, so that it runs where there is none; opening the library
/// registers its kernels with libtorch.
fn open_cuda_library() -> Result<(), DeviceError> {
    const NAME: &str = "libtorch_cuda.so";
    let beside = Path::new(env!("GLOW_LIBTORCH_DIR")).join(NAME);
    let library = if beside.exists() { beside.display().to_string() } else { NAME.to_string() };
    // SAFETY: libtorch's own library; its initialisers only register kernels.
    let opened = unsafe { libloading::Library::new(&library) };
    match opened {
        // It stays open for the life of the process: libtorch keeps pointers into it.
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(source) => Err(DeviceError::Library { library, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names() {
        let cases = [
            ("auto", Some(DeviceChoice::Auto)),
            ("cpu", Some(DeviceChoice::Cpu)),
            ("cuda", Some(DeviceChoice::Cuda(0))),
            ("cuda:3", Some(DeviceChoice::Cuda(3))),
            ("cuda:x", None),
            ("gpu", None),
            ("cpu:1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<DeviceChoice>().ok(), expected, "{text}");
        }
    }
}
