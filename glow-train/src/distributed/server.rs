//! A store that outlives the processes that meet at it: what a launcher serves.
use super::error::C10dError;
use super::ffi::Store;
use std::time::Duration;

/// A key-value server on this host, until it is dropped.
#[derive(Debug)]
pub struct Server(Store);

impl Server {
    /// Starts it at a port that is free.
    ///
    /// # Errors
    /// c10d's, where no port can be had.
    pub fn start() -> Result<Self, C10dError> {
        Store::open("127.0.0.1", 0, true, Duration::from_secs(30)).map(Self)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.0.port()
    }
}
