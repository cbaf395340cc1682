//! Images of which it is known what they show.
use crate::inputs::find;
use anyhow::Result;
use glow_data::{CelebaAttributes, celeba_images_folder};
use std::path::{Path, PathBuf};

/// Image files with labels.
pub struct Labelled {
    /// Each with whether it was named on the command line.
    pub images: Vec<(PathBuf, bool)>,
    /// For each attribute its name, and whether each image has it.
    pub labels: Vec<(String, Vec<bool>)>,
}

/// Images with an attribute and images without it.
pub fn folders(
    name: String,
    positive: &[PathBuf],
    negative: &[PathBuf],
    limit: Option<usize>,
) -> Result<Labelled> {
    let limit = limit.unwrap_or(usize::MAX);
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for (paths, label) in [(positive, true), (negative, false)] {
        images.extend(find(paths)?.into_iter().take(limit));
        labels.resize(images.len(), label);
    }
    Ok(Labelled { images, labels: vec![(name, labels)] })
}

/// CelebA's images, with the attributes asked for, or all.
pub fn celeba(folder: &Path, names: &[String], limit: Option<usize>) -> Result<Labelled> {
    let attributes = CelebaAttributes::open(folder)?;
    let images = celeba_images_folder(folder)?;
    let names = if names.is_empty() { &attributes.names } else { names };
    let places: Vec<usize> = names.iter().map(|name| attributes.position(name)).collect::<Result<_, _>>()?;
    let images: Vec<_> = find(&[images])?.into_iter().take(limit.unwrap_or(usize::MAX)).collect();
    let mut labels: Vec<(String, Vec<bool>)> = names.iter().map(|name| (name.clone(), Vec::new())).collect();
    for (path, _) in &images {
        let row = attributes.row(path)?;
        labels.iter_mut().zip(&places).for_each(|((_, labels), &place)| labels.push(row[place]));
    }
    Ok(Labelled { images, labels })
}
