//! Files that ONNX Runtime writes for this process alone.
use super::cache;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use tempfile::TempDir;

/// A place for files that are gone with it: memory where the system has files there (Linux), otherwise a temporary
/// folder.
pub(crate) struct Scratch(Option<TempDir>);

/// One of them.
pub(crate) struct ScratchFile {
    /// Where it can be opened while this value lives.
    pub path: PathBuf,
    _open: Option<File>,
}

impl Scratch {
    /// # Errors
    /// With the path of the temporary folder, if that is needed and cannot be written.
    pub fn new() -> Result<Self, (PathBuf, io::Error)> {
        if memory("probe").is_ok() {
            return Ok(Self(None));
        }
        let parent = std::env::temp_dir();
        cache::temporary(&parent).map(|folder| Self(Some(folder))).map_err(|error| (parent, error))
    }

    /// An empty file. All of them are in the same folder.
    pub fn file(&self, name: &str) -> io::Result<ScratchFile> {
        match &self.0 {
            None => memory(name),
            Some(folder) => {
                let path = folder.path().join(name);
                File::create(&path)?;
                Ok(ScratchFile { path, _open: None })
            }
        }
    }
}

impl Scratch {
    /// The folder and the name under which a file can be seen by whoever does not follow links out of a folder. A file
    /// in memory cannot, and another one that is always there stands for it, as nothing is read.
    pub fn visible(&self, file: &ScratchFile) -> (PathBuf, String) {
        match &self.0 {
            None => ("/proc/self".into(), "status".into()),
            Some(folder) => (folder.path().into(), file.name()),
        }
    }
}

impl ScratchFile {
    /// Its name in the folder.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// A file in memory, with the path under which the process itself can open it.
#[cfg(target_os = "linux")]
fn memory(name: &str) -> io::Result<ScratchFile> {
    use std::os::fd::{AsRawFd, FromRawFd};
    let name = std::ffi::CString::new(name)?;
    // SAFETY: the name is a C string; the new descriptor belongs to nobody else.
    let file = unsafe {
        let descriptor = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        File::from_raw_fd(descriptor)
    };
    let path = std::path::Path::new("/proc/self/fd").join(file.as_raw_fd().to_string());
    // Where /proc is not there, files in memory have no path.
    File::open(&path)?;
    Ok(ScratchFile { path, _open: Some(file) })
}

#[cfg(not(target_os = "linux"))]
fn memory(_name: &str) -> io::Result<ScratchFile> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_written_by_their_paths() {
        let places = [Scratch::new().unwrap(), Scratch(Some(tempfile::tempdir().unwrap()))];
        for scratch in places {
            let [one, two] = ["one", "two"].map(|name| scratch.file(name).unwrap());
            assert_eq!(one.path.parent(), two.path.parent());
            assert_eq!(one.path.with_file_name(two.name()), two.path);
            std::fs::write(&one.path, "1").unwrap();
            std::fs::write(&two.path, "12").unwrap();
            assert_eq!(std::fs::read(&one.path).unwrap(), b"1");
            let path = two.path.clone();
            let on_disk = scratch.0.is_some();
            drop((one, two, scratch));
            // The number of one in memory may be another file's by now.
            assert!(!(on_disk && path.exists()));
        }
    }
}
