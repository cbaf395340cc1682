//! A fair queue for a few things that only one thread at a time may use.
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Things lent to one thread each, in the order in which the threads ask.
pub(crate) struct Queue<T> {
    size: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// Only while nobody waits.
    idle: Vec<T>,
    waiting: VecDeque<Arc<Waiter<T>>>,
}

/// A thread that waits. What comes back is handed to it, so that no other thread wakes up.
struct Waiter<T> {
    item: Mutex<Option<T>>,
    handed: Condvar,
}

impl<T> Queue<T> {
    pub fn new(items: Vec<T>) -> Self {
        let size = items.len();
        Self { size, state: Mutex::new(State { idle: items, waiting: VecDeque::new() }) }
    }

    /// The number of things, lent or not.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Waits for this thread's turn and for an idle item.
    pub fn take(&self) -> Lease<'_, T> {
        if let Some(item) = self.try_take() {
            return item;
        }
        let mut state = lock(&self.state);
        // It may have come back meanwhile.
        if let Some(item) = state.idle.pop() {
            return Lease { queue: self, item: Some(item) };
        }
        let waiter = Arc::new(Waiter { item: Mutex::new(None), handed: Condvar::new() });
        state.waiting.push_back(Arc::clone(&waiter));
        drop(state);
        let mut item = lock(&waiter.item);
        loop {
            if let Some(item) = item.take() {
                return Lease { queue: self, item: Some(item) };
            }
            item = waiter.handed.wait(item).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An idle item if there is one and no thread waits.
    pub fn try_take(&self) -> Option<Lease<'_, T>> {
        let item = lock(&self.state).idle.pop()?;
        Some(Lease { queue: self, item: Some(item) })
    }

    /// Hands an item to whoever waits longest.
    fn give_back(&self, item: T) {
        let mut state = lock(&self.state);
        match state.waiting.pop_front() {
            None => state.idle.push(item),
            Some(waiter) => {
                drop(state);
                *lock(&waiter.item) = Some(item);
                waiter.handed.notify_one();
            }
        }
    }
}

// Nothing panics while a lock is held, so that a poisoned state is still a valid one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An item on loan; it goes back when this is dropped, by a panic too.
pub(crate) struct Lease<'a, T> {
    queue: &'a Queue<T>,
    item: Option<T>,
}

impl<T> Drop for Lease<'_, T> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.queue.give_back(item);
        }
    }
}

impl<T> Deref for Lease<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.item.as_ref().expect("taken only when dropped")
    }
}

impl<T> DerefMut for Lease<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.item.as_mut().expect("taken only when dropped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_threads_at_once_than_items() {
        let queue = Queue::new(vec![(); 2]);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lease = queue.take();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=2).contains(&most.into_inner()));
    }

    #[test]
    fn first_come_first_served() {
        let queue = Queue::new(vec![Vec::new()]);
        let held = queue.take();
        std::thread::scope(|scope| {
            for i in 0..4 {
                scope.spawn({
                    let queue = &queue;
                    move || queue.take().push(i)
                });
                while lock(&queue.state).waiting.len() <= i {
                    std::thread::yield_now();
                }
            }
            drop(held);
        });
        assert_eq!(*queue.take(), [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_idle_can_be_taken_without_waiting() {
        let queue = Queue::new(vec![1, 2]);
        let both = [queue.try_take(), queue.try_take()];
        assert!(both.iter().all(Option::is_some) && queue.try_take().is_none());
        drop(both);
        assert_eq!(*queue.take() + *queue.take(), 3);
    }

    #[test]
    fn a_panic_gives_the_item_back() {
        let queue = Queue::new(vec![0]);
        let panicked = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let _lease = queue.take();
                panic!("in the middle of a call");
            });
            work.join().is_err()
        });
        assert!(panicked);
        assert_eq!(*queue.take(), 0);
    }
}
