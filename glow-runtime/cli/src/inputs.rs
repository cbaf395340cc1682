//! Images from the command line.
use crate::class::Class;
use crate::failure::chain;
use crate::outputs::say;
use crate::progress::Progress;
use anyhow::{Result, bail};
use clap::Args;
use glow_data::folder;
use glow_models::Manifest;
use glow_runtime::images::{self, Fit};
use glow_runtime::{EncodeOptions, Glow, Latents};
use ndarray::{Array3, Array4, Axis, stack};
use std::path::PathBuf;

/// The images that a command works on.
#[derive(Args)]
pub struct ImageInput {
    /// Image files, or folders of them
    #[arg(required = true, value_name = "IMAGES")]
    paths: Vec<PathBuf>,
    /// The most images to take
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    pub class: Class,
}

/// Images read together.
pub struct Batch {
    /// Their files.
    pub paths: Vec<PathBuf>,
    /// Their places among all files.
    pub places: Vec<usize>,
    /// Their pixels [N, H, W, C].
    pub pixels: Array4<u8>,
    /// Their labels.
    pub labels: Option<Vec<i64>>,
}

impl ImageInput {
    /// Finds the files; they are read batch by batch.
    pub fn open<'a>(&'a self, glow: &'a Glow) -> Result<ImageReader<'a>> {
        let files = find(&self.paths)?;
        Ok(ImageReader::new(files, self.limit.unwrap_or(usize::MAX), &self.class, glow.manifest()))
    }

    /// The paths on the command line.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

/// The image files that are meant: each with whether it was named, rather than found in a folder.
pub fn find(paths: &[PathBuf]) -> Result<Vec<(PathBuf, bool)>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = folder::list(path)?;
            if !found.left_out.is_empty() {
                say(&format!("{}: {}", path.display(), found.left_out));
            }
            if found.files.is_empty() {
                bail!("{} holds no images ({})", path.display(), folder::EXTENSIONS.join(", "));
            }
            files.extend(found.files.into_iter().map(|(file, _)| (path.join(file), false)));
        } else {
            files.push((path.clone(), true));
        }
    }
    Ok(files)
}

/// Latents, with [`Noise::Midpoint`](glow_runtime::Noise), of those of the images that can be read, and
/// which these are.
pub fn encode(glow: &Glow, files: Vec<(PathBuf, bool)>, class: &Class) -> Result<(Latents, Vec<usize>)> {
    let mut reader = ImageReader::new(files, usize::MAX, class, glow.manifest());
    let mut progress = Progress::new("encoded", reader.total());
    let (mut latents, mut read) = (Vec::new(), Vec::new());
    while let Some(batch) = progress.aside(|| reader.next(glow.max_batch()))? {
        let options = EncodeOptions::new().labels(batch.labels);
        latents.push(glow.encode(&batch.pixels, &options)?.latents);
        progress.add(batch.paths.len());
        read.extend(batch.places);
    }
    drop(progress);
    Ok((Latents::concat(&latents)?, read))
}

/// Reads images batch by batch. One that was named on the command line must be readable; one in a
/// folder is skipped.
pub struct ImageReader<'a> {
    class: &'a Class,
    manifest: &'a Manifest,
    /// Each with whether it was named.
    files: std::iter::Enumerate<std::vec::IntoIter<(PathBuf, bool)>>,
    left: usize,
    total: usize,
    read: usize,
    skipped: usize,
    /// Gray images that became RGB.
    gray: usize,
}

impl<'a> ImageReader<'a> {
    /// Reads `limit` of the files at most, leaving those out that cannot be read.
    pub fn new(files: Vec<(PathBuf, bool)>, limit: usize, class: &'a Class, manifest: &'a Manifest) -> Self {
        let (total, left) = (files.len().min(limit), limit);
        let files = files.into_iter().enumerate();
        Self { class, manifest, files, left, total, read: 0, skipped: 0, gray: 0 }
    }

    /// The most images that there can be.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The next images, `most` at most; nothing after the last.
    pub fn next(&mut self, most: usize) -> Result<Option<Batch>> {
        let (mut paths, mut places, mut pixels) = (Vec::new(), Vec::new(), Vec::new());
        let fit = Fit::from(self.manifest);
        let dim = (fit.shape.height, fit.shape.width, fit.shape.channels);
        while pixels.len() < most.min(self.left) {
            let Some((place, (path, named))) = self.files.next() else { break };
            match images::read_fitted(&path, fit) {
                Ok(image) => {
                    self.gray += usize::from(image.was_gray);
                    pixels.push(Array3::from_shape_vec(dim, image.pixels)?);
                    paths.push(path);
                    places.push(place);
                }
                Err(error) if named => return Err(error.into()),
                Err(error) => {
                    self.skipped += 1;
                    say(&format!("skipped: {}", chain(&error.into())));
                }
            }
        }
        self.left -= pixels.len();
        self.read += pixels.len();
        if pixels.is_empty() {
            return self.finish().map(|()| None);
        }
        let views: Vec<_> = pixels.iter().map(|image| image.view()).collect();
        let labels = self.class.labels(self.manifest, pixels.len())?;
        Ok(Some(Batch { paths, places, pixels: stack(Axis(0), &views)?, labels }))
    }

    fn finish(&self) -> Result<()> {
        if self.skipped > 0 {
            say(&format!("{} images were skipped, {} were read", self.skipped, self.read));
        }
        if self.gray > 0 {
            say(&format!("{} images are gray; for this RGB model, R = G = B in them", self.gray));
        }
        if self.read == 0 {
            bail!("there is no image to work on");
        }
        Ok(())
    }
}
