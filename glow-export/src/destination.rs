//! The folder that a bundle goes to: nothing changes there until the bundle is whole and proven.
use crate::ExportError;
use crate::card::{self, CARD_FILE};
use glow_models::{DECODER_FILE, ENCODER_FILE, MANIFEST_FILE, WEIGHTS_FILE};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A temporary folder beside the destination, gone when this is dropped before it is installed.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    draft: TempDir,
}

impl Destination {
    /// Checks that the destination is free, or an older bundle that may be replaced.
    pub fn prepare(path: &Path) -> Result<Self, ExportError> {
        let refuse = |reason| Err(ExportError::Destination { path: path.into(), reason });
        let path = match fs::canonicalize(path) {
            Ok(path) => {
                if !path.is_dir() {
                    return refuse("it is a file; give a folder");
                }
                let mut entries = fs::read_dir(&path).map_err(ExportError::io("read", &path))?;
                if entries.next().is_some() && !path.join(MANIFEST_FILE).is_file() {
                    return refuse(
                        "it is a folder with other things in it and without model.json; give a new folder",
                    );
                }
                path
            }
            Err(_) => path.into(),
        };
        let (Some(parent), Some(_)) = (path.parent(), path.file_name()) else {
            return refuse("it has no folder above it; give a new folder");
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        fs::create_dir_all(parent).map_err(ExportError::io("create", parent))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".glow-export-");
        #[cfg(unix)]
        {
            // As `create_dir` would: temporary folders are private by default, results are not.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        let draft = builder.tempdir_in(parent).map_err(ExportError::io("create a folder in", parent))?;
        Ok(Self { path, draft })
    }

    /// Where the bundle is to be written for now.
    pub fn draft(&self) -> &Path {
        self.draft.path()
    }

    /// Another temporary folder on the same disk, gone when it is dropped.
    pub fn scratch(&self) -> Result<TempDir, ExportError> {
        let parent = self.draft.path().parent().expect("the draft lies in a folder");
        tempfile::Builder::new()
            .prefix(".glow-export-fp32-")
            .tempdir_in(parent)
            .map_err(ExportError::io("create a folder in", parent))
    }

    /// Puts the finished bundle into place. An older bundle goes; other things in its folder stay, and
    /// their names are given: also a model card that somebody changed, in place of the new one.
    pub fn install(self) -> Result<(PathBuf, Vec<String>), ExportError> {
        let Self { path, draft } = self;
        let mut kept = Vec::new();
        if path.exists() {
            // The old folder is moved aside whole, so that at no moment files of two bundles mix.
            let parent = path.parent().expect("checked when it was prepared");
            let aside = tempfile::Builder::new()
                .prefix(".glow-export-old-")
                .tempdir_in(parent)
                .map_err(ExportError::io("create a folder in", parent))?;
            let old = aside.path().join("bundle");
            fs::rename(&path, &old).map_err(ExportError::io("move aside", &path))?;
            if let Err(source) = fs::rename(draft.path(), &path) {
                // Whatever the reason was, the old bundle must not be lost with the temporary folder.
                if fs::rename(&old, &path).is_err() {
                    let _ = aside.keep();
                }
                return Err(ExportError::Io { action: "replace", path, source });
            }
            let _ = draft.keep();
            for entry in fs::read_dir(&old).map_err(ExportError::io("read", &old))? {
                let name = entry.map_err(ExportError::io("read", &old))?.file_name();
                if !(is_bundle_file(&name) || is_our_card(&old.join(&name))) {
                    let stays = path.join(&name);
                    if let Err(source) = fs::rename(old.join(&name), &stays) {
                        let _ = aside.keep();
                        return Err(ExportError::Io { action: "keep", path: stays, source });
                    }
                    kept.push(name.to_string_lossy().into_owned());
                }
            }
            kept.sort();
        } else {
            fs::rename(draft.path(), &path).map_err(ExportError::io("create", &path))?;
            let _ = draft.keep();
        }
        Ok((path, kept))
    }
}

/// Whether a file is a model card that nobody has changed; one with somebody's own words stays.
fn is_our_card(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == CARD_FILE)
        && fs::read_to_string(path).is_ok_and(|text| card::is_untouched(&text))
}

fn is_bundle_file(name: &OsStr) -> bool {
    [MANIFEST_FILE, WEIGHTS_FILE, ENCODER_FILE, DECODER_FILE].iter().any(|file| name == *file)
}
