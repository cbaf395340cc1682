//! CelebA's lists: the attributes of its images and its official partition, as text or, in copies on
//! Kaggle, as CSV; and where they and the images are.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::DataError;

/// The folders of images in the copies that there are.
const FOLDERS: [&str; 3] = ["images", "img_align_celeba", "img_align_celeba_png"];
const ATTRIBUTES: &str = "list_attr_celeba";
const PARTITION: &str = "list_eval_partition";

/// The folder of CelebA's images: under a name in use, below the folder itself or below `Img`, as in the
/// official archive, and perhaps one level deeper, as copies are often unpacked.
///
/// # Errors
/// There is none.
pub fn images_folder(root: &Path) -> Result<PathBuf, DataError> {
    let places = ["", "Img"].iter().flat_map(|above| FOLDERS.map(|name| (root.join(above).join(name), name)));
    let found = places.filter(|(path, _)| path.is_dir()).map(|(path, name)| {
        let deeper = path.join(name);
        if deeper.is_dir() { deeper } else { path }
    });
    found.into_iter().next().ok_or_else(|| DataError::Missing {
        path: root.join(FOLDERS[0]),
        hint: "celeba wants a folder `images`, `img_align_celeba` or `img_align_celeba_png` beside \
               list_attr_celeba.txt (or .csv); for any other layout use images:PATH",
    })
}

/// A list beside the images, as text or CSV; `None` if there is none.
fn find(root: &Path, name: &str) -> Option<PathBuf> {
    let folders = ["", "Anno", "Eval"].map(|folder| root.join(folder));
    let names =
        folders.iter().flat_map(|folder| ["txt", "csv"].map(|kind| folder.join(name).with_extension(kind)));
    names.into_iter().find(|path| path.is_file())
}

/// Attributes of images, as `list_attr_celeba.txt` has them: a count, the names of the attributes, and a
/// row for each image, its file's name and 1 or −1 for each attribute. As CSV the first line is the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CelebaAttributes {
    /// The file.
    path: PathBuf,
    /// The names of the attributes, such as `Smiling`.
    pub names: Vec<String>,
    /// Which attributes an image has, by its file's name without the extension: some copies have PNG files.
    rows: HashMap<String, Vec<bool>>,
}

impl CelebaAttributes {
    /// Reads the attributes in CelebA's folder.
    ///
    /// # Errors
    /// There are none, they cannot be read, or a line is not as described; the message has its number.
    pub fn open(root: &Path) -> Result<Self, DataError> {
        let path = find(root, ATTRIBUTES).ok_or_else(|| DataError::Missing {
            path: root.join(ATTRIBUTES).with_extension("txt"),
            hint: "CelebA's attributes are in list_attr_celeba.txt or .csv, beside the folder of images",
        })?;
        let text = fs::read_to_string(&path).map_err(DataError::read(&path))?;
        Self::parse(&text, &path).map_err(|problem| DataError::Format {
            path,
            problem: format!("no list of attributes as CelebA has: {problem}"),
        })
    }

    fn parse(text: &str, path: &Path) -> Result<Self, String> {
        let mut lines = text.lines().enumerate().map(|(number, line)| (number + 1, words(line)));
        let (_, mut names) = lines.next().ok_or("it is empty")?;
        if names.len() < 2 {
            // Text: the number of images comes first.
            let count = names.first().copied().unwrap_or_default();
            count
                .parse::<usize>()
                .map_err(|_| format!("line 1 is {count:?} and not the number of images"))?;
            (_, names) = lines.next().ok_or("it ends before line 2, the names of the attributes")?;
        } else {
            // CSV: the column of the files has a name too.
            names.remove(0);
        }
        let names: Vec<String> = names.into_iter().map(String::from).collect();
        let mut rows = HashMap::new();
        for (number, words) in lines {
            let Some((file, values)) = words.split_first() else { continue };
            let values = values
                .iter()
                .map(|&word| match word {
                    "1" => Ok(true),
                    "-1" | "0" => Ok(false),
                    _ => Err(format!("line {number} has {word:?} where 1 or -1 should be")),
                })
                .collect::<Result<Vec<bool>, String>>()?;
            if values.len() != names.len() {
                let (n, expected) = (values.len(), names.len());
                return Err(format!("line {number} has {n} attributes and not {expected}"));
            }
            rows.insert(stem(Path::new(file)), values);
        }
        Ok(Self { path: path.into(), names, rows })
    }

    /// The place of an attribute in [`names`](Self::names).
    ///
    /// # Errors
    /// There is no such attribute; the message has those that there are.
    pub fn position(&self, name: &str) -> Result<usize, DataError> {
        self.names.iter().position(|other| other == name).ok_or_else(|| DataError::Option {
            problem: format!(
                "{} has no attribute {name:?}; it has {}",
                self.path.display(),
                self.names.join(", ")
            ),
        })
    }

    /// Which attributes an image has, in the order of [`names`](Self::names).
    ///
    /// # Errors
    /// There is no row for it.
    pub fn row(&self, image: &Path) -> Result<&[bool], DataError> {
        self.rows.get(&stem(image)).map(Vec::as_slice).ok_or_else(|| DataError::Format {
            path: self.path.clone(),
            problem: format!("it has no row for the image {}", image.display()),
        })
    }
}

/// The official partition: 0 for images to train on, 1 to validate on, 2 to test on.
pub(crate) struct Partition {
    /// The file.
    pub path: PathBuf,
    parts: HashMap<String, u8>,
}

impl Partition {
    /// The part of an image; `None` for one that is not listed.
    pub fn of(&self, image: &Path) -> Option<u8> {
        self.parts.get(&stem(image)).copied()
    }
}

/// Reads `list_eval_partition.txt` or `.csv`; `None` if there is neither.
pub(crate) fn partition(root: &Path) -> Result<Option<Partition>, DataError> {
    let Some(path) = find(root, PARTITION) else { return Ok(None) };
    let text = fs::read_to_string(&path).map_err(DataError::read(&path))?;
    let mut parts = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        match words(line)[..] {
            [] => {}
            [image, part] if matches!(part, "0" | "1" | "2") => {
                parts.insert(stem(Path::new(image)), part.as_bytes()[0] - b'0');
            }
            // CSV names its columns.
            _ if number == 0 => {}
            _ => {
                return Err(DataError::Format {
                    path,
                    problem: format!("line {} is {line:?} and not an image and 0, 1 or 2", number + 1),
                });
            }
        }
    }
    Ok(Some(Partition { path, parts }))
}

/// The words of a line, between commas or blanks.
fn words(line: &str) -> Vec<&str> {
    line.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty()).collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "2\nBald Smiling \n000001.jpg -1  1\n000002.jpg  1 -1\n";
    const CSV: &str = "image_id,Bald,Smiling\n000001.jpg,-1,1\n000002.jpg,1,-1\n";

    fn parse(text: &str) -> Result<CelebaAttributes, String> {
        CelebaAttributes::parse(text, Path::new("list"))
    }

    #[test]
    fn reads_both_forms() {
        let read = parse(TEXT).unwrap();
        assert_eq!(read, parse(CSV).unwrap());
        assert_eq!(read.names, ["Bald", "Smiling"]);
        assert_eq!(read.row(Path::new("x/000001.png")).unwrap(), [false, true]);
        assert_eq!(read.position("Smiling").unwrap(), 1);
        assert!(matches!(read.position("smiling"), Err(DataError::Option { .. })));
        assert!(matches!(read.row(Path::new("3.jpg")), Err(DataError::Format { .. })));
    }

    #[test]
    fn names_the_line_that_is_not_of_the_form() {
        for (text, expected) in [
            ("", "empty"),
            ("Bald\n", "line 1"),
            ("2\n", "line 2"),
            ("2\nBald Smiling\na.jpg 1\n", "line 3 has 1 attributes and not 2"),
            ("2\nBald Smiling\na.jpg 1 -1\nb.jpg 1 2\n", "line 4 has \"2\""),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
        }
    }

    #[test]
    fn finds_images_and_lists_in_every_copy() {
        for (images, list) in [
            ("images", "list_eval_partition.txt"),
            ("img_align_celeba", "list_eval_partition.txt"),
            ("img_align_celeba/img_align_celeba", "list_eval_partition.csv"),
            ("Img/img_align_celeba_png", "Eval/list_eval_partition.txt"),
        ] {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join(images);
            fs::create_dir_all(&folder).unwrap();
            assert_eq!(images_folder(root.path()).unwrap(), folder);
            assert!(partition(root.path()).unwrap().is_none());
            let list = root.path().join(list);
            fs::create_dir_all(list.parent().unwrap()).unwrap();
            fs::write(&list, "image_id,partition\n1.jpg,0\n2.jpg 2\n").unwrap();
            let found = partition(root.path()).unwrap().unwrap();
            assert_eq!([1, 2, 3].map(|i| found.of(Path::new(&format!("{i}.png")))), [Some(0), Some(2), None]);
            fs::write(&list, "1.jpg 0\n2.jpg 3\n").unwrap();
            assert!(matches!(partition(root.path()), Err(DataError::Format { .. })));
        }
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(images_folder(root.path()), Err(DataError::Missing { .. })));
    }
}
