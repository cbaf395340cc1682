//! The images below a folder, in an order that is the same everywhere.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::DataError;

/// The extensions of files taken for images, in lower case; files may have them in any case.
pub const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "webp", "bmp", "pgm", "ppm", "pnm"];

/// The images below a folder.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    /// Paths relative to the folder, sorted, and the label of each.
    pub files: Vec<(PathBuf, u32)>,
    /// The first-level folders that hold images, sorted; empty if some images are in no folder.
    pub classes: Vec<String>,
}

/// Checks that `path` is a folder.
#[cfg(feature = "datasets")]
pub(crate) fn check(path: &Path) -> Result<(), DataError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(DataError::NotAFolder { path: path.into() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(DataError::Missing {
            path: path.into(),
            hint: "give an existing folder that holds the data set",
        }),
        Err(error) => Err(DataError::read(path)(error)),
    }
}

/// Lists the images below `root`. Hidden files and folders are left out; symbolic links are
/// followed, and a folder that can be reached in several ways counts once.
///
/// # Errors
/// A folder cannot be read.
pub fn list(root: &Path) -> Result<Listing, DataError> {
    let mut paths = Vec::new();
    let mut seen = HashSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        if !seen.insert(fs::canonicalize(&path).map_err(DataError::read(&path))?) {
            continue;
        }
        let mut below = Vec::new();
        for entry in fs::read_dir(&path).map_err(DataError::read(&path))? {
            let entry = entry.map_err(DataError::read(&path))?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let kind = entry.file_type().map_err(DataError::read(&entry.path()))?;
            let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
            // A dangling link passes for a file, so that it is named when it cannot be read; a
            // pipe or a socket does not, as opening one may block for ever.
            let is_file = kind.is_file() || kind.is_symlink();
            let relative = folder.join(name);
            if is_folder {
                below.push(relative);
            } else if is_file && is_image(&relative) {
                paths.push(relative);
            }
        }
        // Where two ways lead to one folder, the first in this order is taken: it is last on the
        // stack.
        below.sort_unstable_by(|a, b| b.cmp(a));
        folders.append(&mut below);
    }
    paths.sort_unstable();
    Ok(label(paths))
}

fn is_image(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Labels sorted paths by their first folder. Images that lie beside the folders would belong to no
/// class, so that then there are no classes at all.
fn label(paths: Vec<PathBuf>) -> Listing {
    let class = |path: &Path| {
        let mut parts = path.iter();
        let first = parts.next()?;
        parts.next().map(|_| first.to_string_lossy().into_owned())
    };
    let mut classes: Vec<String> = Vec::new();
    let mut files = Vec::with_capacity(paths.len());
    let mut all_have_one = true;
    for path in paths {
        match class(&path) {
            // Sorted by parts, the images of a class follow one another.
            Some(name) if classes.last() != Some(&name) => classes.push(name),
            Some(_) => {}
            None => all_have_one = false,
        }
        files.push((path, classes.len().saturating_sub(1) as u32));
    }
    if !all_have_one {
        classes.clear();
        files.iter_mut().for_each(|(_, label)| *label = 0);
    }
    Listing { files, classes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, paths: &[&str]) {
        for path in paths {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
    }

    fn found(listing: &Listing) -> Vec<(&str, u32)> {
        listing.files.iter().map(|(path, label)| (path.to_str().unwrap(), *label)).collect()
    }

    #[test]
    fn first_level_folders_are_classes() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), &["dog/2.png", "cat/deep/er/1.JPG", "cat/9.webp", "cat/notes.txt", "empty/x.md"]);
        let listing = list(root.path()).unwrap();
        assert_eq!(listing.classes, ["cat", "dog"]);
        assert_eq!(found(&listing), [("cat/9.webp", 0), ("cat/deep/er/1.JPG", 0), ("dog/2.png", 1)]);
    }

    #[test]
    fn no_classes_where_images_lie_beside_folders() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), &["a/1.bmp", "b/1.bmp", "c.pgm", ".hidden.png", ".git/x.png"]);
        let listing = list(root.path()).unwrap();
        assert!(listing.classes.is_empty());
        assert_eq!(found(&listing), [("a/1.bmp", 0), ("b/1.bmp", 0), ("c.pgm", 0)]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_cycles_end() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        touch(root.path(), &["a/1.png"]);
        touch(other.path(), &["2.png"]);
        symlink(other.path(), root.path().join("b")).unwrap();
        symlink(root.path(), root.path().join("a/loop")).unwrap();
        symlink("nowhere", root.path().join("a/dangling.png")).unwrap();
        let listing = list(root.path()).unwrap();
        assert_eq!(found(&listing), [("a/1.png", 0), ("a/dangling.png", 0), ("b/2.png", 1)]);
    }
}
