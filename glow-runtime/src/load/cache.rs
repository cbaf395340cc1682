//! The folder that keeps what is made of bundles for this machine: the names of its entries, whether an entry is
//! whole, and when it goes.
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
/// In an entry, an empty file as old as the entry's last use.
pub(crate) const USED: &str = "used";
/// In an entry, an empty file that is there once an image came back through it.
const CHECKED: &str = "checked";
/// What folders in the making are called, until they get their names.
const TEMPORARY: &str = ".glow-";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A folder in the making that is older belongs to a process that was killed.
const ABANDONED: Duration = DAY;
/// An entry that nobody used for so long goes.
const UNUSED: Duration = DAY.saturating_mul(90);

/// What an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Graphs that ONNX Runtime optimised for the CPU.
    Cpu,
    /// What a provider compiled.
    Engine,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::Cpu, Self::Engine];

    fn prefix(self) -> &'static str {
        match self {
            Self::Cpu => "cpu-",
            Self::Engine => "engine-",
        }
    }
}

/// The name of an entry: a hash of what its files are made of and for.
pub(crate) fn key<'a>(purpose: Purpose, parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(&VERSION.to_string());
    add(&cpu());
    parts.into_iter().for_each(add);
    let digest: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}{digest}", purpose.prefix())
}

/// Whether a folder has the name of an entry.
fn is_key(name: &str) -> bool {
    let digest = Purpose::ALL.iter().find_map(|purpose| name.strip_prefix(purpose.prefix()));
    digest.is_some_and(|digest| digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
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

/// Removes folders in the making that killed processes left, and entries that nobody used for [`UNUSED`].
/// Whoever may not remove one leaves it to its owner.
pub(crate) fn clean(cache: &Path) {
    let older = |time: io::Result<SystemTime>, limit: Duration| {
        time.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > limit))
    };
    for folder in cache.read_dir().into_iter().flatten().flatten() {
        let modified = || folder.metadata()?.modified();
        let name = folder.file_name().to_string_lossy().into_owned();
        if name.starts_with(TEMPORARY) && older(modified(), ABANDONED) {
            let _ = std::fs::remove_dir_all(folder.path());
        } else if is_key(&name) {
            // Versions that did not note the use left the time at which they made the entry.
            let used = folder.path().join(USED).metadata().and_then(|file| file.modified());
            if older(used.or_else(|_| modified()), UNUSED) {
                let _ = remove(&folder.path());
            }
        }
    }
}

/// Notes that an entry is used, once a day. In a folder that only its owner can write, that is up to the owner.
pub(crate) fn touch(entry: &Path) {
    let path = entry.join(USED);
    let age = path.metadata().and_then(|file| file.modified()).map(|time| time.elapsed());
    if !age.is_ok_and(|age| age.is_ok_and(|age| age < DAY)) {
        let file = File::options().append(true).create(true).open(path);
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
    }
}

/// Whether an image came back through what the entry holds.
pub(crate) fn is_checked(entry: &Path) -> bool {
    entry.join(CHECKED).is_file()
}

/// Notes that an image came back, where there is an entry that can be written.
pub(crate) fn note_checked(entry: &Path) {
    let _ = File::create(entry.join(CHECKED));
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
    touch(folder.path());
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
        if name == CHECKSUMS || name == USED || !of(&name) || !file.file_type()?.is_file() {
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

/// What the files of an entry were when they were written.
pub(crate) struct Checksums(BTreeMap<String, Checksum>);

impl Checksums {
    /// Those of an entry; otherwise what is wrong with them.
    pub fn of(entry: &Path) -> Result<Self, String> {
        let text = std::fs::read(entry.join(CHECKSUMS)).map_err(|error| unreadable(CHECKSUMS, &error))?;
        serde_json::from_slice(&text).map(Self).map_err(|_| format!("{CHECKSUMS} is damaged"))
    }

    /// Whether the entry's files, but for one, are as they were written; otherwise what is wrong.
    pub fn check_but(&self, except: &str, entry: &Path) -> Result<(), String> {
        for (name, expected) in self.0.iter().filter(|(name, _)| *name != except) {
            let actual = Checksum::of(&entry.join(name)).map_err(|error| unreadable(name, &error))?;
            same(name, &actual, expected)?;
        }
        Ok(())
    }

    /// Whether these are the bytes of that file.
    pub fn check(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let expected = self.0.get(name).ok_or_else(|| format!("{CHECKSUMS} lacks {name}"))?;
        same(name, &Checksum { bytes: bytes.len() as u64, crc32: crc32fast::hash(bytes) }, expected)
    }
}

fn unreadable(file: &str, error: &io::Error) -> String {
    format!("{file} cannot be read: {error}")
}

fn same(name: &str, actual: &Checksum, expected: &Checksum) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("{name} is damaged")) }
}

/// Whether the entry's files are as they were written; otherwise what is wrong.
pub(crate) fn check(entry: &Path) -> Result<(), String> {
    Checksums::of(entry)?.check_but("", entry)
}

/// Whether the entry has checksums of all these files; otherwise which has none.
pub(crate) fn lists(entry: &Path, files: &[std::path::PathBuf]) -> Result<(), String> {
    let checksums = Checksums::of(entry)?.0;
    for name in files.iter().filter_map(|path| path.file_name()?.to_str()) {
        if name != CHECKSUMS && name != USED && !checksums.contains_key(name) {
            return Err(format!("{name} was not finished"));
        }
    }
    Ok(())
}

/// Removes an entry. Processes that have its files open can go on with them.
pub(crate) fn remove(entry: &Path) -> io::Result<()> {
    // Out of the way at once, so that nobody finds half of it.
    let parent = entry.parent().unwrap_or(Path::new("."));
    let aside = temporary(parent)?;
    std::fs::rename(entry, aside.path().join("entry"))
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
        assert!(Checksums(BTreeMap::new()).check("file", b"").is_err());
        for (number, damage) in cases.into_iter().enumerate() {
            let cache = tempfile::tempdir().unwrap();
            let entry = cache.path().join("entry");
            keep(made(cache.path(), "contents"), &entry).unwrap();
            damage(&entry);
            assert!(check(&entry).is_err(), "case {number}");
            // The same in two parts.
            let read = std::fs::read(entry.join("file")).unwrap_or_default();
            let parts = Checksums::of(&entry).and_then(|checksums| {
                checksums.check_but("file", &entry)?;
                checksums.check("file", &read)
            });
            assert!(parts.is_err(), "case {number}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_nobody_needs_goes_and_nothing_else() {
        let cache = tempfile::tempdir().unwrap();
        let digest = "0123456789abcdef0123456789abcdef";
        let age = |path: &Path, days: u32| {
            File::open(path).unwrap().set_modified(SystemTime::now() - days * DAY).unwrap();
        };
        let folder = |name: &str, used: Option<u32>, modified: u32| {
            let path = cache.path().join(name);
            std::fs::create_dir(&path).unwrap();
            if let Some(days) = used {
                File::create(path.join(USED)).unwrap();
                age(&path.join(USED), days);
            }
            age(&path, modified);
        };
        // In the making: by a process that was killed, and by one that is at work.
        folder(".glow-old", None, 2);
        folder(".glow-new", None, 0);
        // Entries: made and used long ago, made long ago and used since, made by a version that did not note its use.
        folder(&format!("cpu-{digest}"), Some(91), 91);
        folder(&format!("engine-{digest}"), Some(89), 200);
        folder(&format!("cpu-{}", digest.replace('0', "1")), None, 91);
        folder(&format!("cpu-{}", digest.replace('0', "2")), None, 89);
        // What somebody else keeps there.
        for other in ["entry", "cpu-backup", &digest[1..]] {
            folder(other, Some(1000), 1000);
        }
        clean(cache.path());
        let mut stay =
            [".glow-new", &format!("engine-{digest}"), &format!("cpu-{}", digest.replace('0', "2")), "entry"]
                .map(String::from)
                .to_vec();
        stay.extend(["cpu-backup".to_string(), digest[1..].to_string()]);
        stay.sort();
        assert_eq!(names(cache.path()), stay);
    }

    #[cfg(unix)]
    #[test]
    fn use_is_noted_once_a_day() {
        let entry = tempfile::tempdir().unwrap();
        let path = entry.path().join(USED);
        let modified = || path.metadata().unwrap().modified().unwrap();
        touch(entry.path());
        for (hours, renewed) in [(23, false), (25, true)] {
            let before = SystemTime::now() - Duration::from_secs(hours * 60 * 60);
            File::options().append(true).open(&path).unwrap().set_modified(before).unwrap();
            let before = modified();
            touch(entry.path());
            assert_eq!(modified() > before, renewed, "{hours} hours");
        }
        // Of an entry that is not there nothing is noted.
        touch(&entry.path().join("missing"));
        note_checked(&entry.path().join("missing"));
        assert_eq!(names(entry.path()), [USED]);
    }

    #[test]
    fn keys_tell_their_parts_apart() {
        let keys =
            [&["ab", "c"][..], &["a", "bc"], &["ab"]].map(|parts| key(Purpose::Cpu, parts.iter().copied()));
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
        assert_eq!(keys[0], key(Purpose::Cpu, ["ab", "c"]));
        assert!(is_key(&keys[0]) && is_key(&key(Purpose::Engine, ["ab"])));
    }
}
