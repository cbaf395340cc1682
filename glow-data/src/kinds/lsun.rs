//! LSUN (Yu et al. 2015): for every category an LMDB folder of encoded images to train on, and one for
//! validation.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::containers::lmdb::Lmdb;
use crate::decode::decode_image;
use crate::fit::{Fit, Fitted};
use crate::opening::{Opening, Part, Parts, Source};
use crate::{DataError, ImageError};

const TRAIN: &str = "_train_lmdb";
const VALIDATION: &str = "_val_lmdb";

/// Opens all categories in the folder `path`, which are the classes if there are several, or the one
/// category that `path` names. Without any folder for validation, a part of the images is set aside.
pub(crate) fn open(path: &Path, opening: &Opening<'_>) -> Result<Parts, DataError> {
    let (root, categories) = categories(path)?;
    let conditional = opening.options.classes > 0;
    let part = |suffix| -> Result<Part, DataError> {
        Ok(Part::Source(Arc::new(Lsun::open(&root, &categories, suffix, conditional, opening.fit)?)))
    };
    let lacking = |name: &&String| !root.join(format!("{name}{VALIDATION}")).is_dir();
    let train = part(TRAIN)?;
    match categories.iter().filter(lacking).collect::<Vec<_>>()[..] {
        [] => Ok(Parts { train, test: Some(part(VALIDATION)?) }),
        ref all if all.len() == categories.len() => Ok(Parts { train, test: None }),
        [first, ..] => Err(DataError::Missing {
            path: root.join(format!("{first}{VALIDATION}")),
            hint: "other categories have one; give it to all or to none",
        }),
    }
}

/// The folder of the LMDB folders, and the categories asked for.
fn categories(path: &Path) -> Result<(PathBuf, Vec<String>), DataError> {
    if path.is_dir() && !path.join("data.mdb").exists() {
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(DataError::read(path))? {
            let name = entry.map_err(DataError::read(path))?.file_name().to_string_lossy().into_owned();
            names.extend(name.strip_suffix(TRAIN).map(String::from));
        }
        names.sort();
        if !names.is_empty() {
            return Ok((path.into(), names));
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(TRAIN).unwrap_or(&name).to_string();
    let root = path.parent().unwrap_or(Path::new("")).to_path_buf();
    if root.join(format!("{name}{TRAIN}")).is_dir() {
        return Ok((root, vec![name]));
    }
    Err(DataError::Missing {
        path: path.join(format!("CATEGORY{TRAIN}")),
        hint: "lsun wants the folder that holds bedroom_train_lmdb and the like, unpacked, beside \
               bedroom_val_lmdb; or that folder and a category, such as lsun:DIR/bedroom",
    })
}

/// The images of one part of some categories.
struct Lsun {
    root: PathBuf,
    fit: Fit,
    /// The LMDB folder of each category.
    parts: Vec<(String, Lmdb)>,
    classes: Vec<String>,
}

impl Lsun {
    fn open(
        root: &Path,
        categories: &[String],
        suffix: &str,
        conditional: bool,
        fit: Fit,
    ) -> Result<Self, DataError> {
        let mut parts = Vec::new();
        for category in categories {
            let name = format!("{category}{suffix}");
            let folder = root.join(&name);
            let lmdb = Lmdb::open(&folder)?;
            if lmdb.len() == 0 {
                let path = folder.join("data.mdb");
                return Err(DataError::Format { path, problem: "it holds no images".into() });
            }
            parts.push((name, lmdb));
        }
        // One category alone is a class of a model with several.
        let classes = if categories.len() > 1 || conditional { categories.to_vec() } else { Vec::new() };
        Ok(Self { root: root.into(), fit, parts, classes })
    }

    /// The category of image `index`, and its number there.
    fn locate(&self, mut index: usize) -> (usize, usize) {
        for (category, (_, lmdb)) in self.parts.iter().enumerate() {
            if index < lmdb.len() {
                return (category, index);
            }
            index -= lmdb.len();
        }
        panic!("an index below len");
    }
}

impl Source for Lsun {
    fn len(&self) -> usize {
        self.parts.iter().map(|(_, lmdb)| lmdb.len()).sum()
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn name(&self, index: usize) -> String {
        let (category, index) = self.locate(index);
        let (folder, lmdb) = &self.parts[category];
        format!("{folder}#{}", String::from_utf8_lossy(lmdb.key(index)))
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn fit(&self) -> Fit {
        self.fit
    }

    fn load(&self, index: usize, chance: u64) -> Result<(Fitted, u32), ImageError> {
        let (category, index) = self.locate(index);
        let bytes = self.parts[category].1.value(index)?;
        let fitted = decode_image(&bytes, None, self.fit, chance)?;
        let label = if self.classes.is_empty() { 0 } else { category as u32 };
        Ok((fitted, label))
    }
}
