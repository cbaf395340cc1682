//! The folder that keeps what is made of bundles for this machine: the names of its entries, and whether an
//! entry is whole.
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Increased whenever the files mean something else.
const VERSION: u32 = 2;
/// In an entry, the size and the checksum of each of its files.
const CHECKSUMS: &str = "checksums.json";
/// What folders in the making are called, until they get their names.
const TEMPORARY: &str = ".glow-";
/// A folder in the making that is older belongs to a process that was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// The name of an entry: a hash of what its files are made of and for.
pub(crate) fn key<'a>(provider: &str, parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(&VERSION.to_string());
    add(&cpu());
    parts.into_iter().for_each(add);
    let digest: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{provider}-{digest}")
}

/// What decides on the layout of weights.
fn cpu() -> String {
    let mut cpu = std::env::consts::ARCH.to_string();
    #[cfg(target_arch = "x86_64")]
    for (name, there) in [
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avxvnni", is_x86_feature_detected!("avxvnni")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ] {
        if there {
            cpu.extend([" ", name]);
        }
    }
    cpu
}

/// A new folder in `parent` that no one else can read or write, removed when it is dropped.
pub(crate) fn temporary(parent: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir_in(parent)
}

/// Removes the folders in the making that killed processes left.
pub(crate) fn remove_abandoned(parent: &Path) {
    let old = |modified: SystemTime| modified.elapsed().is_ok_and(|age| age > ABANDONED);
    for entry in parent.read_dir().into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) && modified.is_ok_and(old) {
            // Whoever may not remove it leaves it to its owner.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Checksum {
    bytes: u64,
    crc32: u32,
}

impl Checksum {
    fn of(path: &Path) -> io::Result<Self> {
        let (mut file, mut hasher) = (File::open(path)?, crc32fast::Hasher::new());
        let (mut bytes, mut buffer) = (0, vec![0; 1 << 18]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Self { bytes, crc32: hasher.finalize() }),
                read => {
                    hasher.update(&buffer[..read]);
                    bytes += read as u64;
                }
            }
        }
    }
}

/// Makes an entry of a folder: its files' checksums go into it, all of it reaches the disk, and it gets its
/// name. If another process was first, its entry stays.
pub(crate) fn keep(folder: TempDir, entry: &Path) -> io::Result<()> {
    // A rename that survives a power cut must not be of files that do not.
    seal(folder.path(), |_| true)?;
    match std::fs::rename(folder.path(), entry) {
        Ok(()) => {
            // There is nothing left to remove.
            let _ = folder.keep();
            entry.parent().map_or(Ok(()), sync_folder)
        }
        Err(_) if entry.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes the checksums of a folder's files, those with names of some kind, and has all of it reach the disk.
pub(crate) fn seal(folder: &Path, of: impl Fn(&str) -> bool) -> io::Result<()> {
    let mut checksums = BTreeMap::new();
    for file in folder.read_dir()? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        if name == CHECKSUMS || !of(&name) || !file.file_type()?.is_file() {
            continue;
        }
        checksums.insert(name, Checksum::of(&file.path())?);
        File::open(file.path())?.sync_all()?;
    }
    let (path, text) = (folder.join(CHECKSUMS), serde_json::to_vec_pretty(&checksums)?);
    // Where nothing has changed, nothing need be written: the folder may be read-only.
    if std::fs::read(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(&path, text)?;
    File::open(path)?.sync_all()?;
    sync_folder(folder)
}

/// Windows cannot open folders, and needs no such thing.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn unreadable(file: &str, error: io::Error) -> String {
    format!("{file} cannot be read: {error}")
}

fn checksums(entry: &Path) -> Result<BTreeMap<String, Checksum>, String> {
    let text = std::fs::read(entry.join(CHECKSUMS)).map_err(|error| unreadable(CHECKSUMS, error))?;
    serde_json::from_slice(&text).map_err(|_| format!("{CHECKSUMS} is damaged"))
}

/// Whether the entry has checksums of all these files; otherwise which has none.
pub(crate) fn lists(entry: &Path, files: &[std::path::PathBuf]) -> Result<(), String> {
    let checksums = checksums(entry)?;
    for name in files.iter().filter_map(|path| path.file_name()?.to_str()) {
        if name != CHECKSUMS && !checksums.contains_key(name) {
            return Err(format!("{name} was not finished"));
        }
    }
    Ok(())
}

/// Whether the entry holds the bytes that were written to it; otherwise what is wrong.
pub(crate) fn check(entry: &Path) -> Result<(), String> {
    for (name, expected) in checksums(entry)? {
        let actual = Checksum::of(&entry.join(&name)).map_err(|error| unreadable(&name, error))?;
        if actual != expected {
            return Err(format!("{name} is damaged"));
        }
    }
    Ok(())
}

/// Removes an entry. Processes that have its files open can go on with them.
pub(crate) fn remove(entry: &Path) -> io::Result<()> {
    // Out of the way at once, so that nobody finds half of it.
    let parent = entry.parent().unwrap_or(Path::new("."));
    let aside = temporary(parent)?;
    std::fs::rename(entry, aside.path().join("damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |file: io::Result<std::fs::DirEntry>| file.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = folder.read_dir().unwrap().map(name).collect();
        names.sort();
        names
    }

    fn made(cache: &Path, text: &str) -> TempDir {
        let folder = temporary(cache).unwrap();
        std::fs::write(folder.path().join("file"), text).unwrap();
        folder
    }

    #[test]
    fn the_first_entry_stays_and_nothing_else() {
        let cache = tempfile::tempdir().unwrap();
        let entry = cache.path().join("entry");
        let (first, second) = (made(cache.path(), "first"), made(cache.path(), "second"));
        keep(first, &entry).unwrap();
        keep(second, &entry).unwrap();
        assert_eq!(names(cache.path()), ["entry"]);
        assert_eq!(std::fs::read(entry.join("file")).unwrap(), b"first");
        assert_eq!(check(&entry), Ok(()));
        drop(made(cache.path(), "third"));
        remove(&entry).unwrap();
        assert_eq!(names(cache.path()), [""; 0]);
    }

    #[test]
    fn what_is_not_as_it_was_written_is_noticed() {
        type Damage = fn(&Path);
        let cases: [Damage; 6] = [
            |entry| std::fs::write(entry.join("file"), "").unwrap(),
            |entry| std::fs::write(entry.join("file"), [0; 8]).unwrap(),
            |entry| std::fs::write(entry.join("file"), "contents, and more").unwrap(),
            |entry| std::fs::remove_file(entry.join("file")).unwrap(),
            |entry| std::fs::remove_file(entry.join(CHECKSUMS)).unwrap(),
            |entry| std::fs::write(entry.join(CHECKSUMS), "").unwrap(),
        ];
        for (number, damage) in cases.into_iter().enumerate() {
            let cache = tempfile::tempdir().unwrap();
            let entry = cache.path().join("entry");
            keep(made(cache.path(), "contents"), &entry).unwrap();
            damage(&entry);
            assert!(check(&entry).is_err(), "case {number}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn abandoned_folders_go_and_others_stay() {
        let cache = tempfile::tempdir().unwrap();
        let [old, new, other] = [".glow-old", ".glow-new", "entry"].map(|name| cache.path().join(name));
        for folder in [&old, &new, &other] {
            std::fs::create_dir(folder).unwrap();
        }
        let yesterday = SystemTime::now() - 2 * ABANDONED;
        for folder in [&old, &other] {
            File::open(folder).unwrap().set_modified(yesterday).unwrap();
        }
        remove_abandoned(cache.path());
        assert_eq!(names(cache.path()), [".glow-new", "entry"]);
    }

    #[test]
    fn keys_tell_their_parts_apart() {
        let keys = [&["ab", "c"][..], &["a", "bc"], &["ab"]].map(|parts| key("cpu", parts.iter().copied()));
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
        assert_eq!(keys[0], key("cpu", ["ab", "c"]));
    }
}
