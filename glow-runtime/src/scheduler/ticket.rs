//! What a caller holds of a job: its result, as soon as there is one.
use crate::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The result of a [`Job`](super::Job) to come. It is a [`Future`] for any executor, and threads can
/// [wait](Ticket::wait) for it.
///
/// A ticket that is dropped cancels its job: what has not begun is not computed. So does a future that is
/// dropped, as servers do when a client departs.
#[derive(Debug)]
#[must_use = "a job whose ticket is dropped is cancelled"]
pub struct Ticket<T> {
    shared: Arc<Shared<T>>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// Whether nobody wants the result any more.
    cancelled: AtomicBool,
}

#[derive(Debug)]
struct State<T> {
    result: Option<Result<T, Error>>,
    waker: Option<Waker>,
    /// Whether there is, or was, a result.
    done: bool,
}

impl<T> Shared<T> {
    // Nothing panics while the lock is held, so that a poisoned state is still a valid one.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the result, unless there was one before.
    fn complete(&self, result: Result<T, Error>) {
        let mut state = self.lock();
        if state.done {
            return;
        }
        state.done = true;
        state.result = Some(result);
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Ticket<T> {
    /// A ticket, and what completes it.
    pub(super) fn new(deadline: Option<Instant>) -> (Self, Completion<T>) {
        let state = Mutex::new(State { result: None, waker: None, done: false });
        let shared = Arc::new(Shared { state, changed: Condvar::new(), cancelled: AtomicBool::new(false) });
        (Self { shared: Arc::clone(&shared), deadline }, Completion(shared))
    }

    /// Waits for the result, until the deadline if the job has one.
    ///
    /// # Errors
    /// What the call itself would give, [`Error::Deadline`], [`Error::Cancelled`] after [`Ticket::cancel`], and
    /// [`Error::Stopped`] if the scheduler was dropped before.
    pub fn wait(self) -> Result<T, Error> {
        match self.wait_until(self.deadline) {
            Some(result) => result,
            None => Err(Error::Deadline),
        }
    }

    /// Waits for the result for at most so long.
    ///
    /// # Errors
    /// The ticket itself if there is no result yet; the result within may be an error as that of
    /// [`Ticket::wait`].
    pub fn wait_timeout(self, most: Duration) -> Result<Result<T, Error>, Self> {
        let end = Instant::now().checked_add(most);
        let first = [end, self.deadline].into_iter().flatten().min();
        match self.wait_until(first) {
            Some(result) => Ok(result),
            None if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                Ok(Err(Error::Deadline))
            }
            None => Err(self),
        }
    }

    fn wait_until(&self, end: Option<Instant>) -> Option<Result<T, Error>> {
        let mut state = self.shared.lock();
        loop {
            if state.done {
                // It was taken only if the future was polled to its end.
                return Some(state.result.take().unwrap_or(Err(Error::Cancelled)));
            }
            state = match end {
                None => self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
                    self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Whether there is a result.
    pub fn is_done(&self) -> bool {
        self.shared.lock().done
    }

    /// Gives the job up: what has not begun of it is not computed, and its result is [`Error::Cancelled`] unless
    /// there is one already.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
        self.shared.complete(Err(Error::Cancelled));
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Polled again after it gave the result, it gives [`Error::Cancelled`].
impl<T> Future for Ticket<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        if state.done {
            return Poll::Ready(state.result.take().unwrap_or(Err(Error::Cancelled)));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// What gives a ticket its result; [`Error::Stopped`] if nothing else did.
#[derive(Debug)]
pub(super) struct Completion<T>(Arc<Shared<T>>);

impl<T> Completion<T> {
    pub fn complete(self, result: Result<T, Error>) {
        self.0.complete(result);
    }

    /// Whether the ticket is dropped or cancelled, as a closure that does not know its type.
    pub fn cancelled(&self) -> impl Fn() -> bool + Send + Sync + 'static + use<T>
    where
        T: Send + 'static,
    {
        let shared = Arc::clone(&self.0);
        move || shared.cancelled.load(Ordering::Relaxed)
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        self.0.complete(Err(Error::Stopped));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn the_first_result_counts() {
        let (ticket, completion) = Ticket::new(None);
        let ticket = ticket.wait_timeout(SHORT).unwrap_err();
        assert!(!ticket.is_done());
        completion.complete(Ok(1));
        ticket.cancel();
        assert_eq!(ticket.wait().unwrap(), 1);
    }

    #[test]
    fn every_end_is_told() {
        let (ticket, completion) = Ticket::<()>::new(None);
        let cancelled = completion.cancelled();
        assert!(!cancelled());
        ticket.cancel();
        assert!(cancelled());
        assert!(matches!(ticket.wait(), Err(Error::Cancelled)));

        let (ticket, completion) = Ticket::<()>::new(None);
        drop(completion);
        assert!(matches!(ticket.wait(), Err(Error::Stopped)));

        let (ticket, completion) = Ticket::<()>::new(None);
        let cancelled = completion.cancelled();
        drop(ticket);
        assert!(cancelled());

        let soon = Some(Instant::now() + SHORT);
        let (ticket, _completion) = Ticket::<()>::new(soon);
        assert!(matches!(ticket.wait(), Err(Error::Deadline)));
        let (ticket, _completion) = Ticket::<()>::new(soon);
        assert!(matches!(ticket.wait_timeout(Duration::MAX), Ok(Err(Error::Deadline))));
    }

    #[test]
    fn a_waiting_thread_and_a_future_wake_up() {
        let (ticket, completion) = Ticket::new(None);
        std::thread::scope(|scope| {
            let waits = scope.spawn(move || ticket.wait().unwrap());
            std::thread::sleep(SHORT);
            completion.complete(Ok("done"));
            assert_eq!(waits.join().unwrap(), "done");
        });

        struct Thread(std::thread::Thread);
        impl std::task::Wake for Thread {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let (mut ticket, completion) = Ticket::new(None);
        let waker = Waker::from(Arc::new(Thread(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut ticket).poll(&mut context).is_pending());
        std::thread::scope(|scope| {
            scope.spawn(move || completion.complete(Ok(7)));
            loop {
                match Pin::new(&mut ticket).poll(&mut context) {
                    Poll::Ready(result) => break assert_eq!(result.unwrap(), 7),
                    Poll::Pending => std::thread::park(),
                }
            }
        });
        assert!(matches!(Pin::new(&mut ticket).poll(&mut context), Poll::Ready(Err(Error::Cancelled))));
    }
}
