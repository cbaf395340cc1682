//! Batches, decoded ahead of the consumer on threads of their own.
//!
//! Of `T` threads, thread `k` makes batches `k`, `k + T`, `k + 2T`, … and puts them into a queue of
//! its own; the consumer takes from the queues in turn. That delivers batches in order, without a
//! buffer to sort them in, and bounds how many exist: a full queue stops its thread.

use std::any::Any;
use std::iter::FusedIterator;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::augment::augment;
use crate::order::Order;
use crate::{DataError, Dataset};

/// How a [`Loader`] reads a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Images a batch, at least 1. Default 64.
    pub batch_size: usize,
    /// Determines the order of the images and which are mirrored. Default 0.
    pub seed: u64,
    /// Mirror half of the images left to right, which half changing every epoch. Not for digits or
    /// text. Default true.
    pub flip: bool,
    /// Pixels by which images are moved at random, at most, up or down and left or right; what that
    /// uncovers is the image reflected at its border. Default 0.
    pub shift: usize,
    /// Permute each epoch anew; otherwise each has the data set's order. Default true.
    pub shuffle: bool,
    /// Threads that decode, at least 1; no more than `prefetch` are of use. Default: one a core, 8
    /// at most.
    pub threads: usize,
    /// Batches that may be ready or in the making ahead of the consumer, at least 1. Default 8.
    pub prefetch: usize,
    /// The part of every batch that this loader delivers, the others being left to other processes. Default
    /// all of it.
    pub part: Part,
    /// The image to start at, counted from the run's first: 0 for a new run, or a batch's
    /// `first_image + count` to go on after it. Default 0.
    pub start_image: u64,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self {
            batch_size: 64,
            seed: 0,
            flip: true,
            shift: 0,
            shuffle: true,
            threads: thread::available_parallelism().map_or(1, usize::from).min(8),
            prefetch: 8,
            part: Part::WHOLE,
            start_image: 0,
        }
    }
}

/// One of the contiguous parts that a batch is divided into: number `index`, from 0, of `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, below `of`.
    pub index: usize,
    /// How many parts there are.
    pub of: usize,
}

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// This part of `n` things: as large as any other or one smaller, and empty where there are more parts
    /// than things.
    pub fn range(self, n: usize) -> Range<usize> {
        n * self.index / self.of..n * (self.index + 1) / self.of
    }
}

/// Images to be processed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `N·H·W·C` bytes in (image, row, column, channel) order.
    pub images: Vec<u8>,
    /// `N` indices into [`Dataset::classes`].
    pub labels: Vec<i64>,
    /// `N`, the number of images: the batch size, or less in the last batch of a finite pass and where the
    /// loader delivers a part.
    pub count: usize,
    /// The number of the first image here, counted from the start of the run or pass.
    pub first_image: u64,
}

/// Batches of a data set, in order.
///
/// [`Loader::new`] yields batches without end, [`Loader::sequential`] those of one pass. What comes
/// is a function of the data set, the seed and the image's number alone: image `i` of a run is
/// element `i mod n` of the permutation for epoch `i / n`. Neither the number of threads nor where
/// the run was resumed makes a difference, and batches reach across the ends of epochs, so that no
/// image is left out.
///
/// After an `Err` there are no more batches. Dropping the loader stops its threads once each is
/// done with the image in its hands.
#[derive(Debug)]
pub struct Loader {
    queues: Vec<Receiver<Result<Batch, DataError>>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// Batches delivered.
    delivered: usize,
    /// The number of the image that the next batch begins at, all parts counted.
    position: u64,
    batch_size: u64,
    end: u64,
    waited: Duration,
}

impl Loader {
    /// Starts an endless stream of training batches.
    ///
    /// # Errors
    /// If the data set is empty, an option makes no sense, or no threads can be started. Items are
    /// `Err` if [`Dataset::load`] fails or panics.
    pub fn new(dataset: Arc<dyn Dataset>, options: &LoaderOptions) -> Result<Self, DataError> {
        let order = Order {
            len: dataset.len() as u64,
            seed: options.seed,
            shuffle: options.shuffle,
            flip: options.flip,
            shift: options.shift,
        };
        Self::start(dataset, order, u64::MAX, options)
    }

    /// Starts one pass over the data set in its own order, nothing mirrored; the last batch may be
    /// short. `threads` and `prefetch` are as in [`LoaderOptions`].
    ///
    /// # Errors
    /// As for [`Loader::new`].
    pub fn sequential(
        dataset: Arc<dyn Dataset>,
        batch_size: usize,
        threads: usize,
        prefetch: usize,
    ) -> Result<Self, DataError> {
        Self::sequential_part(dataset, batch_size, threads, prefetch, Part::WHOLE)
    }

    /// The same for one part of every batch.
    ///
    /// # Errors
    /// As for [`Loader::new`].
    pub fn sequential_part(
        dataset: Arc<dyn Dataset>,
        batch_size: usize,
        threads: usize,
        prefetch: usize,
        part: Part,
    ) -> Result<Self, DataError> {
        let len = dataset.len() as u64;
        let order = Order { len, seed: 0, shuffle: false, flip: false, shift: 0 };
        let options = LoaderOptions { batch_size, threads, prefetch, part, ..LoaderOptions::default() };
        Self::start(dataset, order, len, &options)
    }

    fn start(
        dataset: Arc<dyn Dataset>,
        order: Order,
        end: u64,
        options: &LoaderOptions,
    ) -> Result<Self, DataError> {
        check(&*dataset, options)?;
        let stop = Arc::new(AtomicBool::new(false));
        let plan = Arc::new(Plan {
            dataset,
            order,
            batch_size: options.batch_size,
            part: options.part,
            start: options.start_image,
            end,
            stop: stop.clone(),
        });
        let mut loader = Self {
            queues: Vec::new(),
            threads: Vec::new(),
            stop,
            delivered: 0,
            position: options.start_image,
            batch_size: options.batch_size as u64,
            end,
            waited: Duration::ZERO,
        };
        // A thread has one batch in its hands beside those in its queue.
        let threads = options.threads.min(options.prefetch);
        let capacity = options.prefetch / threads - 1;
        for first in 0..threads {
            let (sender, queue) = sync_channel(capacity);
            let plan = plan.clone();
            let thread = thread::Builder::new()
                .name(format!("data-{first}"))
                .spawn(move || plan.work(first, threads, &sender))
                .map_err(|source| DataError::Thread { source })?;
            loader.queues.push(queue);
            loader.threads.push(thread);
        }
        Ok(loader)
    }

    /// The number of the next image to be delivered: what
    /// [`start_image`](LoaderOptions::start_image) must be to go on from here.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How long [`next`](Iterator::next) has waited for batches in all, that for the first
    /// included. If it does not grow by more than microseconds a batch, data is no bottleneck.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Tells the threads to stop, and stops waiting for any.
    fn close(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.queues.clear();
    }
}

/// Refuses options that make no sense.
fn check(dataset: &dyn Dataset, options: &LoaderOptions) -> Result<(), DataError> {
    let batch_bytes = dataset.shape().bytes().checked_mul(options.batch_size);
    let problem = if dataset.is_empty() {
        "the data set is empty".to_owned()
    } else if options.batch_size == 0 || batch_bytes.is_none_or(|b| b > isize::MAX as usize) {
        format!("the batch size {}: give 1 or more that fit into memory", options.batch_size)
    } else if options.threads == 0 || options.prefetch == 0 {
        format!(
            "{} data loading threads and {} batches ahead: give at least 1 of each",
            options.threads, options.prefetch
        )
    } else if options.part.index >= options.part.of {
        format!("part {} of {} of every batch: parts count from 0", options.part.index, options.part.of)
    } else if options.start_image > u64::MAX / 2 {
        format!("a start at image {}: no run is that long", options.start_image)
    } else {
        return Ok(());
    };
    Err(DataError::Option { problem })
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let turn = self.delivered.checked_rem(self.queues.len())?;
        let start = Instant::now();
        let received = self.queues[turn].recv();
        self.waited += start.elapsed();
        match &received {
            Ok(Ok(_)) => {
                self.delivered += 1;
                self.position = self.end.min(self.position + self.batch_size);
            }
            // The thread whose turn it is has finished, so that there is no such batch; or it has
            // failed.
            Err(_) | Ok(Err(_)) => self.close(),
        }
        received.ok()
    }
}

impl FusedIterator for Loader {}

impl Drop for Loader {
    fn drop(&mut self) {
        self.close();
        for thread in self.threads.drain(..) {
            // Panics were caught and delivered.
            let _ = thread.join();
        }
    }
}

/// What the threads share.
struct Plan {
    dataset: Arc<dyn Dataset>,
    order: Order,
    batch_size: usize,
    part: Part,
    /// The numbers of the images to deliver: from `start` to below `end`.
    start: u64,
    end: u64,
    stop: Arc<AtomicBool>,
}

impl Plan {
    /// Makes every `step`-th batch from number `first` on, until there are no more, nobody wants
    /// them, or one fails.
    fn work(&self, first: usize, step: usize, queue: &SyncSender<Result<Batch, DataError>>) {
        for number in (first as u64..).step_by(step) {
            let result = catch_unwind(AssertUnwindSafe(|| self.batch(number)))
                .unwrap_or_else(|panic| Err(panicked(&*panic)));
            let Some(batch) = result.transpose() else {
                return;
            };
            let failed = batch.is_err();
            if queue.send(batch).is_err() || failed {
                return;
            }
        }
    }

    /// The numbers of the images of batch `number`, all of its parts; empty past the end.
    fn batch_images(&self, number: u64) -> Range<u64> {
        let first = self.end.min(self.start + number * self.batch_size as u64);
        first..self.end.min(first + self.batch_size as u64)
    }

    /// This loader's part of batch `number`; `None` if it is past the end or the loader is being dropped.
    fn batch(&self, number: u64) -> Result<Option<Batch>, DataError> {
        let images = self.batch_images(number);
        if images.is_empty() {
            return Ok(None);
        }
        let part = self.part.range((images.end - images.start) as usize);
        let (count, first_image) = (part.len(), images.start + part.start as u64);
        let shape = self.dataset.shape();
        let mut images = Vec::with_capacity(count * shape.bytes());
        let mut labels = Vec::with_capacity(count);
        for image in first_image..first_image + count as u64 {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let (index, change) = self.order.at(image);
            let example = self.dataset.load(index, self.order.chance(image))?;
            assert_eq!(example.pixels.len(), shape.bytes(), "the data set broke its promise");
            labels.push(example.label.into());
            augment(&example.pixels, shape, change, &mut images);
        }
        Ok(Some(Batch { images, labels, count, first_image }))
    }
}

fn panicked(panic: &(dyn Any + Send)) -> DataError {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    DataError::Panicked { message: message.into() }
}
