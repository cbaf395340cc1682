//! The attributes of CelebA's images.
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::DataError;

/// Attributes of images, as `list_attr_celeba.txt` has them: a count, the names of the attributes, and a
/// row for each image, its file's name and 1 or −1 for each attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CelebaAttributes {
    /// The names of the attributes, such as `Smiling`.
    pub names: Vec<String>,
    /// For each file's name, which attributes the image has.
    pub rows: HashMap<String, Vec<bool>>,
}

impl CelebaAttributes {
    /// The file of attributes, beside the folder of images.
    pub const FILE: &str = "list_attr_celeba.txt";
    /// Names of the folder of images, under either of which it is found.
    pub const FOLDERS: [&str; 2] = ["images", "img_align_celeba"];

    /// The folder of CelebA's images, under either of the names in use; `None` if there is none.
    pub fn images_folder(root: &Path) -> Option<PathBuf> {
        Self::FOLDERS.map(|name| root.join(name)).into_iter().find(|path| path.is_dir())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or a line is not as described; the message has its number.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = std::fs::read_to_string(path).map_err(DataError::read(path))?;
        Self::parse(&text).map_err(|problem| DataError::Format {
            path: path.into(),
            problem: format!("no list of attributes as CelebA has: {problem}"),
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        let first = lines.next().map_or("", |(_, line)| line.trim());
        first.parse::<usize>().map_err(|_| format!("line 1 is {first:?} and not the number of images"))?;
        let (_, names) = lines.next().ok_or("it ends before line 2, the names of the attributes")?;
        let names: Vec<String> = names.split_whitespace().map(String::from).collect();
        let mut rows = HashMap::new();
        for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let mut words = line.split_whitespace();
            let file = words.next().expect("the line is not blank").to_string();
            let values = words
                .map(|word| match word {
                    "1" => Ok(true),
                    "-1" | "0" => Ok(false),
                    _ => Err(format!("line {} has {word:?} where 1 or -1 should be", number + 1)),
                })
                .collect::<Result<Vec<bool>, String>>()?;
            if values.len() != names.len() {
                let (n, expected) = (values.len(), names.len());
                return Err(format!("line {} has {n} attributes and not {expected}", number + 1));
            }
            rows.insert(file, values);
        }
        Ok(Self { names, rows })
    }

    /// The place of an attribute in [`names`](Self::names).
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| other == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "2\nBald Smiling \n000001.jpg -1  1\n000002.jpg  1 -1\n";

    #[test]
    fn reads_the_official_form() {
        let read = CelebaAttributes::parse(TEXT).unwrap();
        assert_eq!(read.names, ["Bald", "Smiling"]);
        assert_eq!(read.rows["000001.jpg"], [false, true]);
        assert_eq!((read.rows.len(), read.position("Smiling"), read.position("smiling")), (2, Some(1), None));
    }

    #[test]
    fn names_the_line_that_is_not_of_the_form() {
        for (text, expected) in [
            ("", "line 1"),
            ("Bald\n", "line 1"),
            ("2\n", "line 2"),
            ("2\nBald Smiling\na.jpg 1\n", "line 3 has 1 attributes and not 2"),
            ("2\nBald Smiling\na.jpg 1 -1\nb.jpg 1 2\n", "line 4 has \"2\""),
        ] {
            let problem = CelebaAttributes::parse(text).unwrap_err();
            assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
        }
    }
}
