//! The argument `--label`.
use clap::Args;

/// The class of a class-conditional model.
#[derive(Args)]
pub struct Class {
    /// Class of all images; needed by a class-conditional model, refused by others
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    label: Option<i64>,
}

impl Class {
    /// One label for each of `n` images.
    pub fn labels(&self, n: usize) -> Option<Vec<i64>> {
        self.label.map(|label| vec![label; n])
    }
}
