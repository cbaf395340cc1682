//! What a request may take: time, and memory for its body.
use crate::problem::Problem;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Until when a request is to be answered; an extension of each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub fn after(time: Duration) -> Self {
        let now = Instant::now();
        // What is too far away to be told is as good as never.
        Self(now.checked_add(time).unwrap_or(now + Duration::from_secs(365 * 24 * 3600)))
    }

    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub fn instant(self) -> tokio::time::Instant {
        self.0.into()
    }

    /// The earlier of two.
    pub fn or_earlier(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }
}

/// Memory for bodies, shared by all requests: those that it does not suffice for are refused at once.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    /// In units of a kibibyte.
    free: Arc<Semaphore>,
}

const UNIT: usize = 1024;

impl BodyMemory {
    pub fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { free: Arc::new(Semaphore::new(units)) }
    }

    /// Takes memory for a body; it is given back when the permit is dropped.
    pub fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Arc::clone(&self.free)
            .try_acquire_many_owned(units)
            .map_err(|_| Problem::busy("too many large requests are being read", 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back() {
        let memory = BodyMemory::new(4096);
        let three = memory.take(2049).unwrap();
        assert_eq!(memory.take(1025).unwrap_err().status, 503);
        let one = memory.take(1024).unwrap();
        drop(three);
        assert!(memory.take(3072).is_ok());
        drop(one);
        assert!(memory.take(4097).is_err());
        assert!(memory.take(usize::MAX).is_err());
    }

    #[test]
    fn the_earlier_deadline_counts() {
        let (soon, late) =
            (Deadline::after(Duration::from_millis(1)), Deadline::after(Duration::from_secs(9)));
        assert_eq!(late.or_earlier(soon).instant(), soon.instant());
        std::thread::sleep(Duration::from_millis(2));
        assert!(soon.left().is_zero() && !late.left().is_zero());
    }
}
