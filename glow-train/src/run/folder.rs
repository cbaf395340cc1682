//! The files of a run's folder, and the lock that keeps it to one process.
use crate::error::TrainError;
use glow_data::notice;
use glow_models::remove_partial_files;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The files of a run's folder.
#[derive(Debug, Clone)]
pub struct RunFolder(PathBuf);

/// A run's folder in the hands of this process; no other can train in it until this is dropped or the
/// process ends, however it ends.
#[derive(Debug)]
pub struct LockedFolder {
    folder: RunFolder,
    /// Held, not read.
    _lock: File,
}

impl RunFolder {
    /// The folder at `path`, whether it is there or not.
    pub fn new(path: &Path) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// `checkpoints/latest.safetensors`.
    pub fn latest(&self) -> PathBuf {
        self.0.join("checkpoints/latest.safetensors")
    }

    /// `checkpoints/best.safetensors`.
    pub fn best(&self) -> PathBuf {
        self.0.join("checkpoints/best.safetensors")
    }

    /// Makes the folder if need be, and takes it for this process.
    ///
    /// # Errors
    /// [`TrainError::Busy`] if another process trains here; or the folder cannot be written.
    pub fn lock(self) -> Result<LockedFolder, TrainError> {
        let write = |path: &Path| {
            let path = path.to_path_buf();
            move |source| TrainError::Write { path, source }
        };
        std::fs::create_dir_all(&self.0).map_err(write(&self.0))?;
        let path = self.0.join("lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(write(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                return Err(TrainError::Busy { path: self.0, holder: holder.trim().into() });
            }
            Err(TryLockError::Error(error)) => notice::note(format_args!(
                "warning: {} cannot be locked ({error}): see to it that no other process trains here",
                path.display()
            )),
        }
        // Who holds it, for the one that is refused; no matter if it cannot be written.
        let _ = lock.set_len(0).and_then(|()| write!(lock, "process {} on {}", std::process::id(), host()));
        Ok(LockedFolder { folder: self, _lock: lock })
    }
}

impl LockedFolder {
    /// Makes the sub-folders, and removes what kills have left of files that were being written.
    ///
    /// # Errors
    /// A folder cannot be made.
    pub(super) fn prepare(&self) -> Result<(), TrainError> {
        for folder in ["checkpoints", "samples"].map(|name| self.path().join(name)) {
            std::fs::create_dir_all(&folder)
                .map_err(|source| TrainError::Write { path: folder.clone(), source })?;
            remove_partial_files(&folder);
        }
        remove_partial_files(self.path());
        Ok(())
    }
}

impl std::ops::Deref for LockedFolder {
    type Target = RunFolder;

    fn deref(&self) -> &RunFolder {
        &self.folder
    }
}

/// The name of this machine.
pub(crate) fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if host.trim().is_empty() { "localhost".into() } else { host.trim().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let run = || RunFolder::new(&folder.path().join("run"));
        let held = run().lock().unwrap();
        let refused = run().lock().unwrap_err();
        let TrainError::Busy { path, holder } = refused else { panic!("{refused}") };
        assert_eq!(path, held.path());
        assert!(holder.starts_with(&format!("process {} on ", std::process::id())), "{holder}");
        drop(held);
        run().lock().unwrap();
    }
}
