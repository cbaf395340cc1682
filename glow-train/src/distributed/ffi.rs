//! The C interface to c10d (`c10d/shim.h`) as safe Rust: handles that free themselves, typed errors.
use super::error::{C10dError, C10dErrorKind};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::time::Duration;
use tch::Tensor;

#[repr(C)]
struct RawError {
    kind: i32,
    message: *mut c_char,
}

#[repr(C)]
struct RawBytes {
    data: *mut u8,
    length: usize,
}

/// Types whose insides only C++ knows.
macro_rules! opaque {
    ($($name:ident),+) => {$(
        #[repr(C)]
        struct $name {
            _private: [u8; 0],
        }
    )+};
}
opaque!(RawStore, RawGroup, RawWork);

type Failure = *mut RawError;

unsafe extern "C" {
    fn c10d_error_free(error: Failure);
    fn c10d_torch_version() -> *const c_char;
    #[cfg(test)]
    fn c10d_nccl_names() -> *const *const c_char;
    fn c10d_bytes_free(bytes: RawBytes);
    fn c10d_store_open(
        host: *const c_char,
        port: u16,
        serve: bool,
        timeout_ms: i64,
        out: *mut *mut RawStore,
    ) -> Failure;
    fn c10d_store_free(store: *mut RawStore);
    fn c10d_store_port(store: *const RawStore) -> u16;
    fn c10d_store_set(store: *mut RawStore, key: *const c_char, value: *const u8, length: usize) -> Failure;
    fn c10d_store_check(store: *mut RawStore, key: *const c_char, out: *mut bool) -> Failure;
    fn c10d_store_get(
        store: *mut RawStore,
        key: *const c_char,
        timeout_ms: i64,
        out: *mut RawBytes,
    ) -> Failure;
    fn c10d_group_gloo(
        store: *mut RawStore,
        prefix: *const c_char,
        address: *const c_char,
        is_interface: bool,
        rank: c_int,
        size: c_int,
        timeout_ms: i64,
        out: *mut *mut RawGroup,
    ) -> Failure;
    fn c10d_group_nccl(
        store: *mut RawStore,
        prefix: *const c_char,
        rank: c_int,
        size: c_int,
        timeout_ms: i64,
        out: *mut *mut RawGroup,
    ) -> Failure;
    fn c10d_group_free(group: *mut RawGroup);
    fn c10d_all_reduce(group: *mut RawGroup, tensor: *mut c_void, out: *mut *mut RawWork) -> Failure;
    fn c10d_broadcast(
        group: *mut RawGroup,
        tensor: *mut c_void,
        root: c_int,
        out: *mut *mut RawWork,
    ) -> Failure;
    fn c10d_all_gather(
        group: *mut RawGroup,
        output: *mut c_void,
        input: *mut c_void,
        out: *mut *mut RawWork,
    ) -> Failure;
    fn c10d_barrier(group: *mut RawGroup, out: *mut *mut RawWork) -> Failure;
    fn c10d_work_wait(work: *mut RawWork, timeout_ms: i64, done: *mut bool) -> Failure;
    fn c10d_work_free(work: *mut RawWork);
}

/// Takes over the error of a call, if it failed.
fn check(failure: Failure) -> Result<(), C10dError> {
    if failure.is_null() {
        return Ok(());
    }
    // SAFETY: a failing call returns an error with a message that ends in 0, ours until it is freed.
    let error = unsafe {
        let message = CStr::from_ptr((*failure).message).to_string_lossy().into_owned();
        let kind = match (*failure).kind {
            1 => C10dErrorKind::Timeout,
            2 => C10dErrorKind::Store,
            3 => C10dErrorKind::Network,
            4 => C10dErrorKind::Backend,
            _ => C10dErrorKind::Other,
        };
        c10d_error_free(failure);
        C10dError { kind, message }
    };
    Err(error)
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("there is no zero in it")
}

fn milliseconds(time: Duration) -> i64 {
    time.as_millis().clamp(1, i64::MAX as u128 / 4) as i64
}

/// The version of libtorch that this program was compiled against.
pub fn torch_version() -> &'static str {
    // SAFETY: a constant string.
    unsafe { CStr::from_ptr(c10d_torch_version()) }.to_str().expect("digits and dots")
}

/// c10d's key-value store: a client, and in one process the server as well.
#[derive(Debug)]
pub struct Store(*mut RawStore);

// SAFETY: c10d's TCPStore takes a lock for every operation.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Serves at `port` (0 for any that is free) if `serve`, and connects to `host`.
    pub fn open(host: &str, port: u16, serve: bool, timeout: Duration) -> Result<Self, C10dError> {
        let mut store = ptr::null_mut();
        // SAFETY: all pointers live for the call; `store` is set if it succeeds.
        check(unsafe {
            c10d_store_open(c_string(host).as_ptr(), port, serve, milliseconds(timeout), &mut store)
        })?;
        Ok(Self(store))
    }

    /// The port that it is served at.
    pub fn port(&self) -> u16 {
        // SAFETY: the handle is open as long as `self`; so below.
        unsafe { c10d_store_port(self.0) }
    }

    /// Sets a key.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), C10dError> {
        // SAFETY: as above.
        check(unsafe { c10d_store_set(self.0, c_string(key).as_ptr(), value.as_ptr(), value.len()) })
    }

    /// Whether the key is there now.
    pub fn has(&self, key: &str) -> Result<bool, C10dError> {
        let mut found = false;
        // SAFETY: as above.
        check(unsafe { c10d_store_check(self.0, c_string(key).as_ptr(), &mut found) })?;
        Ok(found)
    }

    /// The key's value, as soon as it is there.
    pub fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, C10dError> {
        let mut bytes = RawBytes { data: ptr::null_mut(), length: 0 };
        // SAFETY: as above; `bytes` is set if the call succeeds.
        check(unsafe { c10d_store_get(self.0, c_string(key).as_ptr(), milliseconds(timeout), &mut bytes) })?;
        // SAFETY: `length` bytes, ours until they are freed.
        let value = unsafe { std::slice::from_raw_parts(bytes.data, bytes.length) }.to_vec();
        // SAFETY: freed once.
        unsafe { c10d_bytes_free(bytes) };
        Ok(value)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and used no more.
        unsafe { c10d_store_free(self.0) }
    }
}

/// Where Gloo's connections go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlet {
    /// The network interface of this name.
    Interface(String),
    /// The interface of this address.
    Address(String),
}

/// A backend's process group.
#[derive(Debug)]
pub struct Backend(*mut RawGroup);

// SAFETY: a process group may be used from any thread, by one at a time; the owner sees to that.
unsafe impl Send for Backend {}

impl Backend {
    /// Gloo, for tensors on the CPU. Waits for all processes.
    pub fn gloo(
        store: &Store,
        prefix: &str,
        outlet: &Outlet,
        rank: usize,
        size: usize,
        timeout: Duration,
    ) -> Result<Self, C10dError> {
        let (address, is_interface) = match outlet {
            Outlet::Interface(name) => (name, true),
            Outlet::Address(address) => (address, false),
        };
        let mut group = ptr::null_mut();
        // SAFETY: all pointers live for the call; `group` is set if it succeeds.
        check(unsafe {
            c10d_group_gloo(
                store.0,
                c_string(prefix).as_ptr(),
                c_string(address).as_ptr(),
                is_interface,
                rank as c_int,
                size as c_int,
                milliseconds(timeout),
                &mut group,
            )
        })?;
        Ok(Self(group))
    }

    /// NCCL, for tensors on CUDA devices; libtorch's CUDA library must have been opened.
    pub fn nccl(
        store: &Store,
        prefix: &str,
        rank: usize,
        size: usize,
        timeout: Duration,
    ) -> Result<Self, C10dError> {
        let mut group = ptr::null_mut();
        // SAFETY: as above.
        check(unsafe {
            c10d_group_nccl(
                store.0,
                c_string(prefix).as_ptr(),
                rank as c_int,
                size as c_int,
                milliseconds(timeout),
                &mut group,
            )
        })?;
        Ok(Self(group))
    }

    /// The sum over all processes, in place.
    ///
    /// The tensors of all processes must have one type and one number of elements, and be contiguous.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<Operation, C10dError> {
        // SAFETY: tch's pointer is an at::Tensor*, which the call copies (it counts references).
        self.operation(tensor, |group, out| unsafe { c10d_all_reduce(group, pointer(tensor), out) })
    }

    /// The tensor of process `root` for all, in place; as for [`Backend::all_reduce`].
    pub fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Operation, C10dError> {
        // SAFETY: as above.
        self.operation(tensor, |group, out| unsafe {
            c10d_broadcast(group, pointer(tensor), root as c_int, out)
        })
    }

    /// `output[r]` becomes the `input` of process r; as for [`Backend::all_reduce`].
    pub fn all_gather(&self, output: &Tensor, input: &Tensor) -> Result<Operation, C10dError> {
        // SAFETY: as above.
        self.operation(output, |group, out| unsafe {
            c10d_all_gather(group, pointer(output), pointer(input), out)
        })
    }

    /// Done when all processes have come to it.
    pub fn barrier(&self) -> Result<Operation, C10dError> {
        // SAFETY: as above.
        self.operation(&Tensor::new(), |group, out| unsafe { c10d_barrier(group, out) })
    }

    fn operation(
        &self,
        tensor: &Tensor,
        begin: impl FnOnce(*mut RawGroup, *mut *mut RawWork) -> Failure,
    ) -> Result<Operation, C10dError> {
        let mut work = ptr::null_mut();
        check(begin(self.0, &mut work))?;
        Ok(Operation { work, _tensor: tensor.shallow_clone() })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and used no more.
        unsafe { c10d_group_free(self.0) }
    }
}

fn pointer(tensor: &Tensor) -> *mut c_void {
    tensor.as_ptr().cast::<c_void>().cast_mut()
}

/// A collective operation under way.
#[derive(Debug)]
pub struct Operation {
    work: *mut RawWork,
    /// Its memory is written to until the operation is done.
    _tensor: Tensor,
}

impl Operation {
    /// Whether it is done after at most `timeout`; may be called again. On CUDA it makes the current stream
    /// wait instead, and returns true at once.
    pub fn wait(&self, timeout: Duration) -> Result<bool, C10dError> {
        let mut done = false;
        // SAFETY: the handle is open as long as `self`.
        check(unsafe { c10d_work_wait(self.work, milliseconds(timeout), &mut done) })?;
        Ok(done)
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: the handle is ours; c10d keeps what an unfinished operation needs.
        unsafe { c10d_work_free(self.work) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, SeekFrom};
    use std::path::Path;

    /// A libtorch for CPUs holds its CUDA library as well, whose names are near its end.
    #[test]
    fn the_cuda_library_has_the_functions_that_are_looked_up_in_it() {
        let library = Path::new(env!("GLOW_LIBTORCH_DIR")).join("libtorch_cuda.so");
        let Ok(mut file) = std::fs::File::open(&library) else {
            eprintln!("not run: there is no {}", library.display());
            return;
        };
        let mut bytes = Vec::new();
        let length = file.metadata().unwrap().len();
        file.seek(SeekFrom::Start(length.saturating_sub(128 << 20))).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        // SAFETY: constant strings, and a null behind the last.
        let names = unsafe {
            let first = c10d_nccl_names();
            let count = (0..).take_while(|&index| !(*first.add(index)).is_null()).count();
            (0..count).map(|index| CStr::from_ptr(*first.add(index))).collect::<Vec<_>>()
        };
        assert_eq!(names.len(), 2);
        for name in names {
            let found = memchr::memmem::find(&bytes, name.to_bytes_with_nul()).is_some();
            assert!(found, "{name:?} is not in {}", library.display());
        }
        assert_eq!(torch_version().split('.').count(), 3);
    }
}
