//! Images from the command line.
use crate::arguments::Class;
use crate::outputs::say;
use anyhow::{Result, bail};
use clap::Args;
use glow_runtime::{Architecture, images};
use ndarray::{Array4, Axis, stack};
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
    /// Their pixels [N, H, W, C].
    pub pixels: Array4<u8>,
    /// Their labels.
    pub labels: Option<Vec<i64>>,
}

impl ImageInput {
    /// Finds the files; they are read batch by batch.
    pub fn open<'a>(&'a self, architecture: &'a Architecture) -> Result<ImageReader<'a>> {
        let mut files = Vec::new();
        for path in &self.paths {
            if path.is_dir() {
                let found = images::list(path)?;
                if found.is_empty() {
                    bail!("{} holds no images ({})", path.display(), images::EXTENSIONS.join(", "));
                }
                files.extend(found.into_iter().map(|file| (file, false)));
            } else {
                files.push((path.clone(), true));
            }
        }
        let left = self.limit.unwrap_or(usize::MAX);
        let total = files.len().min(left);
        Ok(ImageReader {
            input: self,
            architecture,
            files: files.into_iter(),
            left,
            total,
            read: 0,
            skipped: 0,
        })
    }
}

/// Reads images batch by batch. One that was named on the command line must be readable; one in a
/// folder is skipped.
pub struct ImageReader<'a> {
    input: &'a ImageInput,
    architecture: &'a Architecture,
    /// Each with whether it was named.
    files: std::vec::IntoIter<(PathBuf, bool)>,
    left: usize,
    total: usize,
    read: usize,
    skipped: usize,
}

impl ImageReader<'_> {
    /// The most images that there can be.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The next images, `most` at most; nothing after the last.
    pub fn next(&mut self, most: usize) -> Result<Option<Batch>> {
        let (mut paths, mut pixels) = (Vec::new(), Vec::new());
        while pixels.len() < most.min(self.left) {
            let Some((path, named)) = self.files.next() else { break };
            match images::read(&path, self.architecture) {
                Ok(image) => {
                    pixels.push(image);
                    paths.push(path);
                }
                Err(error) if named => return Err(error.into()),
                Err(error) => {
                    self.skipped += 1;
                    say(&format!("skipped: {}", crate::chain(&error.into())));
                }
            }
        }
        self.left -= pixels.len();
        self.read += pixels.len();
        if pixels.is_empty() {
            return self.finish().map(|()| None);
        }
        let views: Vec<_> = pixels.iter().map(|image| image.view()).collect();
        let labels = self.input.class.labels(pixels.len());
        Ok(Some(Batch { paths, pixels: stack(Axis(0), &views)?, labels }))
    }

    fn finish(&self) -> Result<()> {
        if self.skipped > 0 {
            say(&format!("{} images were skipped, {} were read", self.skipped, self.read));
        }
        if self.read == 0 {
            bail!("there is no image to work on");
        }
        Ok(())
    }
}
