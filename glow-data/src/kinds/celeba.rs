//! CelebA: its folder of images, and the attributes of each.

use std::path::Path;

use super::celeba_attributes::CelebaAttributes;
use super::images;
use crate::fit::Fit;
use crate::folder::{self, Listing};
use crate::{DataError, OpenOptions, Splits};

/// Opens the images; where an attribute is named in the options, it makes two classes.
pub(crate) fn open(root: &Path, fit: Fit, options: &OpenOptions) -> Result<Splits, DataError> {
    let folder = CelebaAttributes::images_folder(root).ok_or_else(|| DataError::Missing {
        path: root.join(CelebaAttributes::FOLDERS[0]),
        hint: "celeba wants a folder `images` or `img_align_celeba` beside \
               list_attr_celeba.txt; for any other layout use images:PATH",
    })?;
    let mut listing = folder::list(&folder)?;
    listing.classes.clear();
    listing.files.iter_mut().for_each(|(_, label)| *label = 0);
    if !options.attribute.is_empty() {
        label(&mut listing, &root.join(CelebaAttributes::FILE), &options.attribute)?;
    }
    images::open(&folder, listing, fit, options)
}

/// Sets every image's label to whether it has the attribute.
fn label(listing: &mut Listing, file: &Path, attribute: &str) -> Result<(), DataError> {
    let attributes = CelebaAttributes::read(file)?;
    let position = attributes.position(attribute).ok_or_else(|| DataError::Option {
        problem: format!(
            "{} has no attribute {attribute:?}; it has {}",
            file.display(),
            attributes.names.join(", ")
        ),
    })?;
    for (path, label) in &mut listing.files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let row = attributes.rows.get(&*name).ok_or_else(|| DataError::Format {
            path: file.into(),
            problem: format!("it has no row for the image {}", path.display()),
        })?;
        *label = u32::from(row[position]);
    }
    listing.classes = vec![format!("not {attribute}"), attribute.to_string()];
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "2\nBald Smiling \n000001.jpg -1  1\n000002.jpg  1 -1\n";

    #[test]
    fn an_attribute_makes_two_classes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(CelebaAttributes::FILE);
        std::fs::write(&file, TEXT).unwrap();
        let mut listing =
            Listing { files: vec![("000001.jpg".into(), 0), ("000002.jpg".into(), 0)], classes: Vec::new() };
        label(&mut listing, &file, "Smiling").unwrap();
        assert_eq!(listing.files.iter().map(|(_, label)| *label).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(listing.classes, ["not Smiling", "Smiling"]);
        let wrong = label(&mut listing, &file, "smiling").unwrap_err().to_string();
        assert!(wrong.contains("Bald, Smiling"), "{wrong}");
        listing.files.push(("3.jpg".into(), 0));
        assert!(label(&mut listing, &file, "Bald").unwrap_err().to_string().contains("3.jpg"));
    }
}
