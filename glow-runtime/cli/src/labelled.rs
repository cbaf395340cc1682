//! Images of which it is known what they show.
use crate::inputs::find;
use anyhow::{Context, Result, bail};
use glow_data::CelebaAttributes;
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
    let file = folder.join(CelebaAttributes::FILE);
    let attributes = CelebaAttributes::read(&file)?;
    let images = CelebaAttributes::images_folder(folder).with_context(|| {
        let names = CelebaAttributes::FOLDERS.join(" or ");
        format!("{} has no folder {names} beside {}", folder.display(), CelebaAttributes::FILE)
    })?;
    let names = if names.is_empty() { &attributes.names } else { names };
    let places: Vec<usize> = names
        .iter()
        .map(|name| {
            attributes.position(name).with_context(|| {
                let known = attributes.names.join(", ");
                format!("{} has no attribute {name:?}; it has {known}", file.display())
            })
        })
        .collect::<Result<_>>()?;
    let images: Vec<_> = find(&[images])?.into_iter().take(limit.unwrap_or(usize::MAX)).collect();
    let mut labels: Vec<(String, Vec<bool>)> = names.iter().map(|name| (name.clone(), Vec::new())).collect();
    for (path, _) in &images {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(row) = attributes.rows.get(&*name) else {
            bail!("{} has no row for the image {}", file.display(), path.display());
        };
        labels.iter_mut().zip(&places).for_each(|((_, labels), &place)| labels.push(row[place]));
    }
    Ok(Labelled { images, labels })
}
