//! The account of images that could not be used.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::notice;

/// How many images are named; the others are only counted.
const NAMED: usize = 10;

/// An image that was skipped, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedImage {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, a phrase that follows its name.
    pub reason: String,
}

/// The images that were skipped since the data set was opened.
///
/// Each file counts once, however often it comes up. The first ten are also named on stderr as
/// they are found.
#[derive(Debug, Default)]
pub struct SkippedReport {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    files: HashSet<PathBuf>,
    first: Vec<SkippedImage>,
    /// Names of gray images that became RGB, where images are decoded on demand.
    gray: HashSet<String>,
    /// How many gray images became RGB, where all were decoded at once.
    counted_gray: usize,
}

impl SkippedReport {
    /// How many images were skipped.
    pub fn count(&self) -> usize {
        self.lock().files.len()
    }

    /// The first of them, ten at most.
    pub fn first(&self) -> Vec<SkippedImage> {
        self.lock().first.clone()
    }

    /// Adds `file` unless it is known.
    pub(crate) fn record(&self, file: &Path, reason: &dyn fmt::Display) {
        let mut inner = self.lock();
        if !inner.files.insert(file.into()) {
            return;
        }
        if inner.first.len() < NAMED {
            let image = SkippedImage { file: file.into(), reason: reason.to_string() };
            notice::note(format_args!("warning: skipped {image}"));
            inner.first.push(image);
        } else if inner.files.len() == NAMED + 1 {
            notice::note(format_args!("warning: further skipped images are counted and not named"));
        }
    }

    /// How many gray images became RGB with R = G = B so far.
    pub fn gray(&self) -> usize {
        let inner = self.lock();
        inner.gray.len() + inner.counted_gray
    }

    /// Notes that a gray image became RGB.
    pub(crate) fn record_gray(&self, name: &str) {
        let mut inner = self.lock();
        if inner.gray.insert(name.into()) && inner.gray.len() == 1 {
            notice::note(format_args!(
                "note: some images are gray, such as {name}; for this RGB model, R = G = B in them"
            ));
        }
    }

    /// Notes that `gray` of `all` images became RGB.
    pub(crate) fn count_gray(&self, gray: usize, all: usize) {
        if gray > 0 {
            self.lock().counted_gray += gray;
            notice::note(format_args!(
                "note: {gray} of {all} images are gray; for this RGB model, R = G = B in them"
            ));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that holds the lock leaves it half done, so a poisoned one is sound.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for SkippedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

/// The count and, a line each, the images that are named.
impl fmt::Display for SkippedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        let count = inner.files.len();
        write!(f, "{count} image{} skipped", if count == 1 { "" } else { "s" })?;
        for image in &inner.first {
            write!(f, "\n  {image}")?;
        }
        if count > inner.first.len() {
            write!(f, "\n  and {} more", count - inner.first.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_file_once_and_names_the_first() {
        let report = SkippedReport::default();
        for round in 0..2 {
            for i in 0..NAMED + 3 {
                let reason = format!("is broken (round {round})");
                report.record(Path::new(&format!("{i}.png")), &reason);
            }
        }
        assert_eq!(report.count(), NAMED + 3);
        assert_eq!(report.first().len(), NAMED);
        let text = report.to_string();
        assert!(text.starts_with("13 images skipped\n  0.png: is broken (round 0)\n"));
        assert!(text.ends_with("and 3 more"), "{text}");
    }
}
