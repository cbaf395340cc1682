//! Photographs that clients brought: pixels at the model's size, by their SHA-256, in memory alone.
use lru::LruCache;
use sha2::{Digest, Sha256};
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The SHA-256 of an image's pixels, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ImageId([u8; 32]);

impl ImageId {
    pub fn of(pixels: &[u8]) -> Self {
        Self(Sha256::digest(pixels).into())
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ImageId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "an image is named by 64 hexadecimal digits in lower case";
        if text.len() != 64 || !text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong)?;
        }
        Ok(Self(bytes))
    }
}

/// Values by their keys, as many as fit into a number of bytes: those that were not used for longest go first.
pub(crate) struct Cache<K, V> {
    most: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    values: LruCache<K, (V, usize)>,
    bytes: usize,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// An empty one of so many bytes.
    pub fn new(most: usize) -> Self {
        Self { most, state: Mutex::new(State { values: LruCache::unbounded(), bytes: 0 }) }
    }

    /// Keeps a value that takes so many bytes; one that is larger than the cache is not kept.
    pub fn put(&self, key: K, value: V, bytes: usize) {
        let mut state = self.lock();
        if let Some((_, old)) = state.values.pop(&key) {
            state.bytes -= old;
        }
        if bytes > self.most {
            return;
        }
        state.bytes += bytes;
        state.values.put(key, (value, bytes));
        while state.bytes > self.most {
            let Some((_, (_, freed))) = state.values.pop_lru() else { break };
            state.bytes -= freed;
        }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        self.lock().values.get(key).map(|(value, _)| value.clone())
    }

    /// Forgets a value; gives whether it was there.
    pub fn remove(&self, key: &K) -> bool {
        let mut state = self.lock();
        let removed = state.values.pop(key);
        state.bytes -= removed.as_ref().map_or(0, |(_, bytes)| *bytes);
        removed.is_some()
    }

    /// How many values there are, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.values.len(), state.bytes)
    }

    // Nothing panics while the lock is held, so that a poisoned state is still a valid one.
    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_and_read() {
        let id = ImageId::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        for wrong in ["", "../../etc/passwd", &text[1..], &text.to_uppercase(), &format!("{text}0")] {
            assert!(wrong.parse::<ImageId>().is_err(), "{wrong}");
        }
        assert!("é".repeat(32).parse::<ImageId>().is_err());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let cache = Cache::new(10);
        for key in 0..3 {
            cache.put(key, key, 3);
        }
        assert_eq!(cache.get(&0), Some(0));
        cache.put(3, 3, 4);
        assert_eq!((cache.get(&1), cache.get(&0), cache.get(&3)), (None, Some(0), Some(3)));
        assert_eq!(cache.size(), (3, 10));
        // The same key again does not count twice.
        cache.put(3, 4, 2);
        assert_eq!((cache.get(&3), cache.size()), (Some(4), (3, 8)));
        cache.put(9, 9, 11);
        assert_eq!((cache.get(&9), cache.size()), (None, (3, 8)));
        assert!(cache.remove(&3) && !cache.remove(&3));
        assert_eq!(cache.size(), (2, 6));
    }
}
