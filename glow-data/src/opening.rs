//! What the kinds of data set are given to open a folder, and what they find in it.
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use glow_models::Data;

use crate::fit::{Fit, Fitted};
use crate::{Dataset, ImageError, SkippedReport, notice};

/// How a data set is opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenOptions {
    /// The hyperparameters that concern data. Those of the loader have no effect here, nor has
    /// [`Data::data`], as the data set is named beside the options.
    pub data: Data,
    /// Decides, together with the images' names alone, which of them are set aside for validation: where
    /// images are added to a folder, nearly all others stay in their part. Default 0.
    pub seed: u64,
    /// Classes of the model; 0 for a model that takes no labels. Default 0.
    pub classes: usize,
    /// The names of the model's classes in the order of their labels: an image's label is the place of its
    /// class's name. Empty if they are not known yet; then the training images give them. Default empty.
    pub class_names: Vec<String>,
}

/// What kinds need to know to open a folder.
pub(crate) struct Opening<'a> {
    pub fit: Fit,
    pub options: &'a OpenOptions,
    pub skipped: Arc<SkippedReport>,
}

/// Images in some kind of files, in an order.
pub(crate) trait Source: Send + Sync {
    fn len(&self) -> usize;

    /// The data set's folder.
    fn root(&self) -> &Path;

    /// What to call image `index`, below the folder.
    fn name(&self, index: usize) -> String;

    fn classes(&self) -> &[String];

    fn fit(&self) -> Fit;

    /// Image `index`, fitted, and its label; `chance` is as for [`Dataset::load`].
    fn load(&self, index: usize, chance: u64) -> Result<(Fitted, u32), ImageError>;
}

/// What a kind finds in its folder.
pub(crate) struct Parts {
    /// The images to train on; all of them where there is no test set.
    pub train: Part,
    /// The data set's own images to validate on.
    pub test: Option<Part>,
}

/// Images that are opened but not yet divided.
pub(crate) enum Part {
    /// Images that are decoded one by one, of which single ones may be unusable.
    Source(Arc<dyn Source>),
    /// Images that can be had at once.
    Dataset {
        dataset: Arc<dyn Dataset>,
        /// Whether they are gray by their kind.
        gray: bool,
    },
}

impl Opening<'_> {
    /// Tells the user what a data set leaves out; nothing if that is nothing.
    pub fn note(&self, text: &dyn fmt::Display) {
        let text = text.to_string();
        if !text.is_empty() {
            notice::note(format_args!("note: {text}"));
        }
    }
}
