//! Files that are there whole or not at all.
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const PREFIX: &str = ".glow-";
const SUFFIX: &str = ".part";

/// Writes a file beside `path`, flushes it to the disk and renames it into place: a kill or a full
/// disk at any moment leaves the old file as it was.
///
/// # Errors
/// Whatever creating, writing or renaming gives; the temporary file is then removed.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    {
        // As `File::create` would: temporary files are private by default, results are not.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    let mut buffered = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename itself is on the disk only once the folder is.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Gives the file `from` a second name `to`, in place of what is there: a hard link, which costs no space and no
/// time, or a copy where the file system has none. For files that are replaced and never written into, as those
/// of [`write_atomically`] are.
///
/// # Errors
/// Whatever linking, copying or renaming gives; what was at `to` then stands.
pub fn link_atomically(from: &Path, to: &Path) -> io::Result<()> {
    let folder = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    let Ok(link) = builder.make_in(folder, |path| std::fs::hard_link(from, path)) else {
        let mut source = File::open(from)?;
        return write_atomically(to, |out| io::copy(&mut source, out).map(|_| ()));
    };
    let temporary = link.path().to_path_buf();
    link.persist(to).map_err(|error| error.error)?;
    // To rename a file to another name of itself does nothing.
    let _ = std::fs::remove_file(temporary);
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Removes what kills in the middle of [`write_atomically`] have left in a folder, whose files no other process
/// may be writing. What cannot be removed stays, as it does no harm.
pub fn remove_partial_files(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |out| {
            out.write_all(b"new")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_kill_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".glow-x1y2z3.part", ".glow-notes", "run.part", "latest.safetensors"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        remove_partial_files(folder.path());
        assert!(!folder.path().join(".glow-x1y2z3.part").exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_link_keeps_what_it_was_made_of() {
        let folder = tempfile::tempdir().unwrap();
        let [latest, best] = ["latest", "best"].map(|name| folder.path().join(name));
        assert!(link_atomically(&latest, &best).is_err(), "there is nothing to link to");
        for content in ["one", "two"] {
            write_atomically(&latest, |out| out.write_all(content.as_bytes())).unwrap();
            // Twice: the second link is of a file to itself.
            for _ in 0..2 {
                link_atomically(&latest, &best).unwrap();
            }
            write_atomically(&latest, |out| out.write_all(b"later")).unwrap();
            assert_eq!(std::fs::read_to_string(&best).unwrap(), content);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }
}
