//! The argument `--label`.
use crate::failure::Misuse;
use anyhow::Result;
use clap::Args;
use glow_models::Manifest;

/// The class of a class-conditional model.
#[derive(Args)]
pub struct Class {
    /// Class of all images, its name or its number; needed by a class-conditional model, but for data sets
    /// whose classes have names; refused by others
    #[arg(long, value_name = "NAME|K", allow_negative_numbers = true)]
    label: Option<String>,
}

impl Class {
    /// Whether the command line names a class.
    pub fn is_given(&self) -> bool {
        self.label.is_some()
    }

    /// One label for each of `n` images.
    pub fn labels(&self, manifest: &Manifest, n: usize) -> Result<Option<Vec<i64>>> {
        let Some(label) = &self.label else { return Ok(None) };
        let names = &manifest.class_names;
        // A name first: there are classes that are called by numbers.
        let number = match names.iter().position(|name| name == label) {
            Some(place) => place as i64,
            None => label.parse().map_err(|_| {
                Misuse(match names.as_slice() {
                    [] => format!("--label {label}: this bundle does not name its classes; give a number"),
                    names => {
                        format!("--label {label}: there is no such class; there are {}", names.join(", "))
                    }
                })
            })?,
        };
        Ok(Some(vec![number; n]))
    }
}
