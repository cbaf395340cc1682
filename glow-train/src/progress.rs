//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.
use glow_data::notice;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Progress of a run, on stderr.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    total: Option<u64>,
    silent: bool,
}

impl Progress {
    /// Progress towards `total` steps, or to no known number of them, of which `done` are behind.
    pub fn new(total: Option<u64>, done: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = match total {
                Some(_) => "{bar:30} {pos}/{len} steps · {msg} · {eta} left",
                None => "{pos} steps · {msg} · {elapsed}",
            };
            let style = ProgressStyle::with_template(template);
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new).with_position(done);
            bar.set_style(style.expect("a constant template"));
            bar.reset_eta();
            notice::above(&bar);
            bar
        });
        Self { bar, total, silent: false }
    }

    /// Progress that another process shows.
    pub fn silent() -> Self {
        Self { bar: None, total: None, silent: true }
    }

    /// Moves the bar.
    pub fn step(&self, step: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
        }
    }

    /// Shows the newest figures: beside the bar, or as a line.
    pub fn figures(&self, step: u64, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_string()),
            None if self.silent => {}
            None => match self.total {
                Some(total) => notice::note(format_args!("step {step}/{total} · {text}")),
                None => notice::note(format_args!("step {step} · {text}")),
            },
        }
    }

    /// A line that stays.
    pub fn note(&self, text: &str) {
        if !self.silent {
            notice::note(text);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
