//! Waiting with an end: for work that may never return, and with word of it to the user.
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// After which a wait is noted on stderr.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `work` on a thread of its own, and gives up on it after `timeout`. Notes on stderr what it is, if
/// it takes long.
pub(super) fn within<T: Send + 'static>(
    timeout: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = channel();
    // The result of work that was given up on is dropped.
    thread::spawn(move || sender.send(work()));
    let deadline = Instant::now() + timeout;
    let mut note = Note::default();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(PATIENCE)) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {
                if !what.is_empty() {
                    note.perhaps(|| what.to_string());
                }
            }
            Err(_) => return None,
        }
    }
}

/// Lines about a wait, few of them.
pub(super) struct Note {
    next: Instant,
    pause: Duration,
}

impl Default for Note {
    fn default() -> Self {
        Self { next: Instant::now() + PATIENCE, pause: PATIENCE }
    }
}

impl Note {
    pub(super) fn perhaps(&mut self, text: impl FnOnce() -> String) {
        if Instant::now() >= self.next {
            eprintln!("{}", text());
            self.pause *= 2;
            self.next = Instant::now() + self.pause;
        }
    }
}
