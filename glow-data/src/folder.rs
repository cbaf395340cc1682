//! The images below a folder, in an order that is the same everywhere.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::DataError;

/// Extensions of the files that are read as images, in lower case; files may have them in any case.
pub const EXTENSIONS: [&str; 13] =
    ["png", "jpg", "jpeg", "jfif", "jpe", "webp", "bmp", "gif", "tif", "tiff", "pgm", "ppm", "pnm"];

/// Extensions of images that are not read here: such files are counted and named.
const OTHER_EXTENSIONS: [&str; 24] = [
    "heic", "heif", "avif", "jxl", "jp2", "j2k", "jpx", "psd", "svg", "tga", "dds", "exr", "hdr", "qoi",
    "ico", "dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf", "raw",
];

/// Folders of other programs, in lower case: thumbnails, indices and deleted files are no data.
const OTHER_FOLDERS: [&str; 10] = [
    "@eadir",
    "__macosx",
    "thumbnails",
    "thumbs",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "@recycle",
];

/// The images below a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Paths relative to the folder, sorted, and the label of each.
    pub files: Vec<(PathBuf, u32)>,
    /// The first-level folders that hold images, sorted; empty if some images are in no folder.
    pub classes: Vec<String>,
    /// What was seen and is not among the files.
    pub left_out: LeftOut,
}

/// What a listing leaves out although it may look like data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Images in formats that are not read: for each extension, how many and the first.
    formats: BTreeMap<String, (usize, PathBuf)>,
    /// Folders that other programs made, and folders of training runs.
    folders: Vec<PathBuf>,
}

impl LeftOut {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.formats.is_empty() && self.folders.is_empty()
    }

    /// How many images are in formats that are not read.
    pub fn images(&self) -> usize {
        self.formats.values().map(|(count, _)| count).sum()
    }
}

/// A sentence for each kind of thing.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((_, first)) = self.formats.values().next() {
            let counts: Vec<String> =
                self.formats.iter().map(|(extension, (count, _))| format!("{count} .{extension}")).collect();
            let first = first.display();
            write!(
                f,
                "left out {} images of formats that are not read ({}; the first is {first}): convert them to \
                 PNG or JPEG to use them",
                self.images(),
                counts.join(", ")
            )?;
        }
        if !self.folders.is_empty() {
            let separator = if self.formats.is_empty() { "" } else { "; " };
            let names: Vec<String> = self.folders.iter().map(|path| path.display().to_string()).collect();
            write!(
                f,
                "{separator}left out folders that hold no data but a training run, thumbnails or deleted files: {}",
                names.join(", ")
            )?;
        }
        Ok(())
    }
}

/// Lists the images below `root`. Hidden files and folders, the folders of training runs and those that
/// photo servers and operating systems make are left out; symbolic links are followed, and a folder that
/// can be reached in several ways counts once.
///
/// # Errors
/// A folder cannot be read.
pub fn list(root: &Path) -> Result<Listing, DataError> {
    let mut paths = Vec::new();
    let mut left_out = LeftOut::default();
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
            // A dangling link counts as a file, so that it is named when it cannot be read; a
            // pipe or a socket does not, as opening one may block for ever.
            let is_file = kind.is_file() || kind.is_symlink();
            let relative = folder.join(name);
            if is_folder && is_no_data(&entry.path()) {
                left_out.folders.push(relative);
            } else if is_folder {
                below.push(relative);
            } else if is_file {
                match extension(&relative) {
                    Some(extension) if EXTENSIONS.contains(&&*extension) => paths.push(relative),
                    Some(extension) if OTHER_EXTENSIONS.contains(&&*extension) => {
                        let (count, first) =
                            left_out.formats.entry(extension).or_insert_with(|| (0, relative.clone()));
                        *count += 1;
                        if relative < *first {
                            *first = relative;
                        }
                    }
                    _ => {}
                }
            }
        }
        // Where two ways lead to one folder, the first in this order is taken: it is last on the
        // stack.
        below.sort_unstable_by(|a, b| b.cmp(a));
        folders.append(&mut below);
    }
    paths.sort_unstable();
    left_out.folders.sort_unstable();
    let (files, classes) = label(paths, 0);
    Ok(Listing { files, classes, left_out })
}

/// The extension in lower case.
fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

/// Whether a folder belongs to another program, or is that of a training run, whose pictures are samples.
fn is_no_data(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    OTHER_FOLDERS.contains(&name.as_str())
        || path.join("checkpoints").is_dir() && path.join("config.toml").is_file()
}

/// Labels sorted paths by their folder at `depth`, 0 for the first. Images that lie beside such folders
/// would belong to no class, so that then there are no classes at all.
pub(crate) fn label(paths: Vec<PathBuf>, depth: usize) -> (Vec<(PathBuf, u32)>, Vec<String>) {
    let class = |path: &Path| {
        let mut parts = path.iter().skip(depth);
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
    (files, classes)
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

    #[test]
    fn what_is_no_data_or_not_read_is_left_out_and_told() {
        let root = tempfile::tempdir().unwrap();
        touch(
            root.path(),
            &[
                "a/1.JFIF",
                "a/@eaDir/1.jpg",
                "a/2.heic",
                "a/3.HEIC",
                "b/4.tif",
                "b/5.avif",
                "__MACOSX/a/1.png",
                "run/checkpoints/latest.safetensors",
                "run/config.toml",
                "run/samples/step-1.png",
                "b/.thumbnails/x.png",
                "b/notes.txt",
            ],
        );
        let listing = list(root.path()).unwrap();
        assert_eq!(found(&listing), [("a/1.JFIF", 0), ("b/4.tif", 1)]);
        assert_eq!(listing.left_out.images(), 3);
        let folders: Vec<_> = listing.left_out.folders.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(folders, ["__MACOSX", "a/@eaDir", "run"]);
        let text = listing.left_out.to_string();
        assert!(text.contains("3 images") && text.contains("1 .avif, 2 .heic"), "{text}");
        assert!(text.contains("a/@eaDir"), "{text}");
    }
}
