//! The folder in which a provider keeps what it compiles: TensorRT's engines, OpenVINO's models. Providers write to it
//! by themselves, in place and without a lock, and believe what they find there.
use super::cache;
use crate::progress::{LoadStep, Progress};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Held while a model is loaded with the folder: no other process compiles into it meanwhile.
#[derive(Debug)]
pub(super) struct Engines {
    pub folder: PathBuf,
    _lock: Option<File>,
}

/// The file that is locked. It stays, as others may wait for it.
const LOCK: &str = "lock";

impl Engines {
    /// Waits for the folder, and empties it unless all that it holds was finished and is undamaged.
    pub fn open(folder: &Path, progress: &Progress) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        folder.parent().into_iter().for_each(cache::clean);
        let path = folder.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        // In a folder that is read-only the file may be there already.
        let file = file.or_else(|_| File::open(&path))?;
        let locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => {
                progress.report(LoadStep::WaitingForCache { entry: folder.into() });
                file.lock().is_ok()
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(_)) => false,
        };
        let files = others(folder)?;
        if !files.is_empty()
            && let Err(reason) = cache::check(folder).and_then(|()| cache::lists(folder, &files))
        {
            progress.report(LoadStep::CacheDamaged { entry: folder.into(), reason });
            clear(folder)?;
        }
        cache::touch(folder);
        Ok(Self { folder: folder.into(), _lock: locked.then_some(file) })
    }

    /// Says that what is there now is finished. Until then it counts as damaged: a process that is killed while it
    /// compiles leaves half a file.
    pub fn seal(&self) -> io::Result<()> {
        cache::seal(&self.folder, |name| name != LOCK)
    }
}

fn others(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = folder.read_dir()?.map(|file| file.map(|file| file.path()));
    let paths: Vec<PathBuf> = paths.collect::<Result<_, _>>()?;
    Ok(paths
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != LOCK && name != cache::USED))
        .collect())
}

fn clear(folder: &Path) -> io::Result<()> {
    for path in others(folder)? {
        if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// What a provider compiles, and what is reported while the folder is opened.
    fn compile(folder: &Path, finish: bool) -> Vec<LoadStep> {
        let (engines, steps) = open(folder);
        for (file, text) in [("a.engine", "an engine"), ("a.profile", "ranges")] {
            if !folder.join(file).exists() {
                std::fs::write(folder.join(file), text).unwrap();
            }
        }
        if finish {
            engines.seal().unwrap();
        }
        steps
    }

    fn open(folder: &Path) -> (Engines, Vec<LoadStep>) {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        let progress = Progress::to(move |step| seen.lock().unwrap().push(step));
        let engines = Engines::open(folder, &progress).unwrap();
        let steps = steps.lock().unwrap().clone();
        (engines, steps)
    }

    #[test]
    fn what_was_finished_is_found_and_nothing_else() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("engine-1");
        assert_eq!(compile(&folder, true), []);
        assert_eq!(compile(&folder, true), []);
        type Damage = fn(&Path);
        let cases: [Damage; 5] = [
            |folder| std::fs::write(folder.join("a.engine"), "an eng").unwrap(),
            |folder| std::fs::write(folder.join("a.engine"), "AN ENGINE").unwrap(),
            |folder| std::fs::remove_file(folder.join("a.profile")).unwrap(),
            // Half of another engine, by a process that was killed.
            |folder| std::fs::write(folder.join("b.engine"), "half").unwrap(),
            |folder| std::fs::remove_file(folder.join("checksums.json")).unwrap(),
        ];
        for (number, damage) in cases.into_iter().enumerate() {
            damage(&folder);
            let (engines, steps) = open(&folder);
            assert!(matches!(&steps[..], [LoadStep::CacheDamaged { .. }]), "case {number}: {steps:?}");
            assert!(others(&folder).unwrap().is_empty(), "case {number}");
            drop(engines);
            assert_eq!(compile(&folder, true), [], "case {number}");
        }
        // Killed before it was finished, from an empty folder.
        clear(&folder).unwrap();
        compile(&folder, false);
        assert!(matches!(&open(&folder).1[..], [LoadStep::CacheDamaged { .. }]));
    }

    #[test]
    fn one_compiles_and_the_others_wait() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("engine-1");
        let (first, _) = open(&folder);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| open(&folder).1);
            std::thread::sleep(Duration::from_millis(50));
            assert!(!second.is_finished());
            std::fs::write(folder.join("a.engine"), "an engine").unwrap();
            first.seal().unwrap();
            drop(first);
            let steps = second.join().unwrap();
            assert_eq!(steps, [LoadStep::WaitingForCache { entry: folder.clone() }]);
        });
    }
}
