//! CelebA (Liu et al. 2015): its folder of images, the attributes of each, and the official partition.

use std::path::{Path, PathBuf};

use super::celeba_lists::{CelebaAttributes, images_folder, partition};
use super::images;
use crate::DataError;
use crate::folder::{self, Listing};
use crate::opening::{Opening, Part, Parts};

/// Opens the images; where an attribute is named in the options, it makes two classes. With
/// `list_eval_partition.txt` (or `.csv`) beside them, its training and validation images are those, and its
/// test images are left out.
pub(crate) fn open(root: &Path, opening: &Opening<'_>) -> Result<Parts, DataError> {
    let folder = images_folder(root)?;
    let mut listing = folder::list(&folder)?;
    opening.note(&listing.left_out);
    listing.classes.clear();
    listing.files.iter_mut().for_each(|(_, label)| *label = 0);
    let attribute = &opening.options.data.attribute;
    if !attribute.is_empty() {
        label(&mut listing, root, attribute)?;
    }
    let Some(partition) = partition(root)? else {
        return Ok(Parts { train: images::part(&folder, listing, opening)?, test: None });
    };
    let part = |number: u8| -> Result<Part, DataError> {
        let wanted = |(path, _): &&(PathBuf, u32)| partition.of(path) == Some(number);
        let files = listing.files.iter().filter(wanted).cloned().collect();
        let part = Listing { files, classes: listing.classes.clone(), ..Listing::default() };
        images::part(&folder, part, opening)
    };
    let parts = Parts { train: part(0)?, test: Some(part(1)?) };
    opening.note(&format_args!(
        "training and validation images are those of {}; its test images are left out",
        partition.path.display()
    ));
    Ok(parts)
}

/// Sets every image's label to whether it has the attribute.
fn label(listing: &mut Listing, root: &Path, attribute: &str) -> Result<(), DataError> {
    let attributes = CelebaAttributes::open(root)?;
    let position = attributes.position(attribute)?;
    for (path, label) in &mut listing.files {
        *label = u32::from(attributes.row(path)?[position]);
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
        std::fs::write(folder.path().join("list_attr_celeba.txt"), TEXT).unwrap();
        let files = vec![("000001.jpg".into(), 0), ("000002.png".into(), 0)];
        let mut listing = Listing { files, ..Listing::default() };
        label(&mut listing, folder.path(), "Smiling").unwrap();
        assert_eq!(listing.files.iter().map(|(_, label)| *label).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(listing.classes, ["not Smiling", "Smiling"]);
        let wrong = label(&mut listing, folder.path(), "smiling").unwrap_err().to_string();
        assert!(wrong.contains("Bald, Smiling"), "{wrong}");
        listing.files.push(("3.jpg".into(), 0));
        assert!(label(&mut listing, folder.path(), "Bald").unwrap_err().to_string().contains("3.jpg"));
    }
}
