//! How far long work is: a bar on a terminal, a line now and then elsewhere.
use crate::outputs::say;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(10);

pub struct Progress {
    verb: &'static str,
    total: usize,
    done: usize,
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Progress {
    /// Begins to count `total` images that are being `verb`: "encoded", say.
    pub fn new(verb: &'static str, total: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} images, {eta} left")
                .expect("a valid template");
            ProgressBar::new(total as u64).with_style(style).with_message(verb)
        });
        Self { verb, total, done: 0, bar, told: Instant::now() }
    }

    pub fn add(&mut self, images: usize) {
        self.done += images;
        if let Some(bar) = &self.bar {
            bar.inc(images as u64);
        } else if self.told.elapsed() > INTERVAL {
            say(&format!("{} {} of {} images", self.verb, self.done, self.total));
            self.told = Instant::now();
        }
    }

    /// Does something that may print, without the bar in its way.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(work),
            None => work(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
