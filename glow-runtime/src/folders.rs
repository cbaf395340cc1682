//! Folders that this crate writes to: temporary ones, and the cache that a caller names.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// A new folder in `parent` that no one else can read or write.
    pub fn new(parent: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!(".glow-{}-{number}", std::process::id()));
            match builder.create(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left by another process of this number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Gives the folder a name for good. Whoever was there first stays.
    pub fn keep_as(self, path: &Path) -> io::Result<()> {
        match std::fs::rename(&self.0, path) {
            Err(error) if !path.is_dir() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_folders_differ_and_go() {
        let parent = tempfile::tempdir().unwrap();
        let [a, b] = [(); 2].map(|()| TemporaryFolder::new(parent.path()).unwrap());
        assert_ne!(a.path(), b.path());
        let gone = a.path().to_path_buf();
        std::fs::write(gone.join("file"), "x").unwrap();
        drop(a);
        assert!(!gone.exists());
        let kept = parent.path().join("kept");
        b.keep_as(&kept).unwrap();
        TemporaryFolder::new(parent.path()).unwrap().keep_as(&kept).unwrap();
        assert_eq!(parent.path().read_dir().unwrap().count(), 1);
    }
}
