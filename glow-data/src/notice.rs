//! Lines for a person, on stderr: above a progress bar that is on the screen, not through it.
use indicatif::{ProgressBar, WeakProgressBar};
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

/// The bar on the screen. Its owner keeps it; it is forgotten when that drops it.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// From here on lines go above this bar, until it is dropped or another takes its place.
pub fn above(bar: &ProgressBar) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
}

/// Prints a line; from any thread.
pub fn note(text: impl Display) {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(WeakProgressBar::upgrade);
    match bar {
        Some(bar) => bar.suspend(|| eprintln!("{text}")),
        None => eprintln!("{text}"),
    }
}
